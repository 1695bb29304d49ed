"""One reading of key file, state row, schema and, where asked, of how the secrets are stored.

Every step takes a fresh `Snapshot` under the lock of the state row and decides by that one alone; a page
takes one per request (`Vault.latest`). It says what the state is (`state`), what a save stores
(`sealing_key`) and whether secrets may be read (`require_readable`); it holds no path.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from peewee import DatabaseError, fn

from panel import db
from panel.crypto.keyfile import KEY_ID_BYTES, Key, KeyFile
from panel.errors import CannotStore, KeyAbsent, KeyFileError
from panel.models import Account, Encryption, Endpoint, SweepReport, schema
from panel.vault import reading, rows
from panel.vault.keystore import KeyStore
from panel.vault.reading import Reading
from panel.vault.state import (
    Failure,
    FileFacts,
    RecordFacts,
    RowFacts,
    database_wrong,
    never_sealed,
    wrong,
)

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
UNKNOWN_KEY = "It was encrypted under a key that is not in the key file."
# Records, clear values and rows whose last opening failed; then the records of every key but `:key`. All of
# it is found by index: only counting rows grows with the mailboxes, half a millisecond for 100,000.
KEY_ID = f"substr(sealed, 3, {KEY_ID_BYTES})"
OTHERS = f"SELECT {KEY_ID}, count(*), 0, 0 FROM endpoint WHERE sealed IS NOT NULL AND {KEY_ID}"  # noqa: S608
COUNTED = f"""
SELECT NULL, (SELECT count(*) FROM endpoint) - (SELECT count(*) FROM endpoint WHERE sealed IS NULL),
  (SELECT count(*) FROM endpoint WHERE clear IS NOT NULL),
  (SELECT count(*) FROM endpoint WHERE failed_rev IS NOT NULL)
UNION ALL {OTHERS} < :key GROUP BY 1
UNION ALL {OTHERS} > :key GROUP BY 1
UNION ALL {OTHERS} IS NULL GROUP BY 1
"""  # noqa: S608 - text of ours


@dataclass(frozen=True)
class Snapshot(Reading):
    """What may be done by what was read at one moment."""

    # -- what may be done -------------------------------------------------------------

    def sealing_key(self) -> Key | None:
        """What a save stores: the key to seal under, or None for clear text.

        Raises CannotStore in the states where nothing is stored, and while no usable key is active yet.
        """
        if self.disk.error is not None:
            raise CannotStore(self.disk.error.message, self.disk.error.remedy)
        self.require_unaltered()
        if self._is_missing:
            raise CannotStore(f"{MISSING}, so no password can be stored.", "Put it back.")
        if self.file is None:
            return None
        if self.is_wrong:
            raise CannotStore(f"{self._why_wrong}, so no password can be stored.", self._remedy_for_wrong)
        if self.file.decrypt_id is not None:
            return None
        key = self.file.find(self.row.active_key_id)
        if key is None or key.state != "usable":
            raise CannotStore(
                "Encryption is being turned on; the password was not stored.", "Try again in a moment."
            )
        return key

    def require_readable(self) -> None:
        """Raise KeyAbsent in the states where secrets are not read, those in clear text included."""
        if self.disk.error is not None:
            raise KeyAbsent(self.disk.error.message, self.disk.error.remedy)
        if self.row.altered or self.is_wrong:
            raise KeyAbsent(f"{self._why_wrong}.", f"{self._remedy_for_wrong} {RESUMES}")
        if self._is_missing:
            raise KeyAbsent(f"{MISSING}.", f"Put it back. {RESUMES}")

    def require_unaltered(self) -> None:
        """Raise CannotStore where the schema of the database was changed."""
        if self.row.altered:
            raise CannotStore(f"{self._why_wrong}. No password can be stored.", CORRECT_SCHEMA)

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
    def _is_missing(self) -> bool:
        never = never_sealed(self.disk, self.row) and not self.any_sealed
        return self.file is None and self.disk.error is None and not never

    # -- why, in a sentence -----------------------------------------------------------

    @property
    def reason(self) -> str:
        """What is wrong with the key; empty where nothing is."""
        if self.disk.error is not None:
            return self.disk.error.message
        if self.row.altered or self.is_wrong:
            return f"{self._why_wrong}."
        return f"{MISSING}." if self._is_missing else ""

    @property
    def remedy(self) -> str:
        """What to do about `reason`, without paths (`encryption.advice` adds them)."""
        if self.disk.error is not None:
            return self.disk.error.remedy
        if self.row.altered or self.is_wrong:
            return self._remedy_for_wrong
        return PUT_BACK if self._is_missing else ""

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
        records = _records(disk.file)
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
        return any_sealed()
    return True


def any_sealed() -> bool:
    """Whether at least one secret is stored sealed."""
    return bool(Endpoint.select().where(Endpoint.sealed.is_null(False)).exists())


def any_under(key_ids: Iterable[bytes]) -> bool:
    """Whether at least one secret is sealed under one of these keys."""
    under = fn.substr(Endpoint.sealed, 3, KEY_ID_BYTES).in_(list(key_ids))
    return bool(Endpoint.select().where(Endpoint.sealed.is_null(False) & under).exists())


def _records(file: KeyFile | None) -> RecordFacts:
    key = file.primary.id if file else b""
    (_, sealed, clear, failed), *others = db.database.execute_sql(COUNTED, {"key": key}).fetchall()
    by_key = {_bytes(key_id) or b"": count for key_id, count, *_ in others}
    by_key[key] = sealed - sum(by_key.values())
    by_key = {key_id: count for key_id, count in by_key.items() if count}
    if file is None:
        return RecordFacts(clear, by_key)
    # Hardly ever any: building the query that names them takes longer than all the rest.
    unknown = by_key.keys() - {key.id for key in file.keys}
    return RecordFacts(clear, by_key, tuple(_failures(file)) if failed or unknown else ())


def _failures(file: KeyFile) -> list[Failure]:
    known = (Endpoint.failed_rev == Endpoint.rev) & (Endpoint.failed_generation == file.generation)
    stored = Endpoint.clear.is_null(False) | Endpoint.sealed.is_null(False)
    key_id = fn.substr(Endpoint.sealed, 3, KEY_ID_BYTES)  # NULL for an empty record
    known_keys = [key.id for key in file.keys]
    unknown_key = Endpoint.sealed.is_null(False) & (key_id.is_null() | key_id.not_in(known_keys))
    failed = (stored & known) | unknown_key
    query = Endpoint.select(Endpoint, Account).join(Account).where(failed).order_by(Account.address)
    return [rows.failure(e, e.failure or UNKNOWN_KEY) for e in (*query, *rows.without_account(failed))]


def _bytes(value: object) -> bytes | None:
    """A blob as bytes; whatever else SQL put there still counts as a value that fits nothing."""
    if value is None:
        return None
    return bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()
