"""Removing old plaintext: overwriting a value does not remove its copies from the database's files.

`scrub` rewrites the file and empties the write-ahead log. Measured on SQLite with
secure_delete on: copies stay in the log until a checkpoint truncates it, and in
free pages until VACUUM (docs/encryption.md, 'Leftovers in clear text').
"""

from __future__ import annotations

import logging
import time

import peewee

from panel import db
from panel.models import Encryption, Endpoint
from panel.models.endpoint import PASSWORD
from panel.vault.vault import Vault

TRIES = 20
PAUSE = 0.25  # seconds between two tries; readers of a page are gone by then
WAIT_MS = 10  # of one try: SQLite lets no other writer in while it waits for a reader to end

logger = logging.getLogger("mailkeep.encryption")


def scrub(vault: Vault) -> bool:
    """Remove old values from the database's files, where that is pending. True once nothing is.

    While clear values wait for the sweep there is nothing to gain. An open reader keeps the log from being
    emptied; it is tried again, then left pending for the next tick.
    """
    now = vault.read()
    pending = now.row.scrub_pending
    if pending is None:
        return True
    if _clear_to_come(now.file is not None):
        return False
    if not _rewrite():
        logger.warning("old values could not be removed yet: the database is being read; trying again later")
        return False
    # Only what was pending when we began: a row replaced meanwhile asks anew.
    done = Encryption.update(scrub_pending=None).where(Encryption.scrub_pending == pending).execute()
    return bool(done)


def _clear_to_come(encrypting: bool) -> int:
    """How many clear values the sweep has still to seal; not those that are known not to be passwords."""
    clear = Endpoint.select().where(Endpoint.clear.is_null(False) & (Endpoint.kind == PASSWORD))
    hopeless = (Endpoint.failed_rev == Endpoint.rev) & Endpoint.failed_rev.is_null(False)
    return clear.where(~hopeless).count() if encrypting else clear.count()


def _rewrite() -> bool:
    """VACUUM, then empty the log. False where a reader prevented it."""
    try:
        db.database.execute_sql("VACUUM")
        for _ in range(TRIES):
            if _emptied():
                return True
            time.sleep(PAUSE)
    except peewee.OperationalError as error:
        logger.warning("the database could not be rewritten: %s", error)
    return False


def _emptied() -> bool:
    """Whether the log could be emptied just now."""
    db.database.execute_sql(f"PRAGMA busy_timeout = {WAIT_MS}")
    try:
        busy, _log, _checkpointed = db.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        db.database.execute_sql(f"PRAGMA busy_timeout = {db.BUSY_SECONDS * 1000}")
    return not busy
