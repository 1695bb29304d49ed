"""Bringing every stored secret to where the key file says it belongs. Anybody may resume it at any time.

A page of rows is read, opened, sealed and opened again in memory, while others may
write. Then, under the lock of the state row, key file and row are looked at anew:
they alone decide direction and key, and what was prepared is thrown away unless it
is what they say now. So others wait for the writing alone, not for the cryptography.

Only the `releasing` flag *in the file*, with the row's release id, makes a page be
written in clear. A row is replaced only where it still holds the very record that
was opened, at the same `rev`: what a person saved meanwhile wins. The sweep leaves
`rev` as it is, since the secret stays the same: nobody's form grows stale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from peewee import fn

from panel import db
from panel.crypto import keyring, record
from panel.crypto.keyfile import KEY_ID_BYTES, Key
from panel.crypto.record import Binding
from panel.encryption import claim, credential, facts, findings, rows, state
from panel.encryption.keystore import KeyStore
from panel.encryption.rows import Row
from panel.encryption.state import Failure
from panel.errors import CannotOpen, KeyAbsent, PanelError, PasswordNeeded, Refused
from panel.models import Endpoint
from panel.models.endpoint import FOUND_LABEL, LABEL
from panel.secret import Secret

BATCH = 500  # rows written while others wait: a few milliseconds (script/bench sweep)

Progress = Callable[[int, int], None]  # rows where they belong, rows in all

# Raw SQL: this is the one other writer of the secret columns (docs/decisions/0003).
REPLACE = (
    "UPDATE endpoint SET clear = ?, sealed = ?, failed_rev = NULL, failed_generation = NULL, failure = NULL"
    " WHERE id = ? AND rev = ? AND sealed IS ?"
)
Replacement = tuple[str | None, bytes | None, int, int, bytes | None]


@dataclass
class Report:
    """What a sweep did: rows changed, and the accounts whose record could not be opened."""

    changed: int = 0
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class _Target:
    """Where rows go: under `key`, or to clear where it is None. The same facts make equal targets."""

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


@dataclass
class _Page:
    """Rows that are not where they belong, with what is to be written for them."""

    target: _Target
    rows: list[Row]
    replacements: list[Replacement] = field(default_factory=list)
    failed: list[tuple[Row, str]] = field(default_factory=list)


def run(keystore: KeyStore, progress: Progress | None = None) -> Report:
    """Sweep until one whole pass changes nothing.

    Raises KeyAbsent where the key is missing, unreadable or wrong. A row whose
    record does not open is reported and left as it was.
    """
    claim.if_needed(keystore)
    report = Report()
    while True:
        report.failures.clear()
        changed = _pass(keystore, report, progress)
        report.changed += changed
        if changed == 0:
            return report


def _pass(keystore: KeyStore, report: Report, progress: Progress | None) -> int:
    """Once through the table, page by page in the order of the ids; the number of rows changed."""
    with db.transaction():
        pass  # every save that looked at the file before this commit has committed
    tally = _Tally(progress)
    last: int | None = None
    changed = 0
    while (page := _prepared(keystore, last)).rows:
        with db.transaction():
            if _target(keystore) != page.target:
                continue  # the key was changed, or turned off, since: read and prepare these rows anew
            written = _write(page, keystore)
        report.failures += facts.failures(page.failed)
        last, changed = page.rows[-1].id, changed + written
        tally.add(page.target, written)
    return changed


def _target(keystore: KeyStore) -> _Target:
    disk = facts.disk(keystore)
    row = replace(facts.row(), scrub_owed=None)  # it decides nothing here, and each page changes it
    state.require_readable(disk, row, any_sealed=True)
    if disk.file is None:
        raise KeyAbsent("There is no key file, so there is nothing to encrypt.", "Turn encryption on first.")
    if disk.file.release_id is not None:
        return _Target(disk, row, None, keystore.is_complete())
    return _Target(disk, row, state.sealing_key(disk, row, any_sealed=True), keystore.is_complete())


def _prepared(keystore: KeyStore, last: int | None) -> _Page:
    """The next rows that are not where they belong, and what would be written. Nothing is written here."""
    target = _target(keystore)
    page = _Page(target, rows.after(last, target.owed, BATCH))
    for row in page.rows:
        try:
            page.replacements.append(_moved(target, row))
        except CannotOpen as error:
            page.failed.append((row, error.message))
    return page


def _moved(target: _Target, row: Row) -> Replacement:
    """The row's new columns; a sealed record is opened again before it may replace anything."""
    secret, label = credential.unseal_labelled(row, target.disk, target.row)
    place = (row.id, row.rev, row.sealed.record if row.sealed else None)
    if target.key is None:
        return secret.reveal(), None, *place
    if label is None:  # a clear value: while encryption is being turned on, or put there by somebody else
        label = FOUND_LABEL if target.complete else LABEL
    return None, _sealed(target, secret, row.binding(target.row.instance_id, label)), *place


