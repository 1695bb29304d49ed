"""Old plaintext: overwriting a value does not remove its copies from the database's files.

`scrub` rewrites the file and empties the write-ahead log. Measured on SQLite with
secure_delete on: copies stay in the log until a checkpoint truncates it, and in
free pages until VACUUM (docs/encryption.md, 'Old copies').
"""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import peewee

from panel import db
from panel.config import ROOT, Settings
from panel.encryption import credential, facts
from panel.encryption.keystore import KeyStore
from panel.errors import PanelError
from panel.models import Encryption, Endpoint
from panel.secret import Secret

TRIES = 4
PAUSE = 0.25  # seconds between two tries; readers of a page are gone by then

SHORTEST_NEEDLE = 4  # bytes

logger = logging.getLogger("mailkeep.encryption")


def scrub(keystore: KeyStore) -> bool:
    """Remove old values from the database's files, if that is owed. True once nothing is owed.

    It waits for records to be settled: while clear values are stored there is
    nothing to gain. An open reader keeps the log from being emptied; it is tried
    again, then left owed for the next tick.
    """
    owed = facts.row().scrub_owed
    if owed is None:
        return True
    if _clear_to_come(keystore):
        return False
    if not _rewrite():
        logger.warning("old values could not be removed yet: the database is being read; trying again later")
        return False
    # Only the debt that was there when we began: a row replaced meanwhile owes anew.
    Encryption.update(scrub_owed=None).where(Encryption.scrub_owed == owed).execute()
    return facts.row().scrub_owed is None


def _clear_to_come(keystore: KeyStore) -> int:
    """How many clear values the sweep has still to seal; not those that are known not to be passwords."""
    clear = Endpoint.select().where(Endpoint.clear.is_null(False))
    hopeless = (Endpoint.failed_rev == Endpoint.rev) & Endpoint.failed_rev.is_null(False)
    return clear.where(~hopeless).count() if facts.disk(keystore).file else clear.count()


def _rewrite() -> bool:
    """VACUUM, then empty the log. False where somebody's reading kept it from that."""
    try:
        db.database.execute_sql("VACUUM")
        for _ in range(TRIES):
            busy, _log, _checkpointed = db.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return True
            time.sleep(PAUSE)
    except peewee.OperationalError as error:
        logger.warning("the database could not be rewritten: %s", error)
    return False


NOT_VISIBLE = (
    "old backups and snapshots",
    "replicas",
    "swap and hibernation files",
    "blocks that the file system or the disk has set aside",
)


def scan(keystore: KeyStore, settings: Settings) -> dict[str, list[str]]:
    """Look for every stored password in the database's files.

    Each is looked for as UTF-8, base64 and JSON-escaped text. The files are read
    by a process of its own: closing a file that this process has open as a
    database would drop its locks. Passwords reach it through a pipe.
    """
    forms = sorted({form for secret in _secrets(keystore) for form in forms(secret)})
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    files = [path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal")]
    request = {"files": [str(f) for f in files], "needles": [base64.b64encode(f).decode() for f in forms]}
    answer = subprocess.run(
        [sys.executable, "-m", "panel.encryption.search"],
        input=json.dumps(request).encode(),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
    )
    result: dict[str, list[str]] = json.loads(answer.stdout)
    return {**result, "not_visible": list(NOT_VISIBLE)}


def _secrets(keystore: KeyStore) -> Iterator[Secret]:
    for endpoint in Endpoint.select():
        try:
            yield credential.open_for(endpoint, keystore).secret
        except PanelError:
            logger.info("one password could not be opened and is not looked for")


def forms(secret: Secret) -> Iterator[bytes]:
    """How a password may stand in a file. Shorter than four bytes says nothing and is left out."""
    raw = secret.reveal_bytes()
    for form in (raw, base64.b64encode(raw), json.dumps(secret.reveal())[1:-1].encode()):
        if len(form) >= SHORTEST_NEEDLE:
            yield form
