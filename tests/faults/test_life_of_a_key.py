"""The whole life of a key at random, against a plain dict: whatever happens, in whatever order, no password is lost.

People save and edit, connect mailboxes by consents through apps, turn encryption on and off, change, prune and add keys; processes die at any step;
databases and key files of other times are put back; a process saves with old memory; somebody edits the
database by SQL. After each step every password can be read with the key files that exist, and what the
panel says of its state is so. In the end the right key file is put back and all of them open.

As long as nobody puts a key file or a database of another time in place, it takes nothing but what is on
the disk to read them; after that, it takes the backups that an administrator has of every key file.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)  # fmt: skip

from panel import create_app, db, install
from panel.audit import Actor
from panel.crypto import keyring
from panel.crypto.keyfile import Key, KeyFile, NotAKeyFile
from panel.errors import CannotOpen, CannotStore, EditedMeanwhile, PanelError
from panel.models import SECRET_ROWS, Account, Endpoint
from panel.secret import Secret
from panel.vault import (
    credential,
    only_encrypted,
    retired_keys,
    rotation,
    sweep,
    turn_off,
    turn_on,
    unfinished,
)
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.encryption import kinds
from tests.encryption.conftest import House, new_endpoint, settings_in
from tests.encryption.kinds import OTHERS, Stored
from tests.faults.failpoints import Failpoints, drop_connection, dying
from tests.faults.test_planted_bugs import old_key_dropped_early
from tests.installs import BOTH

ACTOR = Actor("admin@example.org")
MOST_ACCOUNTS, MOST_OTHERS = 4, 5
HOST = "imap.example.org"
NO_KEY = (State.KEY_MISSING, State.KEY_UNREADABLE, State.KEY_WRONG)

passwords = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=30)
which = st.integers(0, 99)  # of whatever there is, counted round


def enable(house: House) -> None:
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    unfinished.resume(house.vault)


def begin_enabling(house: House) -> None:
    turn_on.turn_on(house.vault, BOTH, ACTOR)


def rotate(house: House) -> None:
    rotation.rotate(house.vault, ACTOR)
    unfinished.resume(house.vault)


def begin_rotating(house: House) -> None:
    rotation.rotate(house.vault, ACTOR)


def disable(house: House) -> None:
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    unfinished.resume(house.vault)


def begin_disabling(house: House) -> None:
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)


def cancel(house: House) -> None:
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)


def prune(house: House) -> None:
    retired_keys.prune(house.vault, ACTOR)


def resume(house: House) -> None:
    unfinished.start(house.vault)
    unfinished.resume(house.vault)


STEPS: tuple[Callable[[House], None], ...] = (
    enable, begin_enabling, rotate, begin_rotating, disable, begin_disabling, cancel, prune, resume,
)  # fmt: skip


class LifeOfAKey(RuleBasedStateMachine):
    """`stored` is the plain dict: what each row's password must be."""

    lives: Path  # where each life has its directory, and `template` is an install to begin with

    @initialize(encrypted=st.booleans())
    def install(self, encrypted: bool) -> None:
        """A new install with one account."""
        self.place = Path(tempfile.mkdtemp(dir=self.lives))
        shutil.copytree(self.lives / "template" / "data", self.place / "data")
        self.house = House(settings_in(self.place), Vault.of(settings_in(self.place), db.database))
        self.stored: dict[int, str] = {}
        self.edited: set[int] = set()  # rows whose host somebody changed by SQL
        self.planted: set[int] = set()  # rows with a clear value by SQL, beside a key file: never vouched for
        self.unsure: set[int] = set()  # rows whose server may be asked for again
        self.backups: list[bytes] = []  # of every key file that there was
        self.undisturbed = True  # nobody put another key file or database in place
        self.databases: list[tuple[Path, dict[int, str], set[int], dict[str, Stored], set[str]]] = []
        self.old_memory: Endpoint | None = None
        self.others: dict[str, Stored] = {}  # what is no password: sealed, or not stored at all
        self.edited_others: set[str] = set()
        self.number = 0
        self._connect()
        self.add_account("first")
        if encrypted:
            enable(self.house)

    def teardown(self) -> None:
        """With the right key file back, every password opens."""
        try:
            self._put_the_right_key_back()
            self._all_open()
        finally:
            drop_connection()
            shutil.rmtree(self.place)

    # -- what people do --------------------------------------------------------------

    @precondition(lambda self: len(self.stored) < MOST_ACCOUNTS)
    @rule(password=passwords)
    def add_account(self, password: str) -> None:
        """Somebody adds an account."""
        account = Account.create(address=f"{len(self.stored)}@example.org", created_at=db.now())
        endpoint = new_endpoint(account)
        if self._saved(endpoint, password):
            row = Endpoint.select().order_by(Endpoint.id.desc()).first()
            self._now(row.id, password)
        else:
            account.delete_instance()

    @rule(n=which, password=passwords)
    def save(self, n: int, password: str) -> None:
        """Somebody enters a new password, and the server with it."""
        endpoint = self._row(n)
        endpoint.host = HOST
        if self._saved(endpoint, password):
            self._now(endpoint.id, password)

    @rule(n=which, password=passwords, host=st.sampled_from([HOST, "mail.example.net"]))
    def edit_host(self, n: int, password: str, host: str) -> None:
        """Somebody moves an account to another server; without a password it is refused."""
        endpoint = self._row(n)
        before = self.house.row(endpoint)
        endpoint.host = host
        if endpoint.host != Endpoint.get_by_id(endpoint.id).host:
            with pytest.raises(PanelError):
                endpoint.save()
            assert self.house.row(endpoint) == before
        if self._saved(endpoint, password):
            self._now(endpoint.id, password)

    @precondition(lambda self: len(self.others) < MOST_OTHERS)
    @rule(name=st.sampled_from(OTHERS))
    def store_another_secret(self, name: str) -> None:
        """Somebody adds an app, connects a mailbox, or names a secret that is kept outside."""
        self.number += 1
        file = self._file_now()
        sealing = file is not None and file.decrypt_id is None
        try:
            stored = kinds.add(name, str(self.number))
        except CannotStore:
            assert not sealing or self.house.vault.latest().state in NO_KEY or not self._is_active(file)
            return
        assert sealing
        assert stored.columns(self.house)[0] is None
        self.others[f"{name} {self.number}"] = stored

    @precondition(lambda self: self.others)
    @rule(n=which, text=passwords)
    def replace_another_secret(self, n: int, text: str) -> None:
        """A token is refreshed, a client secret replaced."""
        name = sorted(self.others)[n % len(self.others)]
        row = self.others[name].row
        row.secret = Secret(text)
        with suppress(CannotStore, EditedMeanwhile):
            row.save()
            self.others[name] = replace(self.others[name], secret=text)
            self.edited_others.discard(name)

    @precondition(lambda self: self.others)
    @rule(n=which)
    def remove_another_secret(self, n: int) -> None:
        """An app or a consent goes: what must go before encryption can be turned off."""
        name = sorted(self.others)[n % len(self.others)]
        self.others.pop(name).row.delete_instance()
        self.edited_others.discard(name)

    @rule()
    def remove_all_other_secrets(self) -> None:
        """All of them."""
        for stored in self.others.values():
            stored.row.delete_instance()
        self.others, self.edited_others = {}, set()

    @precondition(lambda self: self.others)
    @rule(n=which)
    def edit_another_by_sql(self, n: int) -> None:
        """Somebody who writes the database makes something else of it."""
        name = sorted(self.others)[n % len(self.others)]
        stored = self.others[name]
        self.house.sql(f"UPDATE {stored.table} SET kind = kind || 'x' WHERE id = ?", stored.id)
        self.edited_others.add(name)

    @rule(step=st.sampled_from(STEPS))
    def take(self, step: Callable[[House], None]) -> None:
        """A step with the key; refused where it does not fit."""
        with suppress(PanelError):
            step(self.house)

    @rule()
    def change_the_key(self) -> None:
        """The step that happens most in a long life."""
        self.take(rotate)

    @precondition(lambda self: not self.undisturbed)
    @rule()
    def remedy(self) -> None:
        """The administrator puts the right key file back."""
        self._put_the_right_key_back()
        unfinished.start(self.house.vault)
        unfinished.resume(self.house.vault)
        self.undisturbed = True

    @precondition(lambda self: self.backups)
    @rule(n=which)
    def add_older_key(self, n: int) -> None:
        """Somebody brings the keys of an older key file in."""
        with suppress(PanelError):
            retired_keys.add(self.house.vault, self.backups[n % len(self.backups)], ACTOR)

    # -- what goes wrong -------------------------------------------------------------

    @rule(step=st.sampled_from(STEPS), at=st.integers(1, 40), after=st.booleans())
    def die(self, step: Callable[[House], None], at: int, after: bool) -> None:
        """The process dies at any of a step's writes; another one starts."""
        with suppress(PanelError), dying(Failpoints(at, after)):
            step(self.house)
        drop_connection()
        self._connect()

    @rule(n=which, password=passwords, at=st.integers(1, 6), after=st.booleans())
    def die_in_a_save(self, n: int, password: str, at: int, after: bool) -> None:
        """The process dies while a password is saved: it is stored, or the one before is still there."""
        endpoint = self._row(n)
        before = self.stored[endpoint.id]
        endpoint.host = HOST
        endpoint.secret = Secret(password)
        with suppress(PanelError), dying(Failpoints(at, after)):
            endpoint.save()
        drop_connection()
        self._connect()
        self._keep_key_file()
        if self._readable(Endpoint.get_by_id(endpoint.id)) == password != before:
            self._now(endpoint.id, password)

    @rule(n=which)
    def another_process_reads_a_row(self, n: int) -> None:
        """A process with old memory: it has read a row, and does nothing for a long time."""
        self.old_memory = self._row(n)

    @precondition(lambda self: self.old_memory is not None)
    @rule(password=passwords)
    def that_process_saves(self, password: str) -> None:
        """It saves now: under today's key, or not at all."""
        endpoint, self.old_memory = self.old_memory, None
        assert endpoint is not None
        if endpoint.id not in self.edited and self._saved(endpoint, password):
            self._now(endpoint.id, password)

    @rule()
    def back_up_the_database(self) -> None:
        """A copy, as `flask backup` makes it."""
        path = self.place / f"backup-{len(self.databases)}.db"
        self.house.sql("VACUUM INTO ?", str(path))
        kept = dict(self.others), set(self.edited_others)
        self.databases.append((path, dict(self.stored), set(self.edited), *kept))

    @precondition(lambda self: self.databases)
    @rule(n=which)
    def restore_a_database(self, n: int) -> None:
        """An older database comes back, whatever the key file is today."""
        path, stored, edited, others, edited_others = self.databases[n % len(self.databases)]
        drop_connection()
        for old in self.house.data.glob("panel.db*"):
            old.unlink()
        shutil.copy(path, self.house.data / "panel.db")
        self.stored, self.edited, self.old_memory = dict(stored), set(edited), None
        self.others, self.edited_others = dict(others), set(edited_others)
        self.undisturbed, self.planted, self.unsure = False, set(), set(stored)
        self._connect()
        unfinished.start(self.house.vault)

    @precondition(lambda self: self.backups)
    @rule(n=which)
    def restore_a_key_file(self, n: int) -> None:
        """An older key file comes back, whatever the database is today."""
        self._place(self.backups[n % len(self.backups)])
        self.undisturbed, self.unsure = False, set(self.stored)

    @rule()
    def lose_the_key_file(self) -> None:
        """The key file is gone; its backups are not."""
        self.house.key_file.unlink(missing_ok=True)
        self.undisturbed = False

    @rule(n=which)
    def redirect_by_sql(self, n: int) -> None:
        """Somebody who writes the database sends an account to a server of his."""
        row = self._row(n)
        if row.sealed is not None:
            self.house.sql("UPDATE endpoint SET host = 'evil.example.com' WHERE id = ?", row.id)
            self.edited.add(row.id)

    @rule(n=which)
    def plant_by_sql(self, n: int) -> None:
        """Somebody who writes the database puts a password of his in clear into a row."""
        row = self._row(n)
        self.house.sql("UPDATE endpoint SET sealed = NULL, clear = 'planted' WHERE id = ?", row.id)
        self.edited.discard(row.id)
        self.stored[row.id] = "planted"
        if self.house.vault.latest().state is not State.OFF:
            self.planted.add(row.id)

    @rule(column=st.sampled_from(["active_key_id", "release_id", "scrub_owed"]), value=st.none())
    def edit_the_state_row(self, column: str, value: None) -> None:
        """Somebody who writes the database edits what chooses the key."""
        self.house.sql(f"UPDATE encryption SET {column} = ?", value)

    # -- what must hold at every moment --------------------------------------------------

    @invariant()
    def no_password_is_lost(self) -> None:
        """Each can be read."""
        self._keep_key_file()
        for endpoint in self._passwords():
            assert self._readable(endpoint) == self.stored[endpoint.id]
        for name, stored in self.others.items():
            assert stored.columns(self.house)[0] is None, f"{name} stands in clear text"
            assert self._readable_other(stored) == stored.secret, name

    @invariant()
    def the_state_is_so(self) -> None:
        """What pages and shell would say now is what is on the disk."""
        now = self.house.vault.latest()
        rows = [row for model in SECRET_ROWS for row in model.select()]
        assert now.others == len(self.others)
        if now.state is State.OFF:
            assert not self.others
            assert not self.house.key_file.exists()
            assert all(row.sealed is None for row in rows)
        if now.state in (State.ON, State.INCONSISTENT):
            file = self.house.keystore.read()
            assert file is not None
            assert all(row.clear is None for row in rows)
        if now.state is State.ON:
            assert file is not None
            assert all(row.sealed.record[2:10] == file.primary.id for row in rows)
            assert len(file.usable) == 1
        if now.state is State.INCONSISTENT:
            assert self.edited or self.edited_others
        if now.state is State.DISABLING:
            assert not self.others
        if now.state is State.KEY_MISSING:
            assert not self.house.key_file.exists()

    @invariant()
    def what_was_planted_is_never_vouched_for_and_what_people_entered_is(self) -> None:
        """Only while encryption is off nothing can tell."""
        now = self.house.vault.latest().state
        if now is State.OFF:
            self.planted, self.unsure = set(), set()
        if now is State.OFF or now in NO_KEY:
            return
        for row in self._passwords():
            authentic = credential.is_authentic(row, self.house.vault)
            assert not (authentic and row.id in self.planted), f"row {row.id} was planted"
            doubtful = self.planted | self.unsure | self.edited
            assert authentic or row.id in doubtful, f"row {row.id} is asked for again"

    # -- the tools ---------------------------------------------------------------------

    def _connect(self) -> None:
        create_app(self.house.settings)
        db.database.connect()

    def _passwords(self) -> list[Endpoint]:
        return [row for row in Endpoint.select() if row.id in self.stored]

    def _is_active(self, file: KeyFile | None) -> bool:
        active = self.house.sql("SELECT active_key_id FROM encryption")[0][0]
        key = file.find(active) if file else None
        return key is not None and key.state == "usable"

    def _readable_other(self, stored: Stored) -> str:
        """Its secret, whatever an edit by SQL has made of its kind."""
        row = stored.row
        row.__data__["kind"] = str(row.kind).rstrip("x")
        (instance,) = self.house.sql("SELECT instance_id FROM encryption")[0]
        assert row.sealed is not None
        for data in self._key_files_here() if self.undisturbed else self.backups:
            with suppress(CannotOpen):
                file = KeyFile.from_bytes(data)
                return keyring.unseal(file, row.sealed.record, row.binding(instance)).decode()
        raise AssertionError(f"no key opens {stored}")

    def _row(self, n: int) -> Endpoint:
        ids = sorted(self.stored)
        return Endpoint.get_by_id(ids[n % len(ids)])

    def _now(self, row: int, password: str) -> None:
        self.stored[row] = password
        self.edited.discard(row)
        self.planted.discard(row)
        file = self._file_now()
        if file is not None and file.decrypt_id is not None:
            self.unsure.add(row)  # in clear, and in no licence
        else:
            self.unsure.discard(row)

    def _saved(self, endpoint: Endpoint, password: str) -> bool:
        """Save and say whether it is stored; in which form, and when it may be refused, is checked."""
        file, state = self._file_now(), self.house.vault.latest().state
        endpoint.secret = Secret(password)
        try:
            endpoint.save()
        except EditedMeanwhile:
            return False
        except CannotStore:
            assert state in NO_KEY or self._file_now() is not None
            return False
        assert state not in NO_KEY
        clear, sealed, _ = self.house.row(endpoint)
        if file is None or file.decrypt_id is not None:
            assert sealed is None
        else:
            assert clear is None
            active = self.house.sql("SELECT active_key_id FROM encryption")[0][0]
            key = file.find(active)
            assert sealed[2:10] == active
            assert key is not None
            assert key.state == "usable"
        return True

    def _file_now(self) -> KeyFile | None:
        try:
            return KeyFile.from_bytes(self.house.key_file.read_bytes())
        except (FileNotFoundError, NotAKeyFile):
            return None

    def _keep_key_file(self) -> None:
        for data in self._key_files_here():
            if data not in self.backups:
                KeyFile.from_bytes(data)  # never a half-written one
                self.backups.append(data)

    def _key_files_here(self) -> list[bytes]:
        return [path.read_bytes() for path in self.house.data.glob("encryption-key*.bin")]

    def _place(self, data: bytes) -> None:
        self.house.key_file.unlink(missing_ok=True)
        assert self.house.keystore.create(KeyFile.from_bytes(data))

    def _readable(self, endpoint: Endpoint) -> str:
        """The row's password, whatever an edit by SQL has made of the server beside it."""
        if endpoint.clear is not None:
            return str(endpoint.clear.text)
        (instance,) = self.house.sql("SELECT instance_id FROM encryption")[0]
        files = self._key_files_here() if self.undisturbed else self.backups
        for host in (endpoint.host, HOST, "mail.example.net"):
            endpoint.__data__["host"] = host
            for data in files:
                with suppress(CannotOpen):
                    return self._unsealed(KeyFile.from_bytes(data), endpoint, instance)
        raise AssertionError(f"no key opens the password of row {endpoint.id}")

    def _unsealed(self, file: KeyFile, endpoint: Endpoint, instance: bytes) -> str:
        for label in ("mailkeep/mail", "mailkeep/mail found in clear"):
            with suppress(CannotOpen):
                return keyring.unseal(
                    file, endpoint.sealed.record, endpoint.binding(instance, label)
                ).decode()
        raise CannotOpen("neither label")

    def _put_the_right_key_back(self) -> None:
        candidates = [None, *reversed(self.backups)]
        for data in candidates:
            if data is not None:
                self._place(data)
            if self.house.vault.latest().state not in NO_KEY and self._holds_every_key():
                return
        raise AssertionError("no key file that there was fits this database")

    def _holds_every_key(self) -> bool:
        """An older file is no right one either where an edited row no longer names the key that it lacks."""
        file = self._file_now()
        return all(
            row.sealed is None or (file is not None and file.find(row.sealed.record[2:10]))
            for model in SECRET_ROWS
            for row in model.select()
        )

    def _all_open(self) -> None:
        unfinished.start(self.house.vault)
        unfinished.resume(self.house.vault)
        for row, password in self.stored.items():
            if row in self.edited:
                continue
            endpoint = Endpoint.get_by_id(row)
            assert credential.open_for(endpoint, self.house.vault).secret.reveal() == password
        for name, stored in self.others.items():
            if name not in self.edited_others:
                assert stored.opened(self.house) == stored.secret
        state = self.house.vault.latest().state
        # A turning off waits for the record that does not open.
        stuck = (State.INCONSISTENT, State.ON, State.DISABLING)
        assert state in (stuck if self.edited or self.edited_others else (State.ON, State.OFF))


