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

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from peewee import fn

from panel import audit, db
from panel.crypto import keyring, record
from panel.crypto.keyfile import KEY_ID_BYTES, Key
from panel.crypto.record import Binding
from panel.errors import CannotOpen, KeyAbsent, PanelError, PasswordNeeded, Refused
from panel.models import Endpoint
from panel.models.endpoint import LABEL, UNATTESTED_LABEL
from panel.secret import Secret
from panel.vault import activate, attestation, credential, reports, rows, snapshot, state
from panel.vault.attestation import UNATTESTED, Attestation
from panel.vault.keystore import KeyStore
from panel.vault.rows import Row
from panel.vault.state import Failure

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
    attestation: Attestation | None

    @property
    def pending(self) -> Any:
        """The condition of rows that are not there yet."""
        if self.key is None:
            return Endpoint.sealed.is_null(False)
        other = fn.substr(Endpoint.sealed, 3, KEY_ID_BYTES) != self.key.id
        return Endpoint.clear.is_null(False) | (Endpoint.sealed.is_null(False) & other)

    def goes_on_from(self, first: _Target) -> bool:
        """Whether rows go the same way under the same licence as those of `first` did."""
        return (self.key is None, self.attestation) == (first.key is None, first.attestation)


@dataclass
class _Page:
    """Rows that are not where they belong, with what is to be written for them."""

    target: _Target
    rows: list[Row]
    replacements: list[Replacement] = field(default_factory=list)
    unattested_rows: list[Row] = field(default_factory=list)  # in clear, and not as any licence has it
    failed: list[tuple[Row, str]] = field(default_factory=list)


def run(keystore: KeyStore, progress: Progress | None = None) -> Report:
    """Sweep until one whole pass changes nothing.

    Raises KeyAbsent where the key is missing, unreadable or wrong. A row whose
    record does not open is reported and left as it was. The licence ends with the
    first pass that sealed all it could under it.
    """
    activate.if_needed(keystore)
    report = Report()
    while True:
        report.failures.clear()
        changed, ended = _pass(keystore, report, progress)
        if ended is not None:
            with keystore.locked():
                attestation.remove_if(keystore, ended.header)
        report.changed += changed
        if changed == 0:
            return report


def _pass(keystore: KeyStore, report: Report, progress: Progress | None) -> tuple[int, Attestation | None]:
    """Once through the table, page by page in the order of the ids.

    Returns the number of rows changed, and the licence that it sealed under from the first row to the last.
    """
    with db.transaction():
        pass  # every save that looked at the file before this commit has committed
    tally = _Tally(progress)
    last: int | None = None
    changed = 0
    first: _Target | None = None
    turned = False
    while True:
        page = _prepared(keystore, last)
        first = first or page.target
        turned = turned or not page.target.goes_on_from(first)
        if not page.rows:
            return changed, None if turned or first.key is None else first.attestation
        with db.transaction():
            if _target(keystore) != page.target:
                continue  # the key was changed, or turned off, since: read and prepare these rows anew
            written = _write(page, keystore)
        report.failures += snapshot.failures(page.failed)
        last, changed = page.rows[-1].id, changed + written
        tally.add(page.target, written)


def _target(keystore: KeyStore) -> _Target:
    disk = snapshot.disk(keystore)
    row = replace(snapshot.row(), scrub_pending=None)  # it decides nothing here, and each page changes it
    state.require_readable(disk, row, any_sealed=True)
    if disk.file is None:
        raise KeyAbsent("There is no key file, so there is nothing to encrypt.", "Turn encryption on first.")
    listed = attestation.of(keystore, disk.file.primary, row.instance_id)
    if disk.file.decrypt_id is not None:
        return _Target(disk, row, None, listed)
    return _Target(disk, row, state.sealing_key(disk, row, any_sealed=True), listed)


def _prepared(keystore: KeyStore, last: int | None) -> _Page:
    """The next rows that are not where they belong, and what would be written. Nothing is written here."""
    target = _target(keystore)
    page = _Page(target, rows.after(last, target.pending, BATCH))
    tags = target.attestation.tags(page.rows) if target.attestation and target.key else {}
    for row in page.rows:
        listed = target.attestation is not None and target.attestation.has(row, tags)
        if row.clear is not None and target.key is not None and not listed:
            page.unattested_rows.append(row)
        try:
            page.replacements.append(_moved(target, row, LABEL if listed else UNATTESTED_LABEL))
        except CannotOpen as error:
            page.failed.append((row, error.message))
    return page


def _moved(target: _Target, row: Row, for_clear: str) -> Replacement:
    """The row's new columns; a clear value is sealed under the label `for_clear`, a record keeps its own.

    What is sealed is opened again before it may replace anything.
    """
    secret, label = credential.unseal_record(row, target.disk, target.row)
    place = (row.id, row.rev, row.sealed.record if row.sealed else None)
    if target.key is None:
        return secret.reveal(), None, *place
    return None, _sealed(target, secret, row.binding(target.row.instance_id, label or for_clear)), *place


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
            activate.require_scrub()
    _name_unlisted(page)
    rows.note(page.target.disk, page.failed)
    cursor = db.database.connection().cursor()
    cursor.executemany(REPLACE, page.replacements)
    written = int(cursor.rowcount) if page.replacements else 0
    if written:
        reports.count_moved(written)
    return written


