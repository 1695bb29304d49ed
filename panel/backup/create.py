"""A backup of the database, made while everything runs: one consistent moment, and nothing of the key.

`VACUUM INTO` writes only what is valid at its beginning, so no free page and no
log of the original comes along, and no writer waits for it. The copy gets its
name last, when it is finished, verified and durable.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import peewee

from panel import db, durable
from panel.audit import Actor
from panel.config import Settings
from panel.crypto.keyfile import fingerprint
from panel.errors import DatabaseError, Refused
from panel.identity import ROW
from panel.models import SECRET_ROWS
from panel.models.endpoint import PASSWORD
from panel.models.secret_fields import as_bytes
from panel.vault.files import typed
from panel.wording import reason

NAME = "mailkeep-%Y%m%d-%H%M%SZ.db"
TEMPORARY = re.compile(r"\.mailkeep-backup-[0-9a-f]{16}\.tmp(-journal)?\Z")
STALE_SECONDS = 24 * 3600  # since its last write: no process is at work on a temporary file any more
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

# No restored install needs it: who is signed in, what waits for their password, who tried to, and who was
# connecting a mailbox.
LEFT_OUT = (
    "DELETE FROM pending_form", "DELETE FROM session", "DELETE FROM sign_in_try", "DELETE FROM pending",
)  # fmt: skip
MARK = "INSERT OR REPLACE INTO this_copy (id, copy_id, backup_made_at) VALUES (?, NULL, ?)"
UNDER = """
SELECT substr(sealed, 3, 8), count(*), sum(kind <> '{}') FROM {} WHERE sealed IS NOT NULL GROUP BY 1
"""
KEYS = " UNION ALL ".join(UNDER.format(PASSWORD, model._meta.table_name) for model in SECRET_ROWS)

logger = logging.getLogger("mailkeep.backup")


@dataclass(frozen=True)
class Backup:
    """A finished backup: where it is, what is in it. `keys`: fingerprints that its records are under."""

    path: Path
    size: int  # bytes
    made_at: int  # UTC seconds
    sealed: int  # passwords
    others: int  # other secrets, always encrypted
    clear: int
    keys: tuple[str, ...]


def create(settings: Settings, dest: Path, actor: Actor) -> Backup:
    """Make a backup at `dest`: a new name that ends in .db, or a directory, which gets one named by the time.

    Nothing is ever overwritten. Raises Refused, saying why, before or after which
    nothing is left behind; a kill may leave a hidden temporary file, which is
    removed a day later (without hard links, see `_rename`).
    """
    made_at = db.now()
    path = _place(settings, dest, made_at)
    _clean(path.parent)
    with _explained(path.parent), _temporary(path.parent) as temporary:
        db.database.execute_sql("VACUUM INTO ?", (str(temporary),))
        _finish(temporary, made_at)
        sealed, others, clear, keys = _verified(temporary)
        durable.sync(temporary)
        _name(temporary, path)
    made = Backup(path, path.stat().st_size, made_at, sealed, others, clear, keys)
    _note(made, actor)
    return made


# -- where it goes -------------------------------------------------------------------


def _place(settings: Settings, dest: Path, made_at: int) -> Path:
    path = dest / time.strftime(NAME, time.gmtime(made_at)) if dest.is_dir() else dest
    if not path.parent.is_dir():
        raise Refused(f"There is no directory {path.parent}.", f"Make it: mkdir -m 700 {typed(path.parent)}")
    path = path.parent.resolve() / path.name
    if path.suffix != ".db":
        raise Refused(
            f"{dest} is neither a directory nor a name that ends in .db.",
            "Name an existing directory, or a new file that ends in .db.",
        )
    if os.path.lexists(path):
        raise Refused(f"{path} is there already; a backup never overwrites.", "Choose another name.")
    _refuse_beside_the_key(settings, path)
    return path


def _refuse_beside_the_key(settings: Settings, path: Path) -> None:
    """A backup beside the key protects nothing, and one in the spool is handed to the helpdesk."""
    places = {
        "the data directory": settings.data_dir.resolve(),
        "the mail spool": settings.mail_spool.resolve(),
    }
    for name, place in places.items():
        if path.is_relative_to(place):
            raise Refused(
                f"{path} lies in {name}; a backup belongs elsewhere.",
                "Name a place outside of it, best on another disk.",
            )
    if path.parent == settings.key_file.parent.resolve():
        raise Refused(
            f"The key file lies in {path.parent}, and anyone who has both can read every password.",
            "Name another directory.",
        )


# -- making it -------------------------------------------------------------------------


@contextmanager
def _temporary(directory: Path) -> Iterator[Path]:
    """A private, empty file in `directory`; gone at the end."""
    temporary = directory / f".mailkeep-backup-{secrets.token_hex(8)}.tmp"
    try:
        # SQLite fills an empty file, and leaves its mode as it is.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        yield temporary
    finally:
        for path in (temporary, temporary.with_name(f"{temporary.name}-journal")):
            with suppress(OSError):  # a read-only disk raises also where nothing is
                path.unlink()


def _finish(path: Path, made_at: int) -> None:
    """Leave out what has no place in a backup, and mark the copy as one.

    What is deleted is overwritten with zeros; the journal stays in memory, so nothing else is written.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode = memory")
        copy.execute("PRAGMA secure_delete = on")
        copy.execute("BEGIN IMMEDIATE")
        for statement in LEFT_OUT:
            copy.execute(statement)
        copy.execute(MARK, (ROW, made_at))
        copy.execute("COMMIT")


