"""Gathering what `state` judges: the disk, the state row, the records."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from peewee import JOIN, ColumnBase, DatabaseError, DoesNotExist, fn

from panel import db
from panel.crypto.keyfile import KEY_ID_BYTES, KeyFile, fingerprint
from panel.errors import DamagedKeyFile, KeyFileError, Refused
from panel.models import Account, Encryption, Endpoint, SweepReport, schema
from panel.models.moment import is_ahead
from panel.vault import state
from panel.vault.files import typed
from panel.vault.keystore import KeyStore
from panel.vault.rows import Row
from panel.vault.state import Failure, FileFacts, RecordFacts, RowFacts, State

BACKUP_LABEL, TAG_BYTES = b"mailkeep/backup-proved", 32
STUCK_SECONDS = 3600  # turning on and changing the key take seconds, or minutes
NO_ACCOUNT = "Nobody can enter it again: docs/encryption.md, 'Inconsistent', tells how to remove it."
# By key: records, clear values, and rows whose last opening failed. Every page asks this.
COUNTED = (
    f"SELECT substr(sealed, 3, {KEY_ID_BYTES}), count(sealed), count(clear), count(failed_rev)"  # noqa: S608
    " FROM endpoint GROUP BY 1"
)
UNKNOWN_KEY = "It was sealed under a key that is not in the key file."


@dataclass(frozen=True)
class Status:
    """Everything that a person is told about the key. No path and no key bytes."""

    state: State
    reason: str  # what is wrong, in a sentence; empty where nothing is
    remedy: str
    command: str | None  # what to type with a backup of the key file at hand, where that mends it
    database_wrong: bool  # the key file is the right one, and the database is what does not go with it
    altered: tuple[str, ...]  # what of the database's schema is not Mailkeep's
    found: str | None  # fingerprints
    expected: str | None
    total: int
    sealed: int
    moved: int  # of these under the key that all shall be under
    clear: int
    unreadable: int
    retired: tuple[str, ...]  # fingerprints of keys kept for old database backups
    failures: tuple[Failure, ...]
    scrub_pending: bool
    key_created_at: int | None
    enabled_at: int | None
    verified_at: int | None
    backup_proved_at: int | None  # a copy of the key file as it is now; None where nothing vouches for it
    trouble_since: int | None
    key_changed_at: int | None  # when the key file was last written

    @property
    def backup_due(self) -> bool:
        """Whether somebody is to prove that a copy of today's key file exists.

        While it is being changed another copy is due soon; but what has got stuck, or is kept so
        by somebody, must not hide that no copy holds the key in use.
        """
        settled = self.state in (State.ON, State.INCONSISTENT)
        stuck = self.state in (State.ENABLING, State.ROTATING) and self._changed_long_ago
        return (settled or stuck) and self.backup_proved_at is None

    @property
    def _changed_long_ago(self) -> bool:
        at = self.key_changed_at
        return at is not None and (db.now() - at >= STUCK_SECONDS or is_ahead(at))


def disk(keystore: KeyStore) -> FileFacts:
    """The key file and the witness as they are now."""
    expected_key = keystore.expected_key()
    try:
        return FileFacts(keystore.read(), None, expected_key)
    except KeyFileError as error:
        return FileFacts(None, error, expected_key)


def row() -> RowFacts:
    """The state row and the schema as they are now. Inside a transaction both are locked until its end."""
    return _row()[0]


def _row() -> tuple[RowFacts, Encryption | None]:
    altered, found = schema.altered(db.database), None
    with suppress(DatabaseError) if altered else nullcontext():  # a table may be another one
        found = Encryption.only()
    if found is None:
        return RowFacts(damaged=True, altered=altered), None
    return RowFacts(
        _bytes(found.instance_id) or b"",
        _bytes(found.active_key_id),
        _bytes(found.decrypt_id),
        _bytes(found.scrub_pending),
        turning_on=found.scrub_pending is not None and _turning_on(),
        altered=altered,
    ), found


def _turning_on() -> bool:
    going_on = SweepReport.select(SweepReport.kind).where(SweepReport.finished_at.is_null())
    return bool(going_on.order_by(SweepReport.id.desc()).limit(1).scalar() == "enable")


def backup_tag(file: KeyFile, at: int) -> bytes:
    """What vouches that at the time `at` somebody held a copy of `file`: it takes the key to make one.

    It binds every byte of the file, so that each change makes it void (docs/decisions/0012).
    """
    info = BACKUP_LABEL + hashlib.sha256(file.to_bytes()).digest() + at.to_bytes(8, "big")
    return file.primary.derive(info, TAG_BYTES)


def _proved_at(found: Encryption | None, file: KeyFile | None) -> int | None:
    if found is None or found.backup_proved_at is None or file is None:
        return None
    at, tag = int(found.backup_proved_at), _bytes(found.backup_tag) or b""
    return at if hmac.compare_digest(tag, backup_tag(file, at)) else None


def any_sealed() -> bool:
    """Whether at least one secret is stored sealed."""
    return bool(Endpoint.select().where(Endpoint.sealed.is_null(False)).exists())


def any_under(key_ids: Iterable[bytes]) -> bool:
    """Whether at least one secret is sealed under one of these keys."""
    under = fn.substr(Endpoint.sealed, 3, KEY_ID_BYTES).in_(list(key_ids))
    return bool(Endpoint.select().where(Endpoint.sealed.is_null(False) & under).exists())


def records(file: KeyFile | None) -> RecordFacts:
    """Counts, and the accounts whose record is known not to open with `file`."""
    clear, failed, by_key = 0, 0, dict[bytes, int]()
    for key_id, sealed, in_clear, with_failure in db.database.execute_sql(COUNTED):
        clear, failed = clear + in_clear, failed + with_failure
        if sealed:
            by_key[_bytes(key_id) or b""] = sealed
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
    return [failure(e, e.failure or UNKNOWN_KEY) for e in (*query, *without_account(failed))]


def without_account(wanted: ColumnBase) -> list[Endpoint]:
    """The servers that are as `wanted` and whose account was removed by SQL, without them."""
    joined = Endpoint.select().join(Account, JOIN.LEFT_OUTER)
    return list(joined.where(wanted & Account.uuid.is_null()).order_by(Endpoint.id))


def failure(endpoint: Endpoint, reason: str) -> Failure:
    """The account of `endpoint`, whose record does not open for `reason`."""
    direction = str(endpoint.direction)
    told = reason if direction == "in" else f"The password for sending: {reason}"
    account = _account(endpoint)
    if account is None:
        return Failure("", address(endpoint), f"{told} {NO_ACCOUNT}", direction)
    return Failure(account.uuid, address(endpoint), told, direction)


def address(endpoint: Endpoint) -> str:
    """The address of its account, or that it has none."""
    account = _account(endpoint)
    return str(account.address) if account else f"(no account {str(endpoint.account_id)[:36]})"


def _account(endpoint: Endpoint) -> Account | None:
    try:
        account: Account = endpoint.account
    except DoesNotExist:  # removed by SQL without its servers; one bad row stops no other
        return None
    return account


def failures(found: Iterable[tuple[Row, str]]) -> list[Failure]:
    """The accounts of the rows that do not open, each for the reason beside it."""
    return [failure(endpoint, reason) for row, reason in found if (endpoint := Endpoint.get_or_none(row.id))]


def look(keystore: KeyStore) -> Status:
    """The state of the key with all that the pages and the shell say about it."""
    chosen, found = _row()
    on_disk, stored = disk(keystore), RecordFacts()
    with suppress(DatabaseError) if chosen.altered else nullcontext():  # a table may be another one
        stored = records(on_disk.file)
    now = state.derive(on_disk, chosen, stored)
    reason, remedy = _trouble(now, on_disk, chosen, keystore)
    file = on_disk.file
    expected = chosen.active_key_id or on_disk.expected_key or None
    return Status(
        state=now,
        reason=reason,
        remedy=remedy,
        command=_command(now, on_disk, chosen, keystore),
        database_wrong=state.database_wrong(on_disk, chosen),
        altered=chosen.altered,
        found=fingerprint((file.find(expected) or file.primary).id) if file else None,
        expected=fingerprint(expected) if expected else None,
        total=stored.sealed + stored.clear,
        sealed=stored.sealed,
        moved=stored.sealed_by_key.get(file.primary.id, 0) if file else 0,
        clear=stored.clear,
        unreadable=stored.sealed if now.no_key else len(stored.failures),
        retired=tuple(fingerprint(key.id) for key in file.keys if key.state == "retired") if file else (),
        failures=stored.failures,
        scrub_pending=chosen.scrub_pending is not None,
        key_created_at=found.key_created_at if found else None,
        enabled_at=found.enabled_at if found else None,
        verified_at=found.verified_at if found else None,
        backup_proved_at=_proved_at(found, file),
        trouble_since=found.trouble_since if found else None,
        key_changed_at=_changed_at(keystore) if file else None,
    )


def _changed_at(keystore: KeyStore) -> int | None:
    with suppress(Refused):  # gone since it was read
        return int(keystore.key_file_modified())
    return None


def _trouble(now: State, on_disk: FileFacts, chosen: RowFacts, keystore: KeyStore) -> tuple[str, str]:
    if now is State.KEY_UNREADABLE and on_disk.error is not None:
        return on_disk.error.message, on_disk.error.remedy
    if now is State.KEY_MISSING:
        return (
            "The encryption key file is missing.",
            f"Put it back from its backup as {keystore.path}, mode 600.",
        )
    if chosen.altered:
        reason, remedy = state.told_altered(chosen)
        return f"{reason}.", remedy
    if now is State.KEY_WRONG and on_disk.file is not None:
        reason, remedy = state.told_wrong(on_disk, chosen)
        if not state.database_wrong(on_disk, chosen):
            remedy = f"Put the right key file back as {keystore.path}, mode 600."
            if on_disk.file.decrypt_id is not None and on_disk.file.find(chosen.active_key_id):
                away = f"{typed(keystore.path)}.away"
                return f"{reason}.", (
                    "It is a copy from while encryption was being turned off. Take the mark off: "
                    f"mv {typed(keystore.path)} {away}, then flask encryption key import {away}"
                )
        if on_disk.file.instance_id == chosen.instance_id and chosen.active_key_id and not chosen.decrypt_id:
            remedy += " Is the database an older one? Bring its key in: flask encryption key add FILE"
        return f"{reason}.", remedy
    return "", ""


def _command(now: State, on_disk: FileFacts, chosen: RowFacts, keystore: KeyStore) -> str | None:
    damaged = isinstance(on_disk.error, DamagedKeyFile)
    another = now is State.KEY_WRONG and not state.database_wrong(on_disk, chosen)
    flagged = on_disk.file is not None and on_disk.file.decrypt_id is not None
    if now is State.KEY_MISSING or damaged or (another and not flagged):
        return keystore.put_back()
    return None


def _bytes(value: object) -> bytes | None:
    """A blob as bytes; whatever else SQL put there still counts as a value that fits nothing."""
    if value is None:
        return None
    return bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()
