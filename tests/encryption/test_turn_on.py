"""Promises of turning encryption on and off (panel.vault.turn_on, sweep, residue)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Queue

import peewee
import pytest

from panel import db
from panel.audit import Actor
from panel.crypto.keyfile import KeyFile
from panel.errors import CannotOpen, CannotStore, KeyAbsent, PanelError, Refused, Tampered
from panel.models import Activity, Encryption, Endpoint
from panel.secret import Secret
from panel.vault import rotation, scrub, sweep, turn_off, turn_on, unfinished, verification
from panel.vault.keystore import KeyStore
from panel.vault.state import State
from panel.vault.turn_on import Confirmations
from tests.encryption.conftest import House, in_process
from tests.installs import BOTH
from tests.running import WAIT_SECONDS

ACTOR = Actor("admin@example.org", "192.0.2.1")


def test_enabling_seals_every_stored_password_and_each_still_opens(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 100)
    endpoints = {house.add(f"password {i}").id: f"password {i}" for i in range(203)}
    house.enable()
    assert house.state is State.ON
    assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NULL AND sealed IS NOT NULL") == [(203,)]
    assert {i: house.opened(Endpoint.get_by_id(i)) for i in endpoints} == endpoints


def test_from_the_first_instant_a_save_is_sealed(house: House) -> None:
    house.add()
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    assert house.state is State.ENABLING
    later = house.add("saved meanwhile")
    clear, sealed, _ = house.row(later)
    assert clear is None
    assert sealed is not None
    assert house.opened(later) == "saved meanwhile"


def test_after_enabling_no_file_of_the_install_holds_a_password_any_more(house: House) -> None:
    authorization_file = "MARKER-8c1f-secret-9d2e"
    house.add(authorization_file)
    assert house.files_with(authorization_file)
    house.enable()
    assert house.files_with(authorization_file) == []


def test_a_password_replaced_while_enabling_leaves_no_old_copy_either(house: House) -> None:
    authorization_file = "MARKER-replaced-meanwhile"
    endpoint = house.add(authorization_file)
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    endpoint.secret = Secret("the new one")
    endpoint.save()
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert house.files_with(authorization_file) == []


def test_while_somebody_reads_the_database_the_scrub_is_owed_and_named_then_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub, "PAUSE", 0)
    monkeypatch.setattr(scrub, "TRIES", 1)
    house.add("MARKER-held-open")
    reader = in_process(
        house, "c = db.database.connection(); c.execute('BEGIN'); c.execute('SELECT * FROM endpoint').fetchall();"
        "print('open', flush=True); import time; time.sleep(60)",
    )  # fmt: skip
    assert reader.stdout is not None
    assert reader.stdout.readline().strip() == "open"
    house.enable()
    assert house.state is State.ENABLING
    assert house.vault.latest().row.scrub_pending
    reader.kill()
    reader.wait()
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert house.files_with("MARKER-held-open") == []


def test_enabling_twice_makes_one_key(house: House) -> None:
    house.add()
    house.enable()
    before = house.key_file.read_bytes()
    house.enable()
    assert house.key_file.read_bytes() == before


def test_two_processes_that_enable_at_once_end_with_one_key(house: House) -> None:
    endpoints = [house.add(f"password {i}") for i in range(20)]
    others = [
        in_process(house, "turn_on.turn_on(vault, BOTH, actor); unfinished.resume(vault)") for _ in range(4)
    ]
    for other in others:
        output, _ = other.communicate(timeout=120)
        assert other.returncode == 0, output
    assert house.state is State.ON
    assert [p.name for p in house.data.glob("encryption-key*.bin")] == ["encryption-key.bin"]
    assert [house.opened(e) for e in endpoints] == [f"password {i}" for i in range(20)]


def test_a_sweep_that_was_killed_is_finished_by_anybody(house: House) -> None:
    endpoints = [house.add(f"password {i}") for i in range(300)]
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    killed = in_process(
        house,
        "import os; sweep.BATCH = 50; unfinished.resume(vault, lambda done, total: done >= 100 and os.kill(os.getpid(), 9))",
    )
    killed.wait(timeout=120)
    assert killed.returncode == -9
    status = house.vault.latest()
    assert status.state is State.ENABLING
    assert 100 <= status.sealed < 300
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert [house.opened(e) for e in endpoints] == [f"password {i}" for i in range(300)]


# -- the key file goes away ----------------------------------------------------


def test_with_the_key_file_away_nothing_is_stored_read_or_generated_and_it_goes_on_when_it_is_back(
    house: House,
) -> None:
    endpoint = house.add("kept")
    house.enable()
    away = house.key_file.with_name("away.bin")
    house.key_file.rename(away)
    assert house.state is State.KEY_MISSING
    with pytest.raises(KeyAbsent):
        house.opened(endpoint)
    endpoint.secret = Secret("not stored")
    with pytest.raises(CannotStore):
        endpoint.save()
    with pytest.raises(Refused):
        turn_on.turn_on(house.vault, BOTH, ACTOR)
    unfinished.resume(house.vault)
    assert not house.key_file.exists()
    away.rename(house.key_file)
    assert house.state is State.ON
    assert house.opened(endpoint) == "kept"


def test_a_missing_key_and_a_wiped_table_do_not_look_like_off(house: House) -> None:
    house.add()
    house.enable()
    house.key_file.rename(house.key_file.with_name("away.bin"))
    house.sql("DELETE FROM endpoint")
    house.sql("UPDATE encryption SET active_key_id = NULL")
    unfinished.resume(house.vault)
    assert house.state is State.KEY_MISSING
    with pytest.raises(CannotStore):
        house.add()


def test_another_installs_key_file_is_named_and_nothing_is_overwritten(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    right = house.key_file.read_bytes()
    house.key_file.write_bytes(KeyFile.generate(b"x" * 16).to_bytes())
    assert house.state is State.KEY_WRONG
    assert house.vault.latest().expected != house.vault.latest().found
    with pytest.raises(KeyAbsent):
        house.opened(endpoint)
    house.key_file.write_bytes(right)
    assert house.opened(endpoint) == "kept"


# -- what SQL can and cannot do ------------------------------------------------

COLUMNS = [
    "instance_id", "active_key_id", "release_id", "scrub_owed", "key_created_at", "enabled_at", "verified_at",
    "backup_proved_at", "trouble_since",
]  # fmt: skip
PLANTED = [None, b"", b"\0" * 8, b"\0" * 16, "text", 0, -1]


@pytest.mark.parametrize("column", COLUMNS)
def test_no_edit_of_the_encryption_row_stores_or_shows_a_password_or_loses_one(
    house: House, column: str
) -> None:
    endpoint = house.add("kept")
    house.enable()
    (good,) = house.sql(f"SELECT {column} FROM encryption")[0]
    for planted in PLANTED:
        try:
            house.sql(f"UPDATE encryption SET {column} = ?", planted)
        except PanelError:
            continue
        except peewee.IntegrityError as error:
            assert "NOT NULL" in str(error)
            continue
        with suppress(CannotStore):
            house.add(f"saved under {column}")
        with suppress(CannotOpen, CannotStore):
            unfinished.resume(house.vault)
        assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL") == [(0,)]
        house.sql(f"UPDATE encryption SET {column} = ?", good)
        assert house.opened(endpoint) == "kept"
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert verification.run_and_note(house.vault).failures == ()


def test_a_second_encryption_row_stops_everything_and_loses_nothing(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    house.sql("INSERT INTO encryption (id, instance_id) VALUES (2, x'00')")
    assert house.state is State.KEY_WRONG
    with pytest.raises(CannotStore):
        house.add()
    house.sql("DELETE FROM encryption WHERE id = 2")
    assert house.opened(endpoint) == "kept"


@pytest.mark.parametrize(
    "column",
    [
        "host",
        "port",
        "security",
        "username",
        "protocol",
        "direction",
        "auth_method",
        "token_url",
        "address",
        "kind",
    ],
)
def test_a_server_edited_by_sql_is_refused_and_named(house: House, column: str) -> None:
    endpoint, healthy = house.add("first"), house.add("second")
    house.enable()
    house.sql(
        f"UPDATE endpoint SET {column} = ? WHERE id = ?", 994 if column == "port" else "evil", endpoint.id
    )
    with pytest.raises(Tampered):
        house.opened(endpoint)
    assert house.state is State.INCONSISTENT
    assert [f.address for f in house.vault.latest().failures] == [endpoint.account.address]
    assert house.opened(healthy) == "second"


def test_no_record_opens_in_any_other_row(house: House) -> None:
    endpoints = [house.add(f"password {i}") for i in range(4)]
    house.enable()
    records = {e.id: house.row(e)[1] for e in endpoints}
    for target in endpoints:
        for source in endpoints:
            house.sql("UPDATE endpoint SET sealed = ? WHERE id = ?", records[source.id], target.id)
            if source.id == target.id:
                assert house.opened(target).startswith("password")
            else:
                with pytest.raises(Tampered):
                    house.opened(target)
        house.sql("UPDATE endpoint SET sealed = ? WHERE id = ?", records[target.id], target.id)


def test_a_clear_value_planted_while_on_is_sealed_by_the_next_sweep_and_named_in_activity(
    house: House,
) -> None:
    endpoint = house.add("kept")
    house.enable()
    house.sql("UPDATE endpoint SET sealed = NULL, clear = 'planted'")
    unfinished.resume(house.vault)
    assert house.row(endpoint)[0] is None
    assert house.state is State.ON
    named = Activity.select().where(Activity.what == "unattested password found")
    assert [a.subject for a in named] == [endpoint.account.address]


# -- on ------------------------------------------------------------------------


@pytest.mark.parametrize("given", [(False, False), (True, False), (False, True)])
def test_without_both_confirmations_nothing_is_changed_whoever_asks(
    house: House, given: tuple[bool, bool]
) -> None:
    """The rule of both boxes is the service's: page, wizard and shell share it."""
    before = sorted(path.name for path in house.data.iterdir())
    with pytest.raises(Refused, match="Both confirmations are needed"):
        turn_on.turn_on(house.vault, Confirmations(*given), Actor())
    assert (house.state, sorted(path.name for path in house.data.iterdir())) == (State.OFF, before)


