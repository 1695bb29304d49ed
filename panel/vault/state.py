"""What state the key is in: derived from the file, the state row and the records each time. Pure.

There is no mode to flip. `derive` is the table of docs/encryption.md, row by row; `wrong` says why an intact
key file is not the one that the database expects. `Snapshot` reads what they judge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from panel.crypto.keyfile import KeyFile
from panel.errors import KeyFileError

if TYPE_CHECKING:
    from panel.vault.owners import Failure


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
        """A sweep is running, or pending."""
        return self in (State.ENABLING, State.ROTATING, State.DISABLING)


@dataclass(frozen=True)
class FileFacts:
    """What is on the disk: the key file, or why it cannot be used, and the id of the key expected here."""

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
    turning_on: bool = False  # its report has no end yet; this permits nothing
    altered: tuple[str, ...] = ()  # what of the schema is not as the migrations make it (models.schema)


@dataclass(frozen=True)
class RecordFacts:
    """How secrets are stored, in numbers. `others`: sealed, but no passwords; `tokens`: those of consents."""

    clear: int = 0  # passwords: nothing else stands in clear text
    others: int = 0
    tokens: int = 0
    sealed_by_key: dict[bytes, int] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    @property
    def sealed(self) -> int:
        """All sealed records, whether they can be opened or not."""
        return sum(self.sealed_by_key.values())


def derive(disk: FileFacts, row: RowFacts, records: RecordFacts) -> State:
    """The state; the first line that fits counts."""
    file = disk.file
    if disk.error is not None:
        return State.KEY_UNREADABLE
    if row.altered:
        return State.KEY_WRONG
    if file is None:
        return State.OFF if never_sealed(disk, row) and not records.sealed else State.KEY_MISSING
    if wrong(file, row) is not None:
        return State.KEY_WRONG
    if file.decrypt_id is not None:
        return State.DISABLING
    # A scrub may be pending since turning on or since a change of keys. Only words differ.
    rotated = len(file.keys) > 1 and not row.turning_on
    others = any(key_id != file.primary.id for key_id in records.sealed_by_key if file.find(key_id))
    scrub = row.scrub_pending is not None
    if row.active_key_id is None or records.clear or (scrub and not rotated):
        return State.ENABLING
    if row.active_key_id != file.primary.id or len(file.usable) > 1 or others or scrub:
        return State.ROTATING
    if records.failures or any(file.find(key_id) is None for key_id in records.sealed_by_key):
        return State.INCONSISTENT
    return State.ON


def wrong(file: KeyFile, row: RowFacts) -> str | None:
    """Why an intact `file` is not the one that the database expects; None where it is."""
    if row.altered:
        more = f" and {len(row.altered) - 1} more" if len(row.altered) > 1 else ""
        return f"The database's schema was changed outside Mailkeep: {row.altered[0]}{more}"
    if row.damaged:
        return "The database does not have exactly one encryption row"
    if file.instance_id != row.instance_id:
        return "The key file belongs to another install"
    if row.active_key_id is not None and file.find(row.active_key_id) is None:
        return "The key file does not hold the key that is in use"
    if file.decrypt_id is not None and file.decrypt_id != row.decrypt_id:
        return "The key file is flagged for turning off encryption, but the database is not"
    return None


def database_wrong(disk: FileFacts, row: RowFacts) -> bool:
    """Whether a `wrong` file is the right one all the same, and the state row is what does not match it.

    The expected key tells: the file holds the key that this server used last. It only chooses the remedy.
    """
    file = disk.file
    if row.altered:
        return True
    if file is None or row.damaged:
        return file is not None
    elsewhere = file.instance_id != row.instance_id
    unknown = row.active_key_id is not None and file.find(row.active_key_id) is None
    known = disk.expected_key is not None and file.find(disk.expected_key) is not None
    return (elsewhere or unknown) and known


def never_sealed(disk: FileFacts, row: RowFacts) -> bool:
    """Whether neither the disk nor the state row has a trace of a key."""
    return disk.expected_key is None and row.active_key_id is None and not row.damaged
