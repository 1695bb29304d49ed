"""What state the key is in: derived from the file, the state row and the records each time.

There is no mode to flip. `derive` is the table of docs/encryption.md, row by
row; `sealing_key` is its last column, what a save stores. Both are pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from panel.crypto.keyfile import Key, KeyFile
from panel.errors import CannotStore, KeyAbsent, KeyFileError

PUT_BACK = "Put the right key file back."
RESTORE = (
    "Leave the key file where it is and restore the database that goes with it. Was the database neither"
    " restored nor swapped? Then somebody edited it: see docs/encryption.md, 'A damaged state row'."
)


class State(StrEnum):
    """The states that pages, shell and JSON name."""

    OFF = "off"
    ENABLING = "enabling"
    ON = "on"
    ROTATING = "rotating"
    DISABLING = "disabling"
    KEY_MISSING = "key-missing"
    KEY_UNREADABLE = "key-unreadable"
    KEY_WRONG = "key-wrong"
    INCONSISTENT = "inconsistent"

    @property
    def no_key(self) -> bool:
        """Secrets are neither stored nor read; collecting pauses."""
        return self in (State.KEY_MISSING, State.KEY_UNREADABLE, State.KEY_WRONG)

    @property
    def working(self) -> bool:
        """A sweep is at work, or due."""
        return self in (State.ENABLING, State.ROTATING, State.DISABLING)


@dataclass(frozen=True)
class FileFacts:
    """What lies on the disk: the file, or why it cannot be used, and the witness."""

    file: KeyFile | None
    error: KeyFileError | None = None
    expected_key: bytes | None = None


@dataclass(frozen=True)
class RowFacts:
    """The state row. `damaged`: there is not exactly one."""

    instance_id: bytes = b""
    active_key_id: bytes | None = None
    decrypt_id: bytes | None = None
    scrub_pending: bytes | None = None
    damaged: bool = False
    turning_on: bool = False  # its report says that this has not ended yet; nothing is permitted by that
    altered: tuple[str, ...] = ()  # what of the schema is not as the migrations make it (models.schema)


@dataclass(frozen=True)
class Failure:
    """One account whose record does not open, and why. `direction`: in or out, of that record.

    `account` is empty where the account itself is no more.
    """

    account: str
    address: str
    reason: str
    direction: str = "in"


@dataclass(frozen=True)
class RecordFacts:
    """How many secrets are stored in which way."""

    clear: int = 0
    sealed_by_key: dict[bytes, int] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    @property
    def sealed(self) -> int:
        """All sealed records, whether they open or not."""
        return sum(self.sealed_by_key.values())


def derive(disk: FileFacts, row: RowFacts, records: RecordFacts) -> State:
    """The state; the first line that fits counts."""
    file = disk.file
    if disk.error is not None:
        return State.KEY_UNREADABLE
    if row.altered:
        return State.KEY_WRONG
    if file is None:
        return State.OFF if _never_sealed(disk, row) and not records.sealed else State.KEY_MISSING
    if wrong(file, row) is not None:
        return State.KEY_WRONG
    if file.decrypt_id is not None:
        return State.DISABLING
    # A scrub may be owed since turning on or since a change of keys. Only words differ.
    rotated = len(file.keys) > 1 and not row.turning_on
    others = any(key_id != file.primary.id for key_id in records.sealed_by_key if file.find(key_id))
    if row.active_key_id is None or records.clear or (row.scrub_pending is not None and not rotated):
        return State.ENABLING
    if (
        row.active_key_id != file.primary.id
        or len(file.usable) > 1
        or others
        or row.scrub_pending is not None
    ):
        return State.ROTATING
    if records.failures or any(file.find(key_id) is None for key_id in records.sealed_by_key):
        return State.INCONSISTENT
    return State.ON


def wrong(file: KeyFile, row: RowFacts) -> str | None:
    """Why an intact `file` is not the one that the database expects; None where it is."""
    if row.altered:
        return told_altered(row)[0]
    if row.damaged:
        return "The database does not have exactly one encryption row"
    if file.instance_id != row.instance_id:
        return "The key file belongs to another install"
    if row.active_key_id is not None and file.find(row.active_key_id) is None:
        return "The key file does not hold the key that is in use"
    if file.decrypt_id is not None and file.decrypt_id != row.decrypt_id:
        return "The key file is marked for turning encryption off, but the database knows nothing of that"
    return None


def database_wrong(disk: FileFacts, row: RowFacts) -> bool:
    """Whether a `wrong` file is the right one all the same, and the row is what does not go with it.

    The witness tells: the file holds the key that this server used last. It says what to mend
    and permits nothing; the state is the same.
    """
    file = disk.file
    if row.altered:
        return True
    if file is None or row.damaged:
        return file is not None
    elsewhere = file.instance_id != row.instance_id
    unknown = row.active_key_id is not None and file.find(row.active_key_id) is None
    return (
        (elsewhere or unknown) and disk.expected_key is not None and file.find(disk.expected_key) is not None
    )


def told_altered(row: RowFacts) -> tuple[str, str]:
    """How the schema of the database was changed, and what to do."""
    more = f" and {len(row.altered) - 1} more" if len(row.altered) > 1 else ""
    return (
        f"The database's schema was changed outside Mailkeep: {row.altered[0]}{more}",
        "Somebody may have tried to redirect passwords. Remove the trigger, view or index with sqlite3, or"
        " restore the database from a backup: see docs/encryption.md, 'A changed schema'.",
    )


def require_unaltered(row: RowFacts) -> None:
    """Raise CannotStore where the schema of the database was changed."""
    if row.altered:
        reason, remedy = told_altered(row)
        raise CannotStore(f"{reason}. No password can be stored.", remedy)


def told_wrong(disk: FileFacts, row: RowFacts) -> tuple[str, str]:
    """Why file and row do not go together, as people are told it, and what to do. For a `wrong` file."""
    if row.altered:
        return told_altered(row)
    reason = (wrong(disk.file, row) if disk.file else None) or ""
    if not database_wrong(disk, row):
        return reason, PUT_BACK
    if not row.damaged and disk.file is not None:
        other = "another install" if disk.file.instance_id != row.instance_id else "a key that is not in it"
        reason = f"The key file is the one that this server used last, but the database names {other}"
    return reason, RESTORE


def sealing_key(disk: FileFacts, row: RowFacts, any_sealed: bool) -> Key | None:
    """What a save stores: the key to seal under, or None for clear.

    Raises CannotStore in the states where nothing is stored, and while nobody
    has claimed a usable key yet. Call it under the lock of the state row.
    """
    if disk.error is not None:
        raise CannotStore(disk.error.message, disk.error.remedy)
    require_unaltered(row)
    file = disk.file
    if file is None:
        if _never_sealed(disk, row) and not any_sealed:
            return None
        raise CannotStore("The encryption key file is missing, so no password can be stored.", "Put it back.")
    if wrong(file, row) is not None:
        reason, remedy = told_wrong(disk, row)
        raise CannotStore(f"{reason}, so no password can be stored.", remedy)
    if file.decrypt_id is not None:
        return None
    key = file.find(row.active_key_id)
    if key is None or key.state != "usable":
        raise CannotStore(
            "Encryption is just being turned on; the password was not stored.", "Try again in a moment."
        )
    return key


def require_readable(disk: FileFacts, row: RowFacts, any_sealed: bool) -> None:
    """Raise KeyAbsent in the states where secrets are not read, clear ones included."""
    if disk.error is not None:
        raise KeyAbsent(disk.error.message, disk.error.remedy)
    if row.altered:
        reason, remedy = told_altered(row)
        raise KeyAbsent(f"{reason}.", f"{remedy} Collecting resumes by itself then.")
    if disk.file is None:
        if not (_never_sealed(disk, row) and not any_sealed):
            raise KeyAbsent(
                "The encryption key file is missing.", "Put it back; collecting goes on by itself then."
            )
        return
    if wrong(disk.file, row) is not None:
        reason, remedy = told_wrong(disk, row)
        raise KeyAbsent(f"{reason}.", f"{remedy} Collecting goes on by itself then.")


def _never_sealed(disk: FileFacts, row: RowFacts) -> bool:
    return disk.expected_key is None and row.active_key_id is None and not row.damaged