# -- off -----------------------------------------------------------------------


def write_marker(house: House, text: str | None = None) -> Path:
    path = house.keystore.authorization_path
    path.write_text((turn_off.challenge(house.vault).text if text is None else text) + "\n")
    path.chmod(0o600)
    return path


def test_with_the_marker_every_password_is_clear_again_and_the_key_is_kept_as_retired(house: House) -> None:
    endpoints = [house.add(f"password {i}") for i in range(3)]
    house.enable()
    authorization_file = write_marker(house)
    turn_off.turn_off(house.vault, ACTOR)
    assert house.state is State.DISABLING
    assert not authorization_file.exists()
    unfinished.resume(house.vault)
    assert house.state is State.OFF
    assert [house.row(e)[0] for e in endpoints] == [f"password {i}" for i in range(3)]
    assert not house.key_file.exists()
    assert house.keystore.expected_key() is None
    assert len(list(house.data.glob("encryption-key.retired-*.bin"))) == 1


BAD_MARKERS: dict[str, Callable[[House], object]] = {
    "none": lambda h: None,
    "empty": lambda h: write_marker(h, ""),
    "the nonce alone": lambda h: write_marker(h, turn_off.challenge(h.vault).nonce),
    "a wrong code": lambda h: write_marker(h, "00" * 8 + " " + "00" * 8),
    "another nonce's code": lambda h: write_marker(h, "ab " + turn_off.challenge(h.vault).code),
    "binary": lambda h: h.keystore.authorization_path.write_bytes(os.urandom(64)),
    "too old": lambda h: os.utime(write_marker(h), (time.time() - 3700,) * 2),
    "older than the key file": lambda h: os.utime(write_marker(h), (h.key_file.stat().st_mtime - 1,) * 2),
    "from the future": lambda h: os.utime(write_marker(h), (time.time() + 7200,) * 2),
    "readable for others": lambda h: write_marker(h).chmod(0o644),
    "a symbolic link": lambda h: h.keystore.authorization_path.symlink_to(write_marker(h).rename(h.data / "elsewhere")),
    "of another owner": lambda h: os.chown(write_marker(h), 12345, 12345) if os.geteuid() == 0 else None,
}  # fmt: skip


