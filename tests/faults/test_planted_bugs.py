"""Death at every step of every operation; and proof that this harness would catch the bugs that matter.

Each planted bug is a change of the real code for one test. The same plays that
pass without it must fail with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from panel import db
from panel.audit import Actor
from panel.crypto.keyfile import Key, KeyFile
from panel.models import Encryption, Endpoint
from panel.secret import Secret
from panel.vault import attestation, retired_keys, rotation, sweep, turn_off, turn_on, unfinished
from panel.vault.keystore import KeyStore
from panel.vault.sealer import Sealer
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.encryption.conftest import House
from tests.faults.failpoints import Play, play_with_death_at_every_step
from tests.installs import BOTH
from tests.running import WAIT_SECONDS

ACTOR = Actor("admin@example.org")
ON, OFF = State.ON, State.OFF


def on(house: House) -> None:
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    unfinished.resume(house.vault)


def off(house: House) -> None:
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    unfinished.resume(house.vault)


def cancel(house: House) -> None:
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)


def rotate(house: House) -> None:
    rotation.rotate(house.vault, ACTOR)
    unfinished.resume(house.vault)


def rotated(house: House) -> None:
    house.enable()
    (house.data / "older").write_bytes(house.key_file.read_bytes())
    house.rotate()


def pruned(house: House) -> None:
    rotated(house)
    retired_keys.prune(house.vault, ACTOR)


def prune(house: House) -> None:
    retired_keys.prune(house.vault, ACTOR)


def add(house: House) -> None:
    retired_keys.add(house.vault, (house.data / "older").read_bytes(), ACTOR)


def save(house: House) -> None:
    endpoint = Endpoint.get_by_id(1)
    endpoint.secret = Secret("new")
    endpoint.save()


def nothing(house: House) -> None:
    pass


PLAYS = {
    "turning on": Play(nothing, on, frozenset({ON, OFF})),
    "turning off": Play(House.enable, off, frozenset({ON, OFF})),
    "cancelling": Play(House.enable, cancel, frozenset({ON, OFF})),
    "changing the key": Play(House.enable, rotate, frozenset({ON})),
    "dropping a retired key": Play(rotated, prune, frozenset({ON})),
    "adding an older key": Play(pruned, add, frozenset({ON})),
    "saving sealed": Play(House.enable, save, frozenset({ON}), frozenset({"new"})),
    "saving clear": Play(nothing, save, frozenset({OFF}), frozenset({"new"})),
}


@pytest.mark.reliability
@pytest.mark.parametrize("name", PLAYS)
def test_death_at_every_step_loses_no_password_and_a_resume_finishes(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None], pytestconfig: pytest.Config
) -> None:
    long = bool(pytestconfig.getoption("--long"))
    deaths = play_with_death_at_every_step(PLAYS[name], tmp_path, twice=long)
    assert deaths >= 2
    record_property("reliability", {"table": "deaths", "row": name, "column": "tried", "tried": deaths})


# -- planted bugs --------------------------------------------------------------------


def old_key_dropped_early(patch: pytest.MonkeyPatch) -> None:
    def with_primary(self: KeyFile, key: Key) -> KeyFile:
        return replace(self, keys=(key,), generation=self.generation + 1)

    patch.setattr(KeyFile, "with_primary", with_primary)


def row_before_file(patch: pytest.MonkeyPatch) -> None:
    def rotate(vault: Vault, actor: Actor) -> None:
        file = vault.read().file
        assert file is not None
        new = file.with_primary(Key.generate())
        with db.transaction():
            Encryption.update(active_key_id=new.primary.id).execute()
        with vault.keystore.locked():
            vault.keystore.replace(file, new)

    patch.setattr(rotation, "rotate", rotate)


def overwritten_in_place(patch: pytest.MonkeyPatch) -> None:
    def overwrite(self: KeyStore, old: KeyFile, new: KeyFile) -> None:
        with self.path.open("r+b") as file:
            file.truncate(0)
            os.fsync(file.fileno())
            file.write(new.to_bytes())
            file.flush()
            os.fsync(file.fileno())

    patch.setattr(KeyStore, "replace", overwrite)


def unlinked_before_the_copy(patch: pytest.MonkeyPatch) -> None:
    real = KeyStore.retire

    def retire(self: KeyStore, file: KeyFile) -> Path:
        self.path.unlink()
        return real(self, file)

    patch.setattr(KeyStore, "retire", retire)


def listed_after_the_key_file(patch: pytest.MonkeyPatch) -> None:
    real_list, real_create = turn_on._attest_clear, KeyStore.create
    patch.setattr(turn_on, "_attest_clear", lambda vault, file: None)

    def create(self: KeyStore, file: KeyFile, path: Path | None = None) -> bool:
        created = real_create(self, file, path)
        if path is None:
            real_list(Vault(db.database, self), file)
        return created

    patch.setattr(KeyStore, "create", create)


def licence_ended_before_the_pass(patch: pytest.MonkeyPatch) -> None:
    real: Any = sweep._pass

    def one_pass(vault: Vault, *given: Any) -> Any:
        with vault.keystore.locked():
            attestation.remove_if(vault.keystore)
        return real(vault, *given)

    patch.setattr(sweep, "_pass", one_pass)


CAUGHT_BY_DEATH: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "old key dropped early": (old_key_dropped_early, "changing the key"),
    "row before file": (row_before_file, "changing the key"),
    "overwritten in place, changing": (overwritten_in_place, "changing the key"),
    "overwritten in place, turning off": (overwritten_in_place, "turning off"),
    "unlinked before the copy": (unlinked_before_the_copy, "turning off"),
    "listed after the key file": (listed_after_the_key_file, "turning on"),
    "licence ended before the pass": (licence_ended_before_the_pass, "cancelling"),
}  # fmt: skip


@pytest.mark.parametrize(("plant", "play"), CAUGHT_BY_DEATH.values(), ids=CAUGHT_BY_DEATH)
def test_a_planted_bug_is_caught_by_dying_at_every_step(
    plant: Callable[[pytest.MonkeyPatch], None], play: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(Exception) as caught:  # an assertion, or an error that names the missing key
        play_with_death_at_every_step(PLAYS[play], tmp_path)
    assert isinstance(caught.value, AssertionError) or "key" in str(caught.value)


# -- bugs that only another process brings out -----------------------------------------


def cancelled_in_the_middle(house: House) -> int:
    """Turning off is cancelled after the first batch; how many passwords end in clear."""
    for number in range(4):
        house.add(f"password {number}")
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)

    def interrupt(done: int, total: int) -> None:
        file = house.keystore.read()
        if file is not None and file.decrypt_id is not None:
            turn_off.cancel(house.vault, ACTOR)

    unfinished.resume(house.vault, interrupt)
    return int(house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL")[0][0])


def test_a_sweep_that_is_cancelled_turns_round_in_the_next_batch(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 1)
    assert cancelled_in_the_middle(house) == 0
    unfinished.resume(house.vault)
    assert house.state is State.ON


def test_planted_a_sweep_to_clear_without_the_flag_of_the_file_is_caught(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = sweep._target
    remembered: list[Any] = []

    def from_memory(vault: Vault) -> Any:
        now = real(vault)
        if now.key is None:
            remembered.append(now)
        return remembered[0] if remembered else now

    monkeypatch.setattr(sweep, "BATCH", 1)
    monkeypatch.setattr(sweep, "_target", from_memory)
    assert cancelled_in_the_middle(house) > 0


def saved_while_turned_on(house: House, patience: float) -> int:
    """Another thread turns encryption on while a save stands between looking and writing; clear rows after.

    `patience`: seconds that the save stands there, unless it is turned on before.
    """
    endpoint = house.add("first")
    other = threading.Thread(target=_turn_on_elsewhere, args=(house,))
    real = Sealer.seal

    def slow(self: Sealer, row: Any, secret: Secret) -> Any:
        sealed = real(self, row, secret)
        other.start()
        other.join(patience)
        return sealed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sealer, "seal", slow)
        endpoint.secret = Secret("second")
        endpoint.save()
    other.join(WAIT_SECONDS)
    return int(house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL")[0][0])


def _turn_on_elsewhere(house: House) -> None:
    with db.database.connection_context():
        house.enable()


def test_a_save_that_began_before_encryption_was_turned_on_does_not_end_in_clear(house: House) -> None:
    assert saved_while_turned_on(house, patience=1.5) == 0
    assert house.opened(Endpoint.get_by_id(1)) == "second"


@contextmanager
def _without_the_lock(self: Sealer) -> Iterator[None]:
    self._now.reading = self._vault.read()
    yield


def test_planted_a_save_without_the_lock_is_caught(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sealer, "storing", _without_the_lock)
    monkeypatch.setattr(Sealer, "before_commit", lambda self, row, check: None)
    assert saved_while_turned_on(house, patience=WAIT_SECONDS) > 0
