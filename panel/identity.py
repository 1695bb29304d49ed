"""Which copy of the install this is: a backup that was restored must not collect beside the original.

A file in the data directory and a row of the database hold the same random id. Whoever carries the
database alone to another place finds another file there, or none. A backup carries no id, but the
time at which it was made. Both are asked about once, before mail is collected
(docs/decisions/0010-restored-copies-ask.md). No clock and no host name decides anything.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from panel import durable
from panel.errors import DataDirError, RestoredCopy
from panel.models.this_copy import ID_BYTES, ThisCopy

FILE = "copy-id"
ROW = 1


@dataclass(frozen=True)
class Restored:
    """Why this is taken for a restored copy, in a sentence; when the backup was made (UTC seconds)."""

    message: str
    made_at: int | None = None


def restored(data_dir: Path) -> Restored | None:
    """What tells that this is a restored copy which nobody has confirmed yet; None on the install itself."""
    return restored_by(ThisCopy.get_or_none(ThisCopy.id == ROW), data_dir)


def restored_by(row: ThisCopy | None, data_dir: Path) -> Restored | None:
    """The same by the `row` that was read."""
    if row is None or (row.copy_id is None and row.backup_made_at is None):
        return None  # from before ids were kept: `adopt` follows at the next start
    if row.backup_made_at is not None:
        return Restored("The database was restored from a backup.", row.backup_made_at)
    found = _read(data_dir)
    if found == row.copy_id:
        return None
    if found is None:
        return Restored(f"The database is of an install whose file {FILE} is not in this data directory.")
    return Restored(f"The database is of another install than the file {FILE} in this data directory.")


def require_ours(data_dir: Path) -> None:
    """Raise RestoredCopy where somebody has to say first that no other install collects."""
    copy = restored(data_dir)
    if copy is not None:
        raise RestoredCopy(
            f"{copy.message} No mail is collected until the other install is confirmed to be off.",
            "Is it? Then type: flask backup confirm",
        )


def adopt(data_dir: Path) -> None:
    """At each start: give an install its id that has none yet, and ask nobody.

    A new one, and one from before ids were kept. The file comes first: killed in
    between, the next start takes the id that the file has. Raises DataDirError.
    """
    row = ThisCopy.get_or_none(ThisCopy.id == ROW)
    if row is not None and (row.copy_id is not None or row.backup_made_at is not None):
        return
    try:
        copy_id = _read(data_dir) or _new_file(data_dir)
    except OSError as error:
        raise _unwritable(data_dir, error) from None
    _write(copy_id)


def take_over(data_dir: Path) -> None:
    """Make this the install that collects, under an id of its own. Call it in a transaction.

    The row counts last: killed in between, the question is still open. Raises DataDirError.
    """
    try:
        copy_id = _new_file(data_dir)
    except OSError as error:
        raise _unwritable(data_dir, error) from None
    _write(copy_id)


def _write(copy_id: bytes) -> None:
    ThisCopy.insert(id=ROW, copy_id=copy_id, backup_made_at=None).on_conflict_replace().execute()


def _new_file(data_dir: Path) -> bytes:
    copy_id = secrets.token_bytes(ID_BYTES)
    durable.replace(data_dir / FILE, f"{copy_id.hex()}\n".encode())
    return copy_id


def _read(data_dir: Path) -> bytes | None:
    """The id in the file; None where there is none, no bytes where it holds something else."""
    try:
        text = (data_dir / FILE).read_text("ascii")
        copy_id = bytes.fromhex(text.strip())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return b""
    return copy_id if len(copy_id) == ID_BYTES else b""


def _unwritable(data_dir: Path, error: OSError) -> DataDirError:
    return DataDirError(
        f"The file {FILE} cannot be written in {data_dir} ({(error.strerror or 'unknown reason').lower()}).",
        "Make room or correct its permissions, then try again.",
    )
