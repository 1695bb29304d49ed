"""Attacks on rotation, added and dropped keys, and on the proof of the backup: what must hold nonetheless."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import peewee
import pytest

from panel import db
from panel.audit import Actor
from panel.crypto.keyfile import Key, KeyFile
from panel.errors import DatabaseError, PanelError, Refused
from panel.models import Encryption, Endpoint
from panel.vault import (
    activate,
    backup_proof,
    forget,
    retired_keys,
    rotation,
    snapshot,
    turn_off,
    unfinished,
)
from panel.vault.keystore import KeyStore
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from tests.encryption.conftest import House

ACTOR = Actor("admin@example.org", "192.0.2.1")


def file_of(house: House) -> KeyFile:
    return KeyFile.from_bytes(house.key_file.read_bytes())


# -- dropping retired keys -----------------------------------------------------------


def test_a_key_that_retires_while_a_person_confirms_is_not_dropped_with_those_they_saw(house: House) -> None:
    house.add("kept")
    house.enable()
    house.rotate()
    shown = [each.fingerprint for each in retired_keys.retired(house.vault)]
    todays = file_of(house).primary  # of today's database backups
    house.rotate()  # another administrator, while "drop 1 key" is being typed
    with pytest.raises(Refused):
        retired_keys.prune(house.vault, ACTOR, shown)
    assert file_of(house).find(todays.id) is not None


def test_a_key_that_a_forgotten_record_waits_for_is_not_dropped(house: House) -> None:
    house.add("lost and found")
    house.enable()
    safe = house.key_file.read_bytes()
    house.key_file.unlink()
    forget.forget(house.vault, ACTOR)
    house.enable()
    retired_keys.add(house.vault, safe, ACTOR)  # and --restore is still to be typed
    with pytest.raises(Refused, match="set aside"):
        retired_keys.prune(house.vault, ACTOR)
    assert forget.restore(house.vault, ACTOR) == ["0@example.org"]
    unfinished.resume(house.vault)
    assert house.opened(Endpoint.get_by_id(1)) == "lost and found"
    retired_keys.prune(house.vault, ACTOR)


def fail_commits(patch: pytest.MonkeyPatch) -> None:
    def commit(self: object) -> None:
        raise peewee.OperationalError("database or disk is full")

    patch.setattr(db.GuardedSqlite, "commit", commit)


@pytest.mark.parametrize("step", ["rotate", "prune", "add"])
def test_a_full_disk_under_the_database_is_met_before_the_key_file_changes(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The message says 'nothing was changed', and the key file may lie on another disk that has room."""
    house.add("kept")
    house.enable()
    house.rotate()
    before = house.key_file.read_bytes()
    older = replace(file_of(house), generation=1, keys=(Key.generate(),)).to_bytes()
    steps = {
        "rotate": lambda: rotation.rotate(house.vault, ACTOR),
        "prune": lambda: retired_keys.prune(house.vault, ACTOR),
        "add": lambda: retired_keys.add(house.vault, older, ACTOR),
    }
    with monkeypatch.context() as patch, pytest.raises(DatabaseError, match="nothing was changed"):
        fail_commits(patch)
        with db.explained():
            steps[step]()
    assert house.key_file.read_bytes() == before


# -- an older key that is a newer one --------------------------------------------------


def test_adding_the_key_that_was_in_use_here_does_not_move_every_password_back_to_an_old_one(
    house: House,
) -> None:
    house.add("kept")
    house.enable()
    old, given_away = house.key_file.read_bytes(), file_of(house).primary
    house.rotate()
    retired_keys.prune(house.vault, ACTOR)
    newest = house.key_file.read_bytes()
    house.key_file.write_bytes(old)  # a backup from before the rotation is put back by mistake
    assert house.state is State.KEY_WRONG
    with pytest.raises(Refused, match="newer"):
        retired_keys.add(house.vault, newest, ACTOR)  # as the page says: flask encryption key add FILE
    assert house.vault.read().row.active_key_id != given_away.id
    unfinished.resume(house.vault)
    assert house.vault.read().row.active_key_id != given_away.id


# -- the key file is swapped -----------------------------------------------------------


