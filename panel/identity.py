"""Which copy of the install this is: a restored backup must not collect beside the original.

A file in the data directory and a row of the database contain the same random id. A database that was
copied alone meets another file, or none; a backup has no id, but the time it was made. Either needs a
person's confirmation before mail is collected (docs/decisions/0010-restored-copies-ask.md). No clock and no
host name decides anything.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from panel import durable
from panel.errors import DataDirError, RestoredCopy
from panel.models.install import ID_BYTES, InstallCopy
from panel.wording import reason

FILE = "copy-id"
ROW = 1


@dataclass(frozen=True)
class Restored:
    """Why this counts as a restored copy, for people, and when the backup was made (UTC seconds)."""

    message: str
    made_at: int | None = None


def restored(data_dir: Path) -> Restored | None:
    """Why this is a restored copy that no one has confirmed yet; None on the install itself."""
    return restored_by(InstallCopy.get_or_none(InstallCopy.id == ROW), data_dir)


def restored_by(row: InstallCopy | None, data_dir: Path) -> Restored | None:
    """The same by the `row` that was read."""
    if row is None or (row.copy_id is None and row.backup_made_at is None):
        return None  # older than ids: the next start adopts it
    if row.backup_made_at is not None:
        return Restored("The database was restored from a backup.", row.backup_made_at)
    found = _read(data_dir)
    if found == row.copy_id:
        return None
    if found is None:
        return Restored(
            f"The database belongs to an install whose file {FILE} is not in this data directory."
        )
    return Restored(f"The database and the file {FILE} in this data directory belong to different installs.")


def require_ours(data_dir: Path) -> None:
    """Raise RestoredCopy until a person has confirmed that no other install collects."""
    copy = restored(data_dir)
    if copy is not None:
        raise RestoredCopy(
            f"{copy.message} No mail is collected until you confirm that the other install is off.",
            "To confirm, run: flask backup confirm",
        )


def adopt(data_dir: Path) -> None:
    """Give an install without an id its own, at each start.

    The file comes first: after a kill in between, the next start takes the file's id.
    Raises DataDirError.
    """
    row = InstallCopy.get_or_none(InstallCopy.id == ROW)
    if row is not None and (row.copy_id is not None or row.backup_made_at is not None):
        return
    _store(_read(data_dir) or _new_file(data_dir))


def take_over(data_dir: Path) -> None:
    """Make this the install that collects, under a new id. Call it in a transaction.

    The row comes last: after a kill in between, the copy is still unconfirmed. Raises DataDirError.
    """
    _store(_new_file(data_dir))


def _store(copy_id: bytes) -> None:
    InstallCopy.insert(id=ROW, copy_id=copy_id, backup_made_at=None).on_conflict_replace().execute()


def _new_file(data_dir: Path) -> bytes:
    copy_id = secrets.token_bytes(ID_BYTES)
    try:
        durable.replace(data_dir / FILE, f"{copy_id.hex()}\n".encode())
    except OSError as error:
        raise DataDirError(
            f"The file {FILE} cannot be written in {data_dir} ({reason(error)}).",
            "Free some space or correct its permissions, then try again.",
        ) from None
    return copy_id


def _read(data_dir: Path) -> bytes | None:
    """The id in the file; None without a file, no bytes for any other content."""
    try:
        text = (data_dir / FILE).read_text("ascii")
        copy_id = bytes.fromhex(text.strip())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return b""
    return copy_id if len(copy_id) == ID_BYTES else b""