@pytest.mark.reliability
@pytest.mark.timeout(3600)
def test_whatever_happens_in_whatever_order_no_password_is_lost(
    lives: Path, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    long = bool(pytestconfig.getoption("--long"))
    count, steps = (100, 50) if long else (20, 25)
    live(lives, count, steps, derandomize=not long)
    tried = {"table": "lives", "row": f"of up to {steps} steps at random", "column": "tried", "tried": count}
    record_property("reliability", tried)


def live(lives: Path, count: int, steps: int, *, derandomize: bool = True, shrink: bool = True) -> None:
    """Run `count` lives, the same ones each time unless told otherwise; `shrink`: look for the shortest bad one."""
    LifeOfAKey.lives = lives
    chosen = settings(
        max_examples=count,
        stateful_step_count=steps,
        deadline=None,
        derandomize=derandomize,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
    )
    run_state_machine_as_test(LifeOfAKey, settings=chosen)


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty directory but for `template`, an install."""
    directory = tmp_path_factory.mktemp("lives")
    install.prepare(settings_in(directory / "template"))
    return directory


# -- planted bugs --------------------------------------------------------------------


def dropped_uncounted(patch: pytest.MonkeyPatch) -> None:
    def prune(vault: Vault, actor: Actor) -> list[str]:
        with vault.keystore.locked():
            file = vault.read().file
            assert file is not None
            vault.keystore.replace(file, file.without([key for key in file.keys if key != file.primary]))
        return []

    patch.setattr(retired_keys, "prune", prune)


def stored_in_clear_while_the_key_is_away(patch: pytest.MonkeyPatch) -> None:
    real = Snapshot.sealing_key

    def careless(self: Snapshot) -> Key | None:
        return real(self) if self.file else None

    patch.setattr(Snapshot, "sealing_key", careless)


def turned_off_whatever_is_stored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(only_encrypted, "require_none", lambda: None)


def swept_in_one_table(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sweep, "SECRET_ROWS", SECRET_ROWS[:1])


@pytest.mark.parametrize(
    "plant",
    [
        old_key_dropped_early,
        dropped_uncounted,
        stored_in_clear_while_the_key_is_away,
        turned_off_whatever_is_stored,
        swept_in_one_table,
    ],
)
def test_a_planted_bug_is_met_in_some_life(
    plant: Callable[[pytest.MonkeyPatch], None], lives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(Exception) as caught:
        live(lives, 200, 25, shrink=False)  # until it is met
    # Flaky: it was met, and another time it was not; how often a reader is waited for is a matter of time.
    assert isinstance(caught.value, AssertionError | Flaky) or "key" in str(caught.value)