@pytest.mark.parametrize("make", BAD_MARKERS.values(), ids=BAD_MARKERS)
def test_no_other_marker_turns_encryption_off(house: House, make: Callable[[House], object]) -> None:
    endpoint = house.add("kept")
    house.enable()
    make(house)
    with pytest.raises(PanelError) as refused:
        turn_off.turn_off(house.vault, ACTOR)
    assert refused.value.remedy
    assert house.state is State.ON
    assert house.row(endpoint)[0] is None


def test_a_code_is_good_for_one_use(house: House) -> None:
    house.add()
    house.enable()
    code = turn_off.challenge(house.vault).text
    write_marker(house, code)
    turn_off.turn_off(house.vault, ACTOR)
    turn_off.cancel(house.vault, ACTOR)
    write_marker(house, code)
    with pytest.raises(Refused, match="used already"):
        turn_off.turn_off(house.vault, ACTOR)


def test_turning_off_is_refused_while_one_password_does_not_open(house: House) -> None:
    endpoint = house.add()
    house.enable()
    house.sql("UPDATE endpoint SET host = 'evil'")
    with pytest.raises(Refused, match=endpoint.account.address):
        turn_off.turn_off(house.vault, Actor(), in_shell=True)
    assert house.state is State.INCONSISTENT


def test_turning_off_can_be_cancelled_until_all_are_clear(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert house.opened(endpoint) == "kept"


def test_cancelling_what_had_finished_says_that_passwords_are_in_clear(house: House) -> None:
    house.add("kept")
    house.add("also kept")
    house.enable()
    house.disable()
    with pytest.raises(
        Refused, match="Nothing was cancelled: encryption is off already, and 2 passwords are"
    ):
        turn_off.cancel(house.vault, ACTOR)
    with pytest.raises(Refused, match="off already: 2 passwords are in clear text"):
        turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    assert house.state is State.OFF


def test_cancelling_at_each_other_moment_says_what_is_so(house: House) -> None:
    with pytest.raises(Refused, match="off already, and no password is stored"):
        turn_off.cancel(house.vault, ACTOR)
    house.add("kept")
    house.enable()
    with pytest.raises(Refused, match="encryption is on and is not being turned off"):
        turn_off.cancel(house.vault, ACTOR)
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    sweep.run(house.vault)
    house.sql("UPDATE encryption SET active_key_id = NULL")  # as a kill between the last steps leaves it
    with pytest.raises(Refused, match="Nothing was cancelled: 1 password is in clear text"):
        turn_off.cancel(house.vault, ACTOR)
    house.key_file.unlink()
    with pytest.raises(Refused, match=r"Nothing was cancelled\. The encryption key file is missing"):
        turn_off.cancel(house.vault, ACTOR)


def test_who_comes_second_is_told_so(house: House) -> None:
    house.add("kept")
    assert turn_on.turn_on(house.vault, BOTH, ACTOR)
    assert not turn_on.turn_on(house.vault, BOTH, ACTOR)
    unfinished.resume(house.vault)
    assert not turn_on.turn_on(house.vault, BOTH, ACTOR)
    seen = house.vault.latest().found
    assert rotation.rotate(house.vault, ACTOR, seen)
    unfinished.resume(house.vault)
    assert not rotation.rotate(house.vault, ACTOR, seen)


def test_after_off_a_new_key_is_made_when_turned_on_again(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    first = house.key_file.read_bytes()
    house.disable()
    house.enable()
    assert house.key_file.read_bytes() != first
    assert house.opened(endpoint) == "kept"


def test_a_marker_that_proves_nothing_is_deleted_at_start(house: House) -> None:
    house.enable()
    stale = write_marker(house, "00 00")
    unfinished.start(house.vault)
    assert not stale.exists()


def test_while_turning_off_a_save_stores_clear_and_nothing_is_sealed_at_the_end(house: House) -> None:
    house.add()
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    later = house.add("saved meanwhile")
    unfinished.resume(house.vault)
    assert house.row(later)[0] == "saved meanwhile"
    assert house.sql("SELECT count(*) FROM endpoint WHERE sealed IS NOT NULL") == [(0,)]


# -- crashes and races -----------------------------------------------------------


def test_an_older_database_behind_a_good_key_file_is_sealed_again(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    house.sql("UPDATE encryption SET active_key_id = NULL, scrub_owed = NULL")
    house.sql("UPDATE endpoint SET sealed = NULL, clear = 'from before'")
    assert house.state is State.ENABLING
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert house.opened(endpoint) == "from before"


@pytest.mark.reliability
def test_200_saves_in_two_processes_racing_enable_and_disable(
    house: House, record_property: Callable[[str, object], None]
) -> None:
    """No clear value after `on`, none sealed after `off`, none lost."""
    endpoints = [house.add("password 0") for _ in range(10)]
    savers = [in_process(house, RACING_SAVES, str(part)) for part in (0, 1)]
    while any(saver.poll() is None for saver in savers):
        house.enable()
        assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL") == [(0,)]
        house.disable()
        assert house.sql("SELECT count(*) FROM endpoint WHERE sealed IS NOT NULL") == [(0,)]
    last: dict[int, str] = {}
    for saver in savers:
        output, _ = saver.communicate(timeout=120)
        assert saver.returncode == 0, output
        last |= {int(line.split()[0]): line.split(maxsplit=1)[1] for line in output.splitlines()}
    assert len(last) == 10
    assert {e.id: house.opened(e) for e in endpoints} == last
    house.enable()
    assert {e.id: house.opened(e) for e in endpoints} == last
    record_property(
        "reliability",
        {
            "table": "races",
            "row": "saves of two processes while a third turns encryption on and off",
            "column": "tried",
            "tried": 200,
        },
    )


RACING_SAVES = """
from panel.errors import CannotStore
part = int(sys.argv[2])
ids = [e.id for e in Endpoint.select(Endpoint.id)][part::2]
last = {}
for n in range(100):
    endpoint = Endpoint.get_by_id(ids[n % len(ids)])
    endpoint.secret = Secret(f"password {part} {n}")
    for attempt in range(200):
        try:
            endpoint.save()
            break
        except Exception as error:
            if type(error).__name__ not in ("CannotStore", "EditedMeanwhile"):
                raise
            endpoint = Endpoint.get_by_id(endpoint.id)
            endpoint.secret = Secret(f"password {part} {n}")
    else:
        raise SystemExit("never stored")
    last[endpoint.id] = f"password {part} {n}"
for i, text in last.items():
    print(i, text)
"""


def test_the_state_row_and_progress_are_read_from_the_database(house: House) -> None:
    for i in range(4):
        house.add(f"password {i}")
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    seen: list[tuple[int, int]] = []
    unfinished.resume(house.vault, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
    assert Encryption.only() is not None


def test_the_last_steps_of_turning_off_never_look_like_a_lost_key(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is asked between them would say so, until it asks again."""
    house.add()
    house.enable()
    forget, seen = KeyStore.forget_expected_key, Queue[State]()

    def look() -> None:
        with db.database.connection_context():
            seen.put(house.vault.latest().state)

    def midway(keystore: KeyStore) -> None:
        if not house.key_file.exists():
            other = threading.Thread(target=look)
            other.start()
            other.join(1)  # it waits for these steps, or has looked between them
        forget(keystore)

    monkeypatch.setattr(KeyStore, "forget_expected_key", midway)
    house.disable()
    assert seen.get(timeout=WAIT_SECONDS) is State.OFF