def _sealed(target: _Target, secret: Secret, binding: Binding) -> bytes:
    """A new record of `secret`, opened again. Raises PanelError, before anything is replaced, if it fails."""
    assert target.key is not None
    assert target.disk.file is not None
    revealed = secret.reveal_bytes()
    sealed = record.seal(target.key, revealed, binding)
    try:
        opens = keyring.unseal(target.disk.file, sealed, binding) == revealed
    except CannotOpen:
        opens = False
    if not opens:
        raise PanelError(
            "A record that was just sealed did not open; nothing was replaced.", "Check the machine's memory."
        )
    return sealed


def _write(page: _Page, keystore: KeyStore) -> int:
    """Write what was prepared, in the transaction of the caller; the number of rows that really changed."""
    if page.target.key is not None:
        keystore.expect(page.target.key.id)
        if page.replacements:
            claim.owe_scrub()
    rows.note(page.target.disk, page.failed)
    cursor = db.database.connection().cursor()
    cursor.executemany(REPLACE, page.replacements)
    written = int(cursor.rowcount) if page.replacements else 0
    if written:
        findings.count_moved(written)
    return written


@dataclass
class _Tally:
    """How far the sweep is: counted in the database when it begins and when it turns round."""

    progress: Progress | None
    target: _Target | None = None
    done: int = 0
    total: int = 0

    def add(self, target: _Target, written: int) -> None:
        """Tell the progress after `written` more rows are where they belong."""
        if self.progress is None:
            return
        if target != self.target:
            self.target, self.total = target, rows.count(rows.STORED)
            self.done = self.total - rows.count(target.owed)
        else:
            self.done += written
        self.progress(self.done, self.total)


@dataclass(frozen=True)
class Verdict:
    """What `verify` found: how many secrets opened, and which did not."""

    opened: int
    failures: tuple[Failure, ...]


def verify(keystore: KeyStore, progress: Progress | None = None) -> Verdict:
    """Open every stored secret once and keep in each row what was found, where that is news.

    Changes nothing else. Raises KeyAbsent where the key is missing, unreadable or wrong.
    """
    opened, failed = 0, []
    for row, found in each_opened(keystore, progress):
        if isinstance(found, Secret):
            opened += 1
        else:
            failed.append((row, found.message))
    return Verdict(opened, tuple(facts.failures(failed)))


def each_opened(
    keystore: KeyStore, progress: Progress | None = None
) -> Iterator[tuple[Row, Secret | CannotOpen]]:
    """Every row with a stored secret, and the secret or why it does not open; the row keeps what is news.

    Raises KeyAbsent as `verify` does.
    """
    total, done = rows.count(rows.STORED), 0
    last: int | None = None
    while page := rows.after(last, rows.STORED, BATCH):
        # Looked at after the rows were read: a key is in the file before a row is sealed under it.
        disk, chosen = facts.disk(keystore), facts.row()
        state.require_readable(disk, chosen, any_sealed=any(row.sealed for row in page))
        tried = []
        for row in page:
            with suppress(PasswordNeeded):  # sealed when it was read, and the key is gone: in clear by now
                tried.append((row, _opened(row, disk, chosen)))
        rows.note(disk, [(row, None if isinstance(found, Secret) else found.message) for row, found in tried])
        yield from tried
        last, done = page[-1].id, done + len(page)
        if progress is not None:
            progress(done, max(done, total))


def _opened(row: Row, disk: state.FileFacts, chosen: state.RowFacts) -> Secret | CannotOpen:
    try:
        return credential.unseal(row, disk, chosen)
    except CannotOpen as error:
        return error


def require_all_open(keystore: KeyStore, otherwise: str) -> None:
    """Open every stored secret now. Raises Refused, saying `otherwise`, where one does not open."""
    failures = verify(keystore).failures
    if failures:
        named = ", ".join(dict.fromkeys(failure.address for failure in failures))
        raise Refused(
            f"Not every password can be opened, so {otherwise}: {named}.",
            "Enter the password of these accounts again, or remove them.",
        )
