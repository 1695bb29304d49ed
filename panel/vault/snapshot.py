"""One reading of key file, state row, schema and, where asked, of how the secrets are stored.

Every step takes a fresh `Snapshot` under the lock of the state row and decides by that one alone; a page
takes one per request (`Vault.latest`). It says what the state is (`state`), what a save stores
(`sealing_key`) and whether secrets may be read (`require_readable`); it holds no path.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from peewee import DatabaseError

from panel import db
from panel.crypto.keyfile import Key, KeyFile
from panel.errors import CannotStore, KeyAbsent, KeyFileError
from panel.models import Encryption, SweepReport, schema
from panel.vault import counts as how
from panel.vault import reading
from panel.vault.keystore import KeyStore
from panel.vault.reading import Reading
from panel.vault.state import FileFacts, RecordFacts, RowFacts, database_wrong, never_sealed, wrong

MISSING = "The encryption key file is missing"
PUT_BACK = "Put the right key file back."
RESTORE = (
    "Leave the key file where it is and restore the database that belongs to it. If the database was neither"
    " restored nor swapped, it was edited: see docs/encryption.md, 'A damaged state row'."
)
CORRECT_SCHEMA = (
    "This may be an attempt to redirect passwords. Remove the trigger, view or index with sqlite3, or"
    " restore the database from a backup: see docs/encryption.md, 'A changed schema'."
)
RESUMES = "Collecting then resumes by itself."


@dataclass(frozen=True)
class Snapshot(Reading):
    """What may be done by what was read at one moment."""

    def sealing_key(self, noun: str = "password") -> Key | None:
        """What a save stores: the key to seal under, or None for clear text. `noun`: what it is called.

        Raises CannotStore in the states where nothing is stored, and while no usable key is active yet.
        """
        if self.reason:
            raise CannotStore(f"{self.reason} No {noun} can be stored.", self.remedy)
        if self.file is None or self.file.decrypt_id is not None:
            return None
        key = self.file.find(self.row.active_key_id)
        if key is None or key.state != "usable":
            raise CannotStore(
                f"Encryption is being turned on; the {noun} was not stored.", "Try again in a moment."
            )
        return key

    def require_readable(self) -> None:
        """Raise KeyAbsent in the states where secrets are not read, those in clear text included."""
        if self.reason:
            resumes = "" if self.disk.error else f" {RESUMES}"  # behind a command it would be typed too
            raise KeyAbsent(self.reason, f"{self.remedy}{resumes}")

    def require_unaltered(self) -> None:
        """Raise CannotStore where the schema of the database was changed."""
        if self.row.altered:
            raise CannotStore(f"{self._why_wrong}. Nothing can be stored.", CORRECT_SCHEMA)

    def good_file(self) -> KeyFile | None:
        """The key file, where it is the right one and not marked for decrypting; None otherwise."""
        if self.file is None or self.file.decrypt_id is not None or self.is_wrong:
            return None
        return self.file

    @property
    def is_wrong(self) -> bool:
        """Whether there is an intact key file that is not the one that the database expects."""
        return self.file is not None and wrong(self.file, self.row) is not None

    @property
    def may_be_midway(self) -> bool:
        """Whether the file may be gone because turning off is ending at this moment, under the row's lock."""
        return self.file is None and self.disk.error is None and self.row.decrypt_id is not None

    @property
    def reason(self) -> str:
        """Why secrets are neither stored nor read; empty where they are."""
        return self._trouble[0]

    @property
    def remedy(self) -> str:
        """What to do about `reason`, without paths (`encryption.advice` adds them)."""
        return self._trouble[1]

    @cached_property
    def _trouble(self) -> tuple[str, str]:
        if self.disk.error is not None:
            return self.disk.error.message, self.disk.error.remedy
        if self.row.altered or self.is_wrong:
            return f"{self._why_wrong}.", self._remedy_for_wrong
        if self.file is None and (self.any_sealed or not never_sealed(self.disk, self.row)):
            return f"{MISSING}.", PUT_BACK
        return "", ""

    @property
    def database_wrong(self) -> bool:
        """Whether the key file is the right one, and the database is what does not match it."""
        return database_wrong(self.disk, self.row)

    @property
    def _why_wrong(self) -> str:
        file = self.file or KeyFile(b"", ())
        if self.row.altered or self.row.damaged or not self.database_wrong:
            return wrong(file, self.row) or ""
        other = "another install" if file.instance_id != self.row.instance_id else "a key that is not in it"
        return f"The key file is the one that this server used last, but the database names {other}"

    @property
    def _remedy_for_wrong(self) -> str:
        if self.row.altered:
            return CORRECT_SCHEMA
        return RESTORE if self.database_wrong else PUT_BACK


# -- reading ------------------------------------------------------------------------------


def read(keystore: KeyStore, *, counts: bool = False) -> Snapshot:
    """The key file, the state row and the schema as they are now; inside a transaction they stay so.

    `counts`: with how the secrets are stored, and the times that people are shown.
    """
    row, found = _row()  # first: a key is in the file before the row names it
    disk = _disk(keystore)
    if not counts:
        return Snapshot(disk, row, any_sealed=disk.file is None and _any_sealed(row))
    records = RecordFacts()
    with _lenient(row.altered):
        records = how.read(disk.file)
    return Snapshot(disk, row, records.sealed > 0, records, reading.times(keystore, disk.file, found))


def _disk(keystore: KeyStore) -> FileFacts:
    expected_key = keystore.expected_key()
    try:
        return FileFacts(keystore.read(), None, expected_key)
    except KeyFileError as error:
        return FileFacts(None, error, expected_key)


def _row() -> tuple[RowFacts, Encryption | None]:
    altered, found = schema.altered(db.database), None
    with _lenient(altered):
        found = Encryption.only()
    if found is None:
        return RowFacts(damaged=True, altered=altered), None
    scrub = _bytes(found.scrub_pending)
    return RowFacts(
        _bytes(found.instance_id) or b"",
        _bytes(found.active_key_id),
        _bytes(found.decrypt_id),
        scrub,
        turning_on=scrub is not None and _turning_on(),
        altered=altered,
    ), found


def _lenient(altered: tuple[str, ...]) -> AbstractContextManager[Any]:
    return suppress(DatabaseError) if altered else nullcontext()  # a table may be another one


def _turning_on() -> bool:
    unfinished = SweepReport.select(SweepReport.kind).where(SweepReport.finished_at.is_null())
    return bool(unfinished.order_by(SweepReport.id.desc()).limit(1).scalar() == "enable")


def _any_sealed(row: RowFacts) -> bool:
    with _lenient(row.altered):
        return how.any_sealed()
    return True


def _bytes(value: object) -> bytes | None:
    """A blob as bytes; whatever else SQL put there still counts as a value that fits nothing."""
    if value is None:
        return None
    return bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()
