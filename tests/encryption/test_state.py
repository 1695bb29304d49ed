"""Promises of the states: the table of docs/encryption.md, row by row, and what a save stores in each."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from panel.crypto.keyfile import Key, KeyFile
from panel.errors import CannotStore, KeyAbsent, KeyFileError
from panel.vault.owners import Failure
from panel.vault.snapshot import Snapshot
from panel.vault.state import FileFacts, RecordFacts, RowFacts, State

INSTANCE, RELEASE = b"i" * 16, b"r" * 16
KEY, SECOND, STRANGER = Key.generate(), Key.generate(), Key.generate()
ONE = KeyFile(INSTANCE, (KEY,))
TWO = KeyFile(INSTANCE, (KEY, SECOND))
ADDED = ONE.with_retired([SECOND])
ROTATED = KeyFile(INSTANCE, (Key(KEY.material, "retired"), SECOND))
RELEASING = ONE.with_decrypting_flag(RELEASE)
BAD = KeyFileError("damaged")
NULL = RowFacts(INSTANCE)
ACTIVE = RowFacts(INSTANCE, KEY.id)
NONE = RecordFacts()
SEALED = RecordFacts(sealed_by_key={KEY.id: 2})
CLEAR = RecordFacts(clear=2)
FAILED = replace(SEALED, failures=(Failure("u", "a@example.org", "why"),))

# file, witness, error | state row | records | state | a save stores: clear, a key, or nothing
TABLE = {
    "nothing anywhere": (FileFacts(None), NULL, NONE, State.OFF, "clear"),
    "clear passwords": (FileFacts(None), NULL, CLEAR, State.OFF, "clear"),
    "a leftover release id changes nothing": (FileFacts(None), replace(NULL, decrypt_id=RELEASE), CLEAR, State.OFF, "clear"),
    "a witness and no file": (FileFacts(None, expected_key=KEY.id), NULL, CLEAR, State.KEY_MISSING, None),
    "an unreadable witness and no file": (FileFacts(None, expected_key=b""), NULL, NONE, State.KEY_MISSING, None),
    "an active key and no file": (FileFacts(None), ACTIVE, NONE, State.KEY_MISSING, None),
    "sealed records and no file": (FileFacts(None), NULL, SEALED, State.KEY_MISSING, None),
    "no state row and no file": (FileFacts(None), RowFacts(damaged=True), NONE, State.KEY_MISSING, None),
    "a damaged file": (FileFacts(None, BAD), ACTIVE, SEALED, State.KEY_UNREADABLE, None),
    "a damaged file and an empty database": (FileFacts(None, BAD), NULL, NONE, State.KEY_UNREADABLE, None),
    "another install's file": (FileFacts(ONE), RowFacts(b"j" * 16), CLEAR, State.KEY_WRONG, None),
    "an active key that is not in it": (FileFacts(ONE), RowFacts(INSTANCE, STRANGER.id), SEALED, State.KEY_WRONG, None),
    "no state row": (FileFacts(ONE), RowFacts(damaged=True), SEALED, State.KEY_WRONG, None),
    "releasing with another release id": (FileFacts(RELEASING), replace(ACTIVE, decrypt_id=b"x" * 16), SEALED, State.KEY_WRONG, None),
    "releasing with none in the row": (FileFacts(RELEASING), ACTIVE, SEALED, State.KEY_WRONG, None),
    "releasing": (FileFacts(RELEASING), replace(ACTIVE, decrypt_id=RELEASE), SEALED, State.DISABLING, "clear"),
    "releasing, all clear": (FileFacts(RELEASING), replace(NULL, decrypt_id=RELEASE), CLEAR, State.DISABLING, "clear"),
    "a file nobody has claimed": (FileFacts(ONE), NULL, CLEAR, State.ENABLING, None),
    "some clear": (FileFacts(ONE), ACTIVE, replace(SEALED, clear=1), State.ENABLING, KEY),
    "scrub owed since enabling": (FileFacts(ONE), replace(ACTIVE, scrub_pending=b"s" * 16), SEALED, State.ENABLING, KEY),
    "scrub owed since an older database's key was added": (FileFacts(ADDED), replace(ACTIVE, scrub_pending=b"s"), SEALED, State.ROTATING, KEY),
    "scrub owed since a turning off was cancelled": (FileFacts(ROTATED), RowFacts(INSTANCE, SECOND.id, None, b"s"), RecordFacts(sealed_by_key={SECOND.id: 1}), State.ROTATING, SECOND),
    "scrub owed since rotating, the retired key pruned": (FileFacts(ONE), replace(ACTIVE, scrub_pending=b"s"), SEALED, State.ENABLING, KEY),
    "active is not the goal": (FileFacts(TWO), ACTIVE, SEALED, State.ROTATING, KEY),
    "another key still usable": (FileFacts(TWO), RowFacts(INSTANCE, SECOND.id), RecordFacts(sealed_by_key={SECOND.id: 1}), State.ROTATING, SECOND),
    "records under a retired key": (FileFacts(ROTATED), RowFacts(INSTANCE, SECOND.id), SEALED, State.ROTATING, SECOND),
    "a retired key is active": (FileFacts(ROTATED), ACTIVE, SEALED, State.ROTATING, None),
    "scrub owed since rotating": (FileFacts(ROTATED), RowFacts(INSTANCE, SECOND.id, None, b"s"), RecordFacts(sealed_by_key={SECOND.id: 1}), State.ROTATING, SECOND),
    "one that did not open": (FileFacts(ONE), ACTIVE, FAILED, State.INCONSISTENT, KEY),
    "a record under an unknown key": (FileFacts(ONE), ACTIVE, RecordFacts(sealed_by_key={KEY.id: 1, STRANGER.id: 1}), State.INCONSISTENT, KEY),
    "all under it": (FileFacts(ONE, expected_key=KEY.id), ACTIVE, SEALED, State.ON, KEY),
    "all under it, a leftover release id": (FileFacts(ONE), replace(ACTIVE, decrypt_id=RELEASE), SEALED, State.ON, KEY),
    "on, with nothing stored yet": (FileFacts(ONE), ACTIVE, NONE, State.ON, KEY),
}  # fmt: skip


@pytest.mark.parametrize(("disk", "row", "records", "expected", "stores"), TABLE.values(), ids=TABLE)
def test_the_state_and_what_a_save_stores(
    disk: FileFacts, row: RowFacts, records: RecordFacts, expected: State, stores: Key | str | None
) -> None:
    assert Snapshot(disk, row, bool(records.sealed), records).state is expected
    if stores is None:
        with pytest.raises(CannotStore):
            Snapshot(disk, row, bool(records.sealed)).sealing_key()
    else:
        key = Snapshot(disk, row, bool(records.sealed)).sealing_key()
        assert key == (None if stores == "clear" else stores)


@pytest.mark.parametrize(("disk", "row", "records", "expected", "stores"), TABLE.values(), ids=TABLE)
def test_secrets_are_read_exactly_where_there_is_a_good_key_or_none_was_ever_needed(
    disk: FileFacts, row: RowFacts, records: RecordFacts, expected: State, stores: Key | str | None
) -> None:
    if expected.no_key:
        with pytest.raises(KeyAbsent):
            Snapshot(disk, row, bool(records.sealed)).require_readable()
    else:
        Snapshot(disk, row, bool(records.sealed)).require_readable()


def test_with_a_good_file_that_is_not_releasing_nothing_in_the_database_makes_a_save_store_clear() -> None:
    rows = [
        RowFacts(instance, active, release, scrub, damaged)
        for instance in (INSTANCE, b"", b"j" * 16)
        for active in (None, KEY.id, STRANGER.id, b"")
        for release in (None, RELEASE, b"")
        for scrub in (None, b"s")
        for damaged in (False, True)
    ]
    for row in rows:
        for any_sealed in (False, True):
            with suppress(CannotStore):
                assert Snapshot(FileFacts(ONE), row, any_sealed).sealing_key() == KEY