def _name_unlisted(page: _Page) -> None:
    """Record in Activity which rows stand in clear and are in no licence; each failure only once.

    Rows that another process sealed since they were read are left to it.
    """
    if not page.unattested_rows:
        return
    known = {row.id for row, _ in page.failed if row.failed_rev == row.rev}
    still = rows.still_clear(row for row in page.unattested_rows if row.id not in known)
    for each in snapshot.failures((row, UNATTESTED) for row in still):
        audit.record("unattested password found", each.address, each.reason, who="worker")


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
            self.done = self.total - rows.count(target.pending)
        else:
            self.done += written
        self.progress(self.done, self.total)


@dataclass(frozen=True)
class Verdict:
    """What `verify` found: how many secrets opened, which did not, which nobody vouches for."""

    opened: int
    failures: tuple[Failure, ...]
    unattested: tuple[Failure, ...] = ()


class Tried(NamedTuple):
    """A row that was opened, or why it does not open. `vouched`: entered here, for the server beside it."""

    row: Row
    found: Secret | CannotOpen
    authentic: bool


def verify(keystore: KeyStore, progress: Progress | None = None) -> Verdict:
    """Open every stored secret once and keep in each row what was found, where that is news.

    Changes nothing else. Raises KeyAbsent where the key is missing, unreadable or wrong.
    """
    return verdict(each_opened(keystore, progress))


def verdict(tried: Iterable[Tried]) -> Verdict:
    """What opening came to."""
    opened, failed, unattested = 0, [], []
    for row, found, authentic in tried:
        if isinstance(found, Secret):
            opened += 1
            if not authentic:
                unattested.append((row, UNATTESTED))
        else:
            failed.append((row, found.message))
    return Verdict(opened, tuple(snapshot.failures(failed)), tuple(snapshot.failures(unattested)))


def each_opened(keystore: KeyStore, progress: Progress | None = None) -> Iterator[Tried]:
    """Every row with a stored secret, and the secret or why it does not open; the row keeps what is news.

    Raises KeyAbsent as `verify` does.
    """
    total, done = rows.count(rows.STORED), 0
    last: int | None = None
    while page := rows.after(last, rows.STORED, BATCH):
        # Looked at after the rows were read: a key is in the file before a row is sealed under it.
        disk, chosen = snapshot.disk(keystore), snapshot.row()
        state.require_readable(disk, chosen, any_sealed=any(row.sealed for row in page))
        tried = []
        for row in page:
            with suppress(PasswordNeeded):  # sealed when it was read, and the key is gone: in clear by now
                tried.append(_opened(row, disk, chosen, keystore))
        news = [(row, None if isinstance(found, Secret) else found.message) for row, found, _ in tried]
        rows.note(disk, news)
        yield from tried
        last, done = page[-1].id, done + len(page)
        if progress is not None:
            progress(done, max(done, total))


def _opened(row: Row, disk: state.FileFacts, chosen: state.RowFacts, keystore: KeyStore) -> Tried:
    try:
        secret, label = credential.unseal_labelled(row, disk, chosen)
    except CannotOpen as error:
        return Tried(row, error, False)
    if label is None:
        return Tried(row, secret, credential.is_clear_authentic(row, keystore, disk, chosen))
    return Tried(row, secret, label == LABEL)


def require_all_open(keystore: KeyStore, otherwise: str) -> None:
    """Open every stored secret now. Raises Refused, saying `otherwise`, where one does not open."""
    _refuse(verify(keystore).failures, otherwise)


def each_authentic(keystore: KeyStore, otherwise: str) -> Iterator[tuple[Row, bytes]]:
    """Every row that was entered here as it stands, with its secret.

    At its end it raises Refused, saying `otherwise`, where one did not open, or stands in clear
    and was not entered here.
    """
    failed: list[tuple[Row, str]] = []
    planted: list[tuple[Row, str]] = []
    for row, found, authentic in each_opened(keystore):
        if isinstance(found, CannotOpen):
            failed.append((row, found.message))
        elif authentic:
            yield row, found.reveal_bytes()
        elif row.clear is not None:
            planted.append((row, UNATTESTED))
    _refuse(snapshot.failures(failed), otherwise)
    if planted:
        raise Refused(
            f"Passwords were found in clear, so {otherwise}: {_names(snapshot.failures(planted))}.",
            "Have them encrypted first: flask encryption resume",
        )


def _refuse(failures: Sequence[Failure], otherwise: str) -> None:
    if failures:
        raise Refused(
            f"Not every password can be opened, so {otherwise}: {_names(failures)}.",
            "Enter the password of these accounts again, or remove them.",
        )


def _names(failures: Sequence[Failure]) -> str:
    return ", ".join(dict.fromkeys(failure.address for failure in failures))
