"""Promises of the proof that a copy of the key file exists: it takes the key to give it, and holds for one file."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from peewee import PeeweeException

from panel import db
from panel.audit import Actor
from panel.crypto.keyfile import Key, KeyFile
from panel.errors import PanelError
from panel.vault import backup_proof, reading, retired_keys, rotation, turn_off, unfinished
from panel.vault.keystore import KeyStore
from panel.vault.state import State
from tests.encryption.conftest import House

ACTOR = Actor("admin@example.org", "192.0.2.1")


@pytest.fixture
def proved(house: House) -> House:
    """A house whose key was changed once, and whose backup is proved."""
    house.add("kept")
    house.enable()
    house.rotate()
    house.prove()
    assert not due(house)
    return house


def due(house: House) -> bool:
    now = house.vault.latest()
    assert now.state is State.ON
    assert now.backup_due is (now.times.backup_proved_at is None)
    return now.backup_due


def stored(house: House) -> tuple[Any, ...]:
    return house.sql("SELECT backup_proved_at, backup_tag FROM encryption")[0]


def store(house: House, at: object, tag: object) -> None:
    house.sql("UPDATE encryption SET backup_proved_at = ?, backup_tag = ?", at, tag)


def file_of(house: House) -> KeyFile:
    return KeyFile.from_bytes(house.key_file.read_bytes())


def test_the_tag_is_made_of_the_key_the_file_and_the_time(proved: House) -> None:
    at, tag = stored(proved)
    info = (
        b"mailkeep/backup-proved"
        + hashlib.sha256(proved.key_file.read_bytes()).digest()
        + at.to_bytes(8, "big")
    )
    assert tag == hmac.digest(file_of(proved).primary.material, info + b"\x01", "sha256"), (
        "RFC 5869, one block"
    )


def test_a_time_that_no_tag_goes_with_proves_nothing(house: House) -> None:
    """Written by SQL, or by a Mailkeep of before the tag."""
    house.add()
    house.enable()
    store(house, db.now(), None)
    assert due(house)
    house.prove()
    assert not due(house)


# -- due again after each change of the file ----------------------------------------


def rotate(house: House) -> None:
    rotation.rotate(house.vault, ACTOR)


def add(house: House) -> None:
    older = replace(file_of(house), generation=1, keys=(Key.generate(),))
    retired_keys.add(house.vault, older.to_bytes(), ACTOR)


def prune(house: House) -> None:
    retired_keys.prune(house.vault, ACTOR)


def cancelled(house: House) -> None:
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    turn_off.cancel(house.vault, ACTOR)


CHANGES = {"rotate": rotate, "add": add, "prune": prune, "a cancelled turning off": cancelled}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("replay", [False, True], ids=["", "and the older tag is written back"])
@pytest.mark.parametrize("killed", [None, 1, 2, 3], ids=lambda n: f"killed after write {n}" if n else "")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_after_each_change_of_the_key_file_the_backup_is_due_whenever_it_was_killed(
    proved: House,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[House], None],
    killed: int | None,
    replay: bool,
) -> None:
    before, was = proved.key_file.read_bytes(), stored(proved)
    real = KeyStore.replace
    writes: list[bytes] = []

    def replaced(self: KeyStore, old: KeyFile, new: KeyFile) -> None:
        real(self, old, new)
        writes.append(new.to_bytes())
        if len(writes) == killed:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(KeyStore, "replace", replaced)
        try:
            change(proved)
            unfinished.resume(proved.vault)
        except Killed:
            pass
    assert proved.key_file.read_bytes() != before
    if replay:
        store(proved, *was)
    assert proved.vault.latest().times.backup_proved_at is None
    if proved.vault.latest().state is State.DISABLING:
        turn_off.cancel(proved.vault, ACTOR)
    unfinished.resume(proved.vault)
    assert due(proved)
    proved.prove()
    assert not due(proved)


def test_proved_in_the_middle_of_a_change_it_is_due_again_at_its_end(proved: House) -> None:
    rotation.rotate(proved.vault, ACTOR)
    proved.prove()
    assert proved.vault.latest().times.backup_proved_at is not None
    unfinished.resume(proved.vault)
    assert due(proved)


# -- what somebody who writes the database can try --------------------------------------

FALSE: dict[str, Callable[[int, bytes], tuple[object, object]]] = {
    "another time": lambda at, tag: (at + 1, tag),
    "time and tag a byte off": lambda at, tag: (at, bytes([tag[0] ^ 1]) + tag[1:]),
    "no time": lambda at, tag: (None, tag),
    "no tag": lambda at, tag: (at, None),
    "an empty tag": lambda at, tag: (at, b""),
    "the tag cut short": lambda at, tag: (at, tag[:16]),
    "the tag and a byte more": lambda at, tag: (at, tag + b"\0"),
    "zeros": lambda at, tag: (at, bytes(32)),
    "a number as the tag": lambda at, tag: (at, 1),
    "a fraction as the tag": lambda at, tag: (at, 1.5),
    "text as the tag": lambda at, tag: (at, "é" * 32),
    "text as the time": lambda at, tag: ("soon", tag),
    "bytes as the time": lambda at, tag: (str(at).encode(), tag),
    "bytes that are no text as the time": lambda at, tag: (b"\xff", tag),
    "a fraction as the time": lambda at, tag: (at + 0.5, tag),
    "before 1970": lambda at, tag: (-at, tag),
    "the last second of a signed number": lambda at, tag: (2**63 - 1, tag),
    "a time beyond all numbers": lambda at, tag: (float("inf"), tag),
    "a time of 30 digits": lambda at, tag: (1e30, tag),
}


@pytest.mark.parametrize("plant", FALSE.values(), ids=FALSE)
def test_no_other_value_in_the_columns_passes_and_none_breaks_a_page(
    proved: House, plant: Callable[[int, bytes], tuple[object, object]]
) -> None:
    store(proved, *plant(*stored(proved)))
    assert due(proved)


@pytest.mark.parametrize("column", ["key_created_at", "enabled_at", "verified_at", "trouble_since"])
@pytest.mark.parametrize("value", [float("inf"), 1e30, b"\xff", "soon", -1])
def test_no_value_in_another_time_of_the_row_breaks_a_page(proved: House, column: str, value: object) -> None:
    proved.sql(f"UPDATE encryption SET {column} = ?", value)
    assert getattr(proved.vault.latest().times, column) is None


def test_a_tag_made_with_a_retired_key_or_for_another_generation_is_none(proved: House) -> None:
    file, at = file_of(proved), db.now()
    earlier = Key(file.keys[0].material, "usable")
    for other in (
        replace(file, generation=file.generation + 1),
        replace(file, generation=file.generation - 1),
        replace(file, instance_id=b"x" * 16),
        replace(file, keys=(file.primary,)),
        replace(file, keys=(*file.keys[1:], earlier)),
        file.with_decrypting_flag(b"r" * 16),
    ):
        store(proved, at, reading.backup_tag(other, at))
        assert due(proved)
    store(proved, at, reading.backup_tag(file, at))
    assert not due(proved)


def test_a_row_removed_and_made_anew_is_not_proved_nor_are_two(proved: House) -> None:
    (row,) = proved.sql("SELECT instance_id, active_key_id, backup_proved_at, backup_tag FROM encryption")
    proved.sql("INSERT INTO encryption (id, instance_id) VALUES (2, ?)", row[0])
    assert proved.vault.latest().times.backup_proved_at is None
    proved.sql("DELETE FROM encryption")
    assert proved.vault.latest().times.backup_proved_at is None
    proved.sql("INSERT INTO encryption (id, instance_id, active_key_id) VALUES (1, ?, ?)", *row[:2])
    assert due(proved)
    store(proved, *row[2:])
    assert not due(proved), "this very file was proved at that time: it is true"


def test_turned_off_and_on_again_the_older_tag_proves_nothing(proved: House) -> None:
    was = stored(proved)
    proved.disable()
    assert stored(proved) == (None, None)
    store(proved, *was)
    assert proved.vault.latest().times.backup_proved_at is None
    proved.enable()
    store(proved, *was)
    assert due(proved)


def test_with_a_clock_far_ahead_the_proof_still_holds_for_this_file_alone(
    proved: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(db, "now", lambda: 2**40)
        proved.prove()
    was = stored(proved)
    assert not due(proved)
    proved.rotate()
    store(proved, *was)
    assert due(proved)


def test_while_the_key_is_away_nothing_vouches_for_the_time_and_it_counts_again_when_it_is_back(
    proved: House,
) -> None:
    away = proved.key_file.rename(proved.data / "away")
    assert proved.vault.latest().times.backup_proved_at is None
    away.rename(proved.key_file)
    assert not due(proved)


def test_a_database_that_takes_nothing_is_met_before_the_key_file_changes(proved: House) -> None:
    proved.sql("CREATE TRIGGER full BEFORE UPDATE ON encryption BEGIN SELECT RAISE(ABORT, 'no'); END")
    before = proved.key_file.read_bytes()
    for change in (rotate, add, prune):
        with pytest.raises((PanelError, PeeweeException)):
            change(proved)
        assert proved.key_file.read_bytes() == before


def test_an_imported_copy_is_its_own_proof(proved: House) -> None:
    from panel.encryption.exports import export

    copy = proved.key_file.read_bytes()
    store(proved, None, None)
    proved.key_file.unlink()
    assert export.put_back(proved.vault, copy, ACTOR)
    assert not due(proved)


def test_what_keeps_the_key_at_work_for_an_hour_does_not_hide_that_the_backup_is_due(
    proved: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation.rotate(proved.vault, ACTOR)
    proved.sql("UPDATE endpoint SET host = 'evil.example.org'")
    unfinished.resume(proved.vault)
    now = proved.vault.latest()
    assert (now.state, now.backup_due) == (State.ROTATING, False), "its file changes once more at its end"
    later = db.now() + 3600
    monkeypatch.setattr(db, "now", lambda: later)
    assert proved.vault.latest().backup_due
    proved.prove()
    assert not proved.vault.latest().backup_due


def test_withdrawn_means_due(proved: House) -> None:
    backup_proof.withdraw()
    assert stored(proved) == (None, None)
    assert due(proved)
