"""Bringing every stored secret to where the key file says it belongs. Anybody may resume it at any time.

Direction and key of each batch come from the key file and the state row, read
under the lock of the state row; never from an argument, never from memory. Only
the `releasing` flag *in the file*, with the row's release id, makes a batch write
clear text. Rows are guarded by their `rev`: what a person saved meanwhile wins. The
sweep leaves `rev` as it is, since the secret stays the same: nobody's form grows stale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from peewee import fn

from panel import db
from panel.crypto import keyring, record
from panel.crypto.keyfile import KEY_ID_BYTES, Key
from panel.encryption import claim, credential, facts, findings, state
from panel.encryption.keystore import KeyStore
from panel.encryption.state import Failure
from panel.errors import CannotOpen, KeyAbsent, PanelError, PasswordNeeded, Refused
from panel.models import Account, Endpoint
from panel.models.endpoint import FOUND_LABEL, LABEL
from panel.secret import Secret

BATCH = 500

Progress = Callable[[int, int], None]  # rows where they belong, rows in all


@dataclass
class Report:
    """What a sweep did: rows changed, and the accounts whose record could not be opened."""

    changed: int = 0
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class _Target:
    """Where the rows of one batch go: under `key`, or to clear where it is None."""

    disk: state.FileFacts
    row: state.RowFacts
    key: Key | None
    complete: bool  # whether all were sealed before

    @property
    def owed(self) -> Any:
        """The condition of rows that are not there yet."""
        if self.key is None:
            return Endpoint.sealed.is_null(False)
        other = fn.substr(Endpoint.sealed, 3, KEY_ID_BYTES) != self.key.id
        return Endpoint.clear.is_null(False) | (Endpoint.sealed.is_null(False) & other)

    def rows_after(self, last: int) -> list[Endpoint]:
        """The next rows that are not where they belong."""
        query = Endpoint.select().where((Endpoint.id > last) & self.owed)
        return list(query.order_by(Endpoint.id).limit(BATCH))


def run(keystore: KeyStore, progress: Progress | None = None) -> Report:
    """Sweep until one whole pass changes nothing.

    Raises KeyAbsent where the key is missing, unreadable or wrong. A row whose
    record does not open is reported and left as it was.
    """
    claim.if_needed(keystore)
    report = Report()
    with db.transaction():
        pass  # every save that looked at the file before this commit has committed
    while True:
        report.failures.clear()
        changed = _pass(keystore, report, progress)
        report.changed += changed
        if changed == 0:
            return report


def _pass(keystore: KeyStore, report: Report, progress: Progress | None) -> int:
    """Once through the table, page by page in the order of the ids; the number of rows changed."""
    last = changed = 0
    while True:
        with db.transaction():
            target = _target(keystore)
            batch = target.rows_after(last)
            written = _write(target, batch, report, keystore) if batch else 0
        if not batch:
            return changed
        last, changed = batch[-1].id, changed + written
        if progress is not None:
            progress(*_done(target))


def _target(keystore: KeyStore) -> _Target:
    disk, row = facts.disk(keystore), facts.row()
    state.require_readable(disk, row, any_sealed=True)
    if disk.file is None:
        raise KeyAbsent("There is no key file, so there is nothing to encrypt.", "Turn encryption on first.")
    if disk.file.release_id is not None:
        return _Target(disk, row, None, keystore.is_complete())
    return _Target(disk, row, state.sealing_key(disk, row, any_sealed=True), keystore.is_complete())


def _write(target: _Target, batch: list[Endpoint], report: Report, keystore: KeyStore) -> int:
    """Move the rows of one batch, in the transaction of the caller; the number that really changed."""
    if target.key is not None:
        keystore.expect(target.key.id)
    moved = []
    for endpoint in batch:
        try:
            moved.append(_moved(target, endpoint))
        except CannotOpen as error:
            credential.note(endpoint, target.disk, error)
            report.failures.append(facts.failure(endpoint, error.message))
    if target.key is not None and moved:
        claim.owe_scrub()
    # Raw SQL: this is the one other writer of the secret columns (docs/decisions/0003).
    cursor = db.database.connection().cursor()
    cursor.executemany(
        "UPDATE endpoint SET clear = ?, sealed = ?, failed_rev = NULL, failed_generation = NULL,"
        " failure = NULL WHERE id = ? AND rev = ?",
        moved,
    )
    written = int(cursor.rowcount) if moved else 0
    if written:
        findings.count_moved(written)
    return written


def _moved(target: _Target, endpoint: Endpoint) -> tuple[str | None, bytes | None, int, int]:
    """The row's new columns; a sealed record is opened again before it replaces anything."""
    secret, label = credential.unseal_labelled(endpoint, target.disk, target.row)
    if target.key is None:
        return secret.reveal(), None, endpoint.id, endpoint.rev
    if label is None:  # a clear value: while encryption is being turned on, or put there by somebody else
        label = FOUND_LABEL if target.complete else LABEL
    binding = endpoint.binding(target.row.instance_id, label)
    sealed = record.seal(target.key, secret.reveal_bytes(), binding)
    assert target.disk.file is not None
    if keyring.unseal(target.disk.file, sealed, binding) != secret.reveal_bytes():
        raise PanelError(
            "A record that was just sealed did not open; nothing was replaced.", "Check the machine's memory."
        )
    return None, sealed, endpoint.id, endpoint.rev


