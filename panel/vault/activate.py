"""The steps that write the state row, each under its exclusive lock, file and row read anew."""

from __future__ import annotations

import secrets

from panel import db
from panel.models import Encryption, Endpoint
from panel.models.prepared import Prepared, given
from panel.vault import reports
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault

RANDOM_BYTES = 16


def is_due(now: Snapshot) -> bool:
    """Whether a good key file's primary key is not the active one: the row names none, or an earlier one."""
    file = now.good_file()
    return file is not None and now.row.active_key_id != file.primary.id


def activate(vault: Vault) -> None:
    """Make the key file's primary key the active one, in a transaction of its own, where that is due.

    The row moves only forward: a file without the key that the row names is the wrong one. Losing
    against another process is as good as winning: the row then names its choice.
    """
    if not is_due(vault.read()):  # nearly always; a save asks this, and takes no lock for it
        return
    with db.transaction():
        activate_locked(vault)


def activate_locked(vault: Vault) -> None:
    """`activate` inside the transaction of the caller, which has not read anything else in it."""
    now = vault.read()
    if now.file is None or not is_due(now):
        return
    vault.keystore.expect(now.file.primary.id)
    changes: dict[str, object] = {
        "active_key_id": now.file.primary.id,
        "scrub_pending": secrets.token_bytes(RANDOM_BYTES),
        "key_created_at": int(vault.keystore.key_file_modified()),
    }
    if now.row.active_key_id is None:
        changes["enabled_at"] = db.now()
    reports.begin("enable" if now.row.active_key_id is None else "rotate")
    Encryption.update(changes).execute()


def require_scrub() -> None:
    """Note that old values may still be in the database's files. Call it where one is replaced."""
    Encryption.update(scrub_pending=secrets.token_bytes(RANDOM_BYTES)).execute()


def require_scrub_for_clear(row: Endpoint) -> None:
    """`require_scrub` where the save of `row` is about to replace a clear value. An index finds it."""
    if _CLEAR.first(account=row.account_id, direction=row.direction) is not None:
        require_scrub()


_CLEAR = Prepared(
    lambda: Endpoint.select(Endpoint.id).where(
        Endpoint.clear.is_null(False)
        & (Endpoint.account == given("account"))
        & (Endpoint.direction == given("direction"))
    )
)
