"""The steps that write the state row, each under its exclusive lock, file and row read anew."""

from __future__ import annotations

import secrets

from panel import db
from panel.models import Encryption, Endpoint
from panel.vault import reports, snapshot, state
from panel.vault.keystore import KeyStore

RANDOM_BYTES = 16


def needed(disk: state.FileFacts, row: state.RowFacts) -> bool:
    """Whether a good key file's goal waits to be chosen: the row names no key yet, or an earlier one."""
    file = disk.file
    if file is None or file.decrypt_id is not None or state.wrong(file, row) is not None:
        return False
    return row.active_key_id != file.primary.id


def if_needed(keystore: KeyStore) -> None:
    """Choose the key file's goal, in a transaction of its own, where `needed` says so.

    The row moves only forward: a file without the key that the row names is the wrong one.

    Losing against somebody else is as good as winning: the row then names their choice.
    """
    if not needed(snapshot.disk(keystore), snapshot.row()):
        return
    with db.transaction():
        disk, row = snapshot.disk(keystore), snapshot.row()
        if disk.file is None or not needed(disk, row):
            return
        keystore.expect(disk.file.primary.id)
        changes: dict[str, object] = {
            "active_key_id": disk.file.primary.id,
            "scrub_pending": secrets.token_bytes(RANDOM_BYTES),
            "key_created_at": int(keystore.key_file_modified()),
        }
        if row.active_key_id is None:
            changes["enabled_at"] = db.now()
        reports.begin("enable" if row.active_key_id is None else "rotate")
        Encryption.update(changes).execute()


def require_scrub() -> None:
    """Note that old values may still stand in the database's files. Call it where one was replaced."""
    Encryption.update(scrub_pending=secrets.token_bytes(RANDOM_BYTES)).execute()


def require_scrub_for_clear(row: Endpoint) -> None:
    """`owe_scrub` where the save of `row` is about to replace a clear value. An index finds it."""
    own = (Endpoint.account == row.account_id) & (Endpoint.direction == row.direction)
    if Endpoint.select().where(Endpoint.clear.is_null(False) & own).exists():
        require_scrub()
