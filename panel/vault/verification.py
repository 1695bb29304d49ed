"""Decrypting every stored secret once: on request, and before each change of the key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from panel import db
from panel.errors import CannotOpen, PasswordNeeded, Refused
from panel.models import SECRET_ROWS, Encryption
from panel.secret import Secret
from panel.vault import credential, owners, rows
from panel.vault.attestation import UNATTESTED
from panel.vault.owners import Failure
from panel.vault.rows import Row
from panel.vault.snapshot import Snapshot
from panel.vault.sweep import BATCH, Progress
from panel.vault.vault import Vault


@dataclass(frozen=True)
class Verdict:
    """How many secrets can be decrypted, which cannot, and which of them are unattested."""

    opened: int
    failures: tuple[Failure, ...]
    unattested: tuple[Failure, ...] = ()
    others: int = 0  # of those that can be decrypted, how many are no passwords


class Tried(NamedTuple):
    """A row that was opened, or why it cannot be. `authentic`: entered here, for the server beside it."""

    row: Row
    found: Secret | CannotOpen
    authentic: bool


def run(vault: Vault, progress: Progress | None = None) -> Verdict:
    """Open every stored secret once and keep in each row what was found, where that is news.

    Changes nothing else. Raises KeyAbsent where the key is missing, unreadable or wrong.
    """
    return verdict(each_opened(vault, progress))


def run_and_note(vault: Vault, progress: Progress | None = None) -> Verdict:
    """`run`, and note when that was."""
    found = run(vault, progress)
    note_verified(vault)
    return found


def note_verified(vault: Vault) -> None:
    """Every stored secret has just been opened once. Raises KeyAbsent where the key is gone by now."""
    with db.transaction():
        vault.read().require_readable()
        Encryption.update(verified_at=db.now()).execute()


def verdict(tried: Iterable[Tried]) -> Verdict:
    """What opening came to."""
    opened, others, failed, unattested = 0, 0, [], []
    for row, found, authentic in tried:
        if isinstance(found, Secret):
            opened += 1
            others += not row.may_be_clear
            if not authentic:
                unattested.append((row, UNATTESTED))
        else:
            failed.append((row, found.message))
    return Verdict(opened, tuple(owners.failures(failed)), tuple(owners.failures(unattested)), others)


def each_opened(vault: Vault, progress: Progress | None = None) -> Iterator[Tried]:
    """Every row with a stored secret, and the secret or why it does not open; the row keeps what is news.

    Raises KeyAbsent as `run` does.
    """
    total, done = rows.count(rows.stored), 0
    for page in _pages():
        # Looked at after the rows were read: a key is in the file before a row is sealed under it.
        now = replace(vault.read(), any_sealed=any(row.sealed for row in page))
        now.require_readable()
        tried = []
        for row in page:
            with suppress(PasswordNeeded):  # sealed when it was read; decrypted, and the key gone, by now
                tried.append(_opened(row, now, vault))
        news = [(row, None if isinstance(found, Secret) else found.message) for row, found, _ in tried]
        rows.note(now.file, news)
        yield from tried
        done += len(page)
        if progress is not None:
            progress(done, max(done, total))


def _pages() -> Iterator[list[Row]]:
    for model in SECRET_ROWS:
        last: int | None = None
        while page := rows.after(model, last, rows.stored(model), BATCH):
            yield page
            last = page[-1].id


def _opened(row: Row, now: Snapshot, vault: Vault) -> Tried:
    try:
        secret, label = credential.unseal(row, now.file, now.row.instance_id)
    except CannotOpen as error:
        return Tried(row, error, False)
    if label is None:
        return Tried(row, secret, credential.is_clear_authentic(row, vault, now))
    return Tried(row, secret, label == row.model.LABEL)


def require_all_open(vault: Vault, otherwise: str) -> None:
    """Open every stored secret now. Raises Refused, saying `otherwise`, where one does not open."""
    _refuse(run(vault).failures, otherwise)


def each_authentic(vault: Vault, otherwise: str) -> Iterator[tuple[Row, bytes]]:
    """Every row with a password that was entered here as it stands, with its secret.

    At its end it raises Refused, saying `otherwise`, where one did not open, or stands in clear text
    and was not entered here.
    """
    failed: list[tuple[Row, str]] = []
    planted: list[tuple[Row, str]] = []
    for row, found, authentic in each_opened(vault):
        if isinstance(found, CannotOpen):
            failed.append((row, found.message))
        elif authentic and row.may_be_clear:
            yield row, found.reveal_bytes()
        elif row.clear is not None:
            planted.append((row, UNATTESTED))
    _refuse(owners.failures(failed), otherwise)
    if planted:
        raise Refused(
            f"Passwords were found in clear text, so {otherwise}: {_names(owners.failures(planted))}.",
            "Have them encrypted first: flask encryption resume",
        )


def _refuse(failures: Sequence[Failure], otherwise: str) -> None:
    if not all(failure.is_password for failure in failures):
        raise Refused(
            f"Some secrets cannot be decrypted, so {otherwise}: {_names(failures)}.",
            "Server > Encryption says of each what to enter or connect again; or remove it.",
        )
    if failures:
        raise Refused(
            f"Some passwords cannot be decrypted, so {otherwise}: {_names(failures)}.",
            "Enter the passwords of these mailboxes again, or delete the mailboxes for good:"
            " flask accounts remove --now ACCOUNT",
        )


def _names(failures: Sequence[Failure]) -> str:
    return ", ".join(dict.fromkeys(failure.address for failure in failures))