def _verified(path: Path) -> tuple[int, int, int, tuple[str, ...]]:
    """Sealed passwords, other secrets and clear passwords in the copy, and the keys.

    Raises DatabaseError for a damaged copy.
    """
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as copy:
        (integrity,) = copy.execute("PRAGMA integrity_check").fetchone()
        if integrity != "ok":
            raise DatabaseError(
                f"The copy is damaged ({integrity}); no backup was created.",
                "Check the disk; then: flask doctor",
            )
        (clear,) = copy.execute("SELECT count(clear) FROM endpoint").fetchone()
        by_key = [(as_bytes(key), count, other) for key, count, other in copy.execute(KEYS)]
    keys = tuple(sorted({fingerprint(key) for key, *_ in by_key}))
    others = sum(other for *_, other in by_key)
    return sum(count for _, count, _ in by_key) - others, others, int(clear), keys


def _name(temporary: Path, path: Path) -> None:
    """Give the finished file its name, over nothing that has it, and make that durable."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _rename(temporary, path)
    try:
        durable.sync_directory(path.parent)
    except OSError:
        path.unlink()
        raise


def _rename(temporary: Path, path: Path) -> None:
    """`_name` on a file system without links, as most sticks have.

    A rename overwrites, so an empty file takes the name before; a kill in that instant leaves it behind.
    """
    durable.write(path, b"")
    try:
        temporary.rename(path)
    except OSError:
        path.unlink()
        raise


def _clean(directory: Path) -> None:
    """Remove what a killed backup left here. Only backups give files such names."""
    for path in directory.glob(".mailkeep-backup-*"):
        with suppress(OSError):  # gone meanwhile, or another user's
            if TEMPORARY.match(path.name) and time.time() - path.lstat().st_mtime > STALE_SECONDS:
                path.unlink()


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn an error of the disk or of SQLite into a Refused that names the place."""
    try:
        yield
    except FileExistsError:
        raise Refused(
            "A file of that name exists by now; a backup never overwrites.", "Choose another name."
        ) from None
    except OSError as error:
        raise _not_written(directory, reason(error)) from None
    except (sqlite3.Error, peewee.DatabaseError) as error:
        raise _not_written(directory, str(error)) from None


def _not_written(directory: Path, why: str) -> Refused:
    return Refused(
        f"The backup could not be written to {directory} ({why}); nothing was left there.",
        "Make room there, correct the permissions or mount it writable; or name another place.",
    )


def _note(made: Backup, actor: Actor) -> None:
    try:
        actor.record("database backup created", made.path.name)
    except peewee.DatabaseError as error:
        logger.warning("the backup was created, but could not be recorded in Activity: %s", error)