def _done(target: _Target) -> tuple[int, int]:
    stored = Endpoint.clear.is_null(False) | Endpoint.sealed.is_null(False)
    total = Endpoint.select().where(stored).count()
    return total - Endpoint.select().where(target.owed).count(), total


@dataclass(frozen=True)
class Verdict:
    """What `verify` found: how many secrets opened, and which did not."""

    opened: int
    failures: tuple[Failure, ...]


def verify(keystore: KeyStore, progress: Progress | None = None) -> Verdict:
    """Open every stored secret once and keep in each row what was found.

    Changes nothing else. Raises KeyAbsent where the key is missing, unreadable or wrong.
    """
    opened, failures = 0, []
    for endpoint, found in each_opened(keystore, progress):
        if isinstance(found, Secret):
            opened += 1
        else:
            failures.append(facts.failure(endpoint, found.message))
    return Verdict(opened, tuple(failures))


def each_opened(
    keystore: KeyStore, progress: Progress | None = None
) -> Iterator[tuple[Endpoint, Secret | CannotOpen]]:
    """Every row with a stored secret, and the secret or why it does not open; kept in the row too.

    Raises KeyAbsent as `verify` does.
    """
    stored = Endpoint.clear.is_null(False) | Endpoint.sealed.is_null(False)
    query = Endpoint.select(Endpoint, Account).join(Account).where(stored).order_by(Endpoint.id)
    last = done = 0
    total = query.count()
    while page := list(query.where(Endpoint.id > last).limit(BATCH)):
        # Looked at after the rows were read: a key is in the file before a row is sealed under it.
        disk, row = facts.disk(keystore), facts.row()
        state.require_readable(disk, row, facts.any_sealed())
        for endpoint in page:
            with suppress(PasswordNeeded):  # written in clear meanwhile, and the key is gone
                yield endpoint, _opened(endpoint, disk, row)
        last, done = page[-1].id, done + len(page)
        if progress is not None:
            progress(done, max(done, total))


def _opened(endpoint: Endpoint, disk: state.FileFacts, row: state.RowFacts) -> Secret | CannotOpen:
    try:
        secret = credential.unseal(endpoint, disk, row)
    except CannotOpen as error:
        credential.note(endpoint, disk, error)
        return error
    credential.note(endpoint, disk, None)
    return secret


def require_all_open(keystore: KeyStore, otherwise: str) -> None:
    """Open every stored secret now. Raises Refused, saying `otherwise`, where one does not open."""
    failures = verify(keystore).failures
    if failures:
        named = ", ".join(dict.fromkeys(failure.address for failure in failures))
        raise Refused(
            f"Not every password can be opened, so {otherwise}: {named}.",
            "Enter the password of these accounts again, or remove them.",
        )
