"""Moving every stored secret to where the key file says it belongs. Any process may resume it at any time.

Only passwords ever go to clear text, or come from there.

A page of rows is read, opened, sealed and opened again in memory, while others may
write. Then, under the lock of the state row, key file and row are read again:
they alone decide direction and key, and what was prepared is thrown away unless it
agrees with them. So others wait for the writing alone, not for the cryptography.

Only the decrypting flag *in the file*, with the row's decrypt id, makes a page be
written in clear text. A row is replaced only where it still holds the very record that
was opened, at the same `rev`: what a person saved meanwhile wins. The sweep leaves
`rev` as it is, since the secret stays the same: nobody's form grows stale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from peewee import fn

from panel import audit, db
from panel.crypto import keyring, record
from panel.crypto.keyfile import KEY_ID_BYTES, Key, KeyFile
from panel.crypto.record import Binding
from panel.errors import CannotOpen, PanelError
from panel.models import SECRET_ROWS
from panel.models.endpoint import LABEL, UNATTESTED_LABEL
from panel.secret import Secret
from panel.vault import activate, attestation, credential, owners, reports, rows
from panel.vault.attestation import UNATTESTED, Attestation
from panel.vault.owners import Failure
from panel.vault.rows import Row
from panel.vault.state import FileFacts, RowFacts
from panel.vault.vault import Vault

BATCH = 500  # rows written while others wait: a few milliseconds (script/bench sweep)

Progress = Callable[[int, int], None]  # rows where they belong, rows in all

# Raw SQL: besides save() only this and `forget` write the secret columns (docs/decisions/0003).
REPLACE = (
    "UPDATE {} SET clear = ?, sealed = ?, failed_rev = NULL, failed_generation = NULL, failure = NULL"
    " WHERE id = ? AND rev = ? AND sealed IS ?"
)
NEVER_CLEAR = "It is no password, so it is never written in clear text."
Replacement = tuple[str | None, bytes | None, int, int, bytes | None]


@dataclass
class Report:
    """What a sweep did: rows changed, and the accounts whose record could not be opened."""

    changed: int = 0
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class _Target:
    """Where rows go: under `key`, or to clear text where it is None. Equal where readings agree."""

    disk: FileFacts
    row: RowFacts
    key: Key | None
    attestation: Attestation | None

    @property
    def file(self) -> KeyFile:
        """The key file that records are opened and sealed with."""
        assert self.disk.file is not None
        return self.disk.file

    def pending(self, model: rows.Model) -> Any:
        """The condition of rows that are not there yet. What was planted in clear text is never sealed."""
        sealed = model.sealed.is_null(False)
        if self.key is None:
            return sealed
        other = sealed & (fn.substr(model.sealed, 3, KEY_ID_BYTES) != self.key.id)
        if model.CLEAR_KIND is None:
            return other
        return (model.clear.is_null(False) & (model.kind == model.CLEAR_KIND)) | other

    def continues(self, first: _Target) -> bool:
        """Whether rows go the same way under the same attestation as those of `first` did."""
        return (self.key is None, self.attestation) == (first.key is None, first.attestation)


@dataclass
class _Page:
    """Rows that are not where they belong, with what is to be written for them."""

    target: _Target
    model: rows.Model
    rows: list[Row]
    replacements: list[Replacement] = field(default_factory=list)
    unattested_rows: list[Row] = field(default_factory=list)  # in clear text, not attested
    failed: list[tuple[Row, str]] = field(default_factory=list)


def run(vault: Vault, progress: Progress | None = None) -> Report:
    """Sweep until one whole pass changes nothing.

    Raises KeyAbsent where the key is missing, unreadable or wrong. A row whose
    record does not open is reported and left as it was. The attestation ends with the
    first pass that sealed all it could under it.
    """
    activate.activate(vault)
    report = Report()
    while True:
        report.failures.clear()
        changed, ended = _pass(vault, report, progress)
        if ended is not None:
            with vault.keystore.locked():
                attestation.remove_if(vault.keystore, ended.header)
        report.changed += changed
        if changed == 0:
            return report


def _pass(vault: Vault, report: Report, progress: Progress | None) -> tuple[int, Attestation | None]:
    """Once through every table, page by page in the order of the ids.

    Returns the number of rows changed, and the attestation that it sealed under from first to last.
    """
    with db.transaction():
        pass  # every save that looked at the file before this commit has committed
    tally = _Tally(progress)
    first: _Target | None = None
    changed, turned = 0, False
    for page, written in _pages(vault):
        first = first or page.target
        turned = turned or not page.target.continues(first)
        report.failures += owners.failures(page.failed)
        changed += written
        if page.rows:
            tally.add(page.target, written)
    return changed, None if turned or first is None or first.key is None else first.attestation


def _pages(vault: Vault) -> Iterator[tuple[_Page, int]]:
    """Each page once it is written, with the number of rows changed; an empty one ends each table."""
    for model in SECRET_ROWS:
        last: int | None = None
        while (page := _prepared(vault, model, last)).rows:
            with db.transaction():
                if _target(vault) != page.target:
                    continue  # the key was changed, or turned off, since: read and prepare these rows anew
                written = _write(page, vault)
            last = page.rows[-1].id
            yield page, written
        yield page, 0


def _target(vault: Vault) -> _Target:
    now = vault.read()
    # A scrub that is pending decides nothing here, and each page changes it. Without a key file nothing is
    # swept, so whether records are sealed need not be read.
    now = replace(now, row=replace(now.row, scrub_pending=None), any_sealed=True)
    now.require_readable()
    assert now.file is not None  # else it was not readable
    attested = attestation.of(vault.keystore, now.file)
    key = None if now.file.decrypt_id is not None else now.sealing_key()
    return _Target(now.disk, now.row, key, attested)


def _prepared(vault: Vault, model: rows.Model, last: int | None) -> _Page:
    """The next rows that are not where they belong, and what would be written. Nothing is written here."""
    target = _target(vault)
    page = _Page(target, model, rows.after(model, last, target.pending(model), BATCH))
    tags = target.attestation.tags(page.rows) if target.attestation and target.key else {}
    for row in page.rows:
        listed = target.attestation is not None and target.attestation.has(row, tags)
        if row.clear is not None and target.key is not None and not listed:
            page.unattested_rows.append(row)
        if target.key is None and not row.may_be_clear:
            page.failed.append((row, NEVER_CLEAR))
            continue
        try:
            page.replacements.append(_moved(target, row, LABEL if listed else UNATTESTED_LABEL))
        except CannotOpen as error:
            page.failed.append((row, error.message))
    return page


def _moved(target: _Target, row: Row, for_clear: str) -> Replacement:
    """The row's new columns; a clear value is sealed under the label `for_clear`, a record keeps its own.

    What is sealed is opened again before it may replace anything.
    """
    secret, label = credential.unseal_record(row, target.file, target.row.instance_id)
    place = (row.id, row.rev, row.sealed.record if row.sealed else None)
    if target.key is None:
        return secret.reveal(), None, *place
    return None, _sealed(target, secret, row.binding(target.row.instance_id, label or for_clear)), *place


def _sealed(target: _Target, secret: Secret, binding: Binding) -> bytes:
    """A new record of `secret`, opened again. Raises PanelError, before anything is replaced, if it fails."""
    assert target.key is not None
    revealed = secret.reveal_bytes()
    sealed = record.seal(target.key, revealed, binding)
    try:
        opens = keyring.unseal(target.file, sealed, binding) == revealed
    except CannotOpen:
        opens = False
    if not opens:
        raise PanelError(
            "A password that was just encrypted could not be decrypted; nothing was replaced.",
            "This may be faulty memory: run a memory test on this server.",
        )
    return sealed


def _write(page: _Page, vault: Vault) -> int:
    """Write what was prepared, in the transaction of the caller; the number of rows that really changed."""
    if page.target.key is not None:
        vault.keystore.expect(page.target.key.id)
        if page.replacements:
            activate.require_scrub()
    _name_unattested(page)
    rows.note(page.target.file, page.failed)
    cursor = db.database.connection().cursor()
    cursor.executemany(REPLACE.format(page.model._meta.table_name), page.replacements)
    written = int(cursor.rowcount) if page.replacements else 0
    if written:
        reports.count_moved(written)
    return written


def _name_unattested(page: _Page) -> None:
    """Record in Activity which rows stand in clear text and are in no attestation; each failure only once.

    Rows that another process sealed since they were read are left to it.
    """
    if not page.unattested_rows:
        return
    known = {row.id for row, _ in page.failed if row.failed_rev == row.rev}
    still = rows.still_clear(row for row in page.unattested_rows if row.id not in known)
    for each in owners.failures((row, UNATTESTED) for row in still):
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
            self.target, self.total = target, rows.count(rows.stored)
            self.done = self.total - rows.count(target.pending)
        else:
            self.done += written
        self.progress(self.done, self.total)