def test_a_key_file_put_there_meanwhile_is_never_overwritten_though_its_generation_fits(house: House) -> None:
    house.add("kept")
    house.enable()
    read = file_of(house)
    other = replace(read, keys=(*read.keys, Key.generate()))  # from another server's backup, same generation
    house.key_file.write_bytes(other.to_bytes())
    with pytest.raises(Refused, match="changed by another process"):
        replaced(house.keystore, read, Key.generate())
    assert file_of(house) == other


@pytest.fixture
def twin(house: House, tmp_path: Path) -> KeyStore:
    """A key store of another data directory (a copied install) that names the same key file."""
    (tmp_path / "twin").mkdir(mode=0o700)
    return KeyStore(house.key_file, tmp_path / "twin")


def replaced(keystore: KeyStore, read: KeyFile, key: Key) -> None:
    with keystore.locked():
        keystore.replace(read, read.with_primary(key))


def test_two_data_directories_with_one_key_file_do_not_lose_each_others_new_key(
    house: House, twin: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("kept")
    house.enable()
    read = file_of(house)
    theirs, ours = Key.generate(), Key.generate()
    _while_writing(monkeypatch, lambda: _in_thread(lambda: replaced(twin, read, theirs)))
    results = [_quietly(lambda: replaced(house.keystore, read, ours))]
    results.append(_joined_result())
    assert sorted(results) == [False, True], "one of two must be refused: both replaced the same generation"


def test_retiring_never_removes_a_key_file_that_another_data_directory_has_changed(
    house: House, twin: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("kept")
    house.enable()
    read = file_of(house)
    theirs = Key.generate()
    replaced(twin, read, theirs)
    with house.keystore.locked(), pytest.raises(Refused, match="changed by another process"):
        house.keystore.retire(read)
    assert file_of(house).find(theirs.id) is not None


_threads: list[tuple[object, list[bool]]] = []


def _quietly(step) -> bool:  # type: ignore[no-untyped-def]
    try:
        step()
    except PanelError:
        return False
    return True


def _in_thread(step) -> None:  # type: ignore[no-untyped-def]
    import threading

    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(_quietly(step)))
    thread.start()
    thread.join(3)  # without a common lock it is done long before
    _threads.append((thread, results))


def _joined_result() -> bool:
    thread, results = _threads.pop()
    thread.join(60)  # type: ignore[attr-defined]
    return results[0]


def _while_writing(monkeypatch: pytest.MonkeyPatch, step) -> None:  # type: ignore[no-untyped-def]
    """Have `step` happen once between the reading of the old key file and the renaming of the new one."""
    real = KeyStore._written
    once: list[bool] = []

    def written(self: KeyStore, path: Path, file: KeyFile):  # type: ignore[no-untyped-def]
        if not once:
            once.append(True)
            step()
        return real(self, path, file)

    monkeypatch.setattr(KeyStore, "_written", written)


# -- the proof of the backup -------------------------------------------------------------


def test_a_rotation_during_a_proof_leaves_the_backup_unproved(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add()
    house.enable()
    copy = house.key_file.read_bytes()
    real = snapshot.read
    once: list[bool] = []

    def read(keystore: KeyStore, **given: bool) -> Snapshot:
        found = real(keystore, **given)
        if not once:
            once.append(True)
            _in_thread(lambda: _rotate_here(house))
        return found

    monkeypatch.setattr(snapshot, "read", read)
    _quietly(lambda: backup_proof.check(house.vault, copy, ACTOR))
    _joined_result()
    unfinished.resume(house.vault)
    assert len(file_of(house).keys) == 2
    assert house.vault.latest().times.backup_proved_at is None, "the copy lacks today's key"


def _rotate_here(house: House) -> None:
    with db.database.connection_context():
        house.rotate()


def test_a_copy_of_the_wrong_key_file_proves_nothing(house: House) -> None:
    house.add()
    house.enable()
    right = house.key_file.read_bytes()
    wrong = KeyFile.generate(b"x" * 16).to_bytes()
    house.key_file.write_bytes(wrong)
    assert not _quietly(lambda: backup_proof.check(house.vault, wrong, ACTOR))
    assert not _quietly(
        lambda: backup_proof.verify(house.vault, "00", backup_proof.answer_for("00", wrong), ACTOR)
    )
    house.key_file.write_bytes(right)
    assert house.vault.latest().times.backup_proved_at is None


def test_a_copy_made_while_encryption_is_turned_off_proves_nothing(house: House) -> None:
    """It is flagged: put back after cancelling, it is the wrong key file."""
    house.add()
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    flagged = house.key_file.read_bytes()
    assert not _quietly(lambda: backup_proof.check(house.vault, flagged, ACTOR))
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)
    house.key_file.write_bytes(flagged)
    assert house.state is State.KEY_WRONG
    assert house.vault.latest().times.backup_proved_at is None


def test_killed_while_a_key_is_added_the_backup_is_unproved_already(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add()
    house.enable()
    house.prove()
    older = replace(file_of(house), generation=1, keys=(Key.generate(),))
    real = KeyStore.replace

    class Killed(BaseException):
        pass

    def replaced(self: KeyStore, old: KeyFile, new: KeyFile) -> None:
        real(self, old, new)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(KeyStore, "replace", replaced)
        retired_keys.add(house.vault, older.to_bytes(), ACTOR)
    assert file_of(house).find(older.primary.id) is not None
    assert house.vault.latest().times.backup_proved_at is None, (
        "no copy holds the key that is in the file now"
    )


# -- turning off ---------------------------------------------------------------------------


def test_one_marker_turns_encryption_off_once_however_slow_the_second_press_is(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("kept")
    house.enable()
    challenge = turn_off.challenge(house.vault)
    house.keystore.authorization_path.write_text(challenge.text + "\n")
    house.keystore.authorization_path.chmod(0o600)
    real = KeyStore.locked
    once: list[bool] = []

    def locked(keystore: KeyStore) -> AbstractContextManager[None]:
        if not once:  # the first press and a cancel overtake the second, which waits for the lock
            once.append(True)
            turn_off.turn_off(house.vault, ACTOR)
            turn_off.cancel(house.vault, ACTOR)
        return real(keystore)

    monkeypatch.setattr(KeyStore, "locked", locked)
    with pytest.raises(Refused):
        turn_off.turn_off(house.vault, ACTOR)
    assert file_of(house).decrypt_id is None


def test_a_database_writer_cannot_keep_turning_off_from_being_cancelled(house: House) -> None:
    house.add("kept")
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    house.sql("UPDATE encryption SET active_key_id = NULL")
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL") == [(0,)]


# -- a great many keys ----------------------------------------------------------------------


def many(house: House, count: int) -> KeyFile:
    file = file_of(house)
    others = tuple(replace(Key.generate(), state="retired") for _ in range(count - 1))
    return replace(file, keys=(*others, file.primary))


def test_a_thousand_keys_do_not_hold_the_database_while_others_wait(house: House) -> None:
    import time

    house.add("kept")
    house.enable()
    full = many(house, 1000)
    house.key_file.write_bytes(full.to_bytes())
    before = time.process_time()
    older = replace(full, generation=0, keys=tuple(Key.generate() for _ in range(1000)))
    retired_keys.add(house.vault, older.to_bytes(), ACTOR)
    retired_keys.prune(house.vault, ACTOR)
    assert time.process_time() - before < 3
    assert house.opened(Endpoint.get_by_id(1)) == "kept"


@pytest.mark.parametrize("step", ["add", "rotate"])
def test_a_key_file_that_is_full_is_told_so(house: House, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    house.add("kept")
    house.enable()
    monkeypatch.setattr(retired_keys, "MOST_KEYS", 9)  # really 65,535: as many as the file can count
    full = many(house, 9)
    house.key_file.write_bytes(full.to_bytes())
    before = house.key_file.read_bytes()
    older = replace(full, generation=0, keys=(Key.generate(),)).to_bytes()
    with pytest.raises(Refused, match="prune"):
        retired_keys.add(house.vault, older, ACTOR) if step == "add" else rotation.rotate(house.vault, ACTOR)
    assert house.key_file.read_bytes() == before


def test_claiming_while_the_key_file_goes_away_is_told_and_not_a_traceback(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("kept")
    house.enable()
    rotation.rotate(house.vault, ACTOR)
    Encryption.update(active_key_id=file_of(house).keys[0].id).execute()
    real = KeyStore.expect

    def expect(self: KeyStore, key_id: bytes) -> None:
        real(self, key_id)
        shutil.move(house.key_file, house.data / "away")

    with monkeypatch.context() as patch:
        patch.setattr(KeyStore, "expect", expect)
        with pytest.raises(PanelError):
            activate.activate(house.vault)
    shutil.move(house.data / "away", house.key_file)
    assert house.opened(Endpoint.get_by_id(1)) == "kept"
