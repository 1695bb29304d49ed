"""The one place that opens a stored secret to log in: to the one server that it is bound to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from panel.crypto import keyring, record
from panel.crypto.keyfile import KeyFile
from panel.errors import BadInput, CannotOpen, Malformed, PasswordNeeded, Refused, Tampered, WrongKey
from panel.mail.server import MailServer
from panel.models import Endpoint, SecretRow
from panel.models.endpoint import LABEL, PASSWORD, UNATTESTED_LABEL
from panel.models.secret_row import Words
from panel.secret import Secret
from panel.vault import attestation, rows
from panel.vault.rows import AnyRow
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault


@dataclass(frozen=True)
class Credential:
    """A secret together with the one server that it may be shown to. Connect to exactly this one."""

    server: MailServer
    secret: Secret


@dataclass(frozen=True)
class Opened:
    """What the record of one server holds: the password, or what leads to one (kinds: `models.endpoint`)."""

    server: MailServer
    kind: str
    secret: Secret

    def with_password(self) -> Credential:
        """What to log in with, where it is a password. Raises Refused for another kind."""
        if self.kind != PASSWORD:
            raise Refused("This mailbox has no password of its own.", "Connect it on its page.")
        return Credential(self.server, self.secret)


def open_for(endpoint: Endpoint, vault: Vault) -> Opened:
    """Open the record of `endpoint`; raises as `open_row`. Nothing is done by any column before it opened."""
    secret = open_row(endpoint, vault)
    return Opened(endpoint.server, endpoint.kind, secret)


def open_row(row: SecretRow, vault: Vault) -> Secret:
    """The secret of `row`, a row read whole; the row keeps whether it opened.

    Raises KeyAbsent where the key is missing, unreadable or wrong (nothing is noted: the row is not at
    fault), another CannotOpen where this record does not open, PasswordNeeded where none is stored.
    """
    now = vault.read()
    now.require_readable()
    try:
        secret, _ = unseal(row, now.file, now.row.instance_id)
    except CannotOpen as error:
        rows.note(now.file, [(row, error.message)])
        raise
    rows.note(now.file, [(row, None)])
    return secret


def shown(row: SecretRow, now: Snapshot) -> Secret:
    """As `open_row`, for what a page shows, by the reading that it has. What it finds is noted nowhere."""
    now.require_readable()
    return unseal(row, now.file, now.row.instance_id)[0]


def is_authentic(endpoint: Endpoint, vault: Vault) -> bool:
    """Whether the stored server is the one that the stored secret was entered for.

    Found out by opening the record now: columns that say so could have been edited as the server could. While
    encryption is off nothing can tell, and it is taken as it stands; beside a key file a clear value is good
    only where the attestation has it.
    """
    now = vault.read()
    try:
        now.require_readable()
        if endpoint.clear is not None and endpoint.may_be_clear and not endpoint.is_moved:
            return is_clear_authentic(endpoint, vault, now)
        _, label = unseal(endpoint, now.file, now.row.instance_id)
    except (CannotOpen, PasswordNeeded, Refused):
        return False
    return label == LABEL


def is_clear_authentic(row: AnyRow, vault: Vault, now: Snapshot) -> bool:
    """`is_authentic` for a row in clear text."""
    return now.file is None or attestation.permits(vault.keystore, now.file, row)


def unseal(row: AnyRow, file: KeyFile | None, instance_id: bytes) -> tuple[Secret, str | None]:
    """The secret of the row, and the label that its record was sealed with; None for a clear value."""
    if row.is_moved:
        raise Tampered("The address of the mailbox was changed outside Mailkeep.", row.words.again)
    return unseal_record(row, file, instance_id)


def unseal_record(row: AnyRow, file: KeyFile | None, instance_id: bytes) -> tuple[Secret, str | None]:
    """`unseal` for a row apart from its account: to move it, or to check a backup. Never to log in."""
    if row.clear is not None and not row.may_be_clear:
        raise Tampered(rows.PLANTED, row.words.again)
    try:
        if row.clear is not None:
            return _clear(row.clear.text), None
        if row.sealed is None or file is None:
            again = "Open the mailbox and enter it." if row.may_be_clear else row.words.again
            raise PasswordNeeded(f"No {row.words.noun} is stored for this {row.words.owner}.", again)
        opened, label = _opened(file, row, instance_id)
        return Secret(opened.decode("utf-8")), label
    except CannotOpen as error:
        raise _in_words(error, row.words) from None
    except (BadInput, UnicodeDecodeError):
        secret = row.words.noun
        raise Malformed(
            f"What is stored as the {secret} was not written by Mailkeep.", f"Enter the {secret} again."
        ) from None


def _in_words(error: CannotOpen, words: Words) -> CannotOpen:
    """`error`, which speaks of a mailbox's password, in the words of the row."""
    if words.noun == "password":
        return error
    message = error.message.replace("stored password", f"stored {words.noun}")
    if words.owner != "mailbox":
        message = message.replace("server settings", "settings")
    first, enter, _ = error.remedy.partition("enter the password again.")
    remedy = f"{first}{words.again[0].lower()}{words.again[1:]}" if enter else words.again
    return type(error)(message, remedy)


def _clear(text: str) -> Secret:
    """A clear value, whatever SQL put there. Raises BadInput for one that no record could hold."""
    secret = Secret(text)
    if len(secret.reveal_bytes()) > record.LONGEST_SECRET:
        raise BadInput("The password is longer than any that Mailkeep stores.")
    return secret


def _opened(file: KeyFile, row: AnyRow, instance_id: bytes) -> tuple[bytes, str]:
    assert row.sealed is not None
    binding = row.binding(instance_id)
    try:
        return keyring.unseal(file, row.sealed.record, binding), binding.label
    except (Tampered, WrongKey):  # under another label the commitment differs too
        if not row.may_be_clear:
            raise
        unattested = row.binding(instance_id, UNATTESTED_LABEL)
        with suppress(Tampered, WrongKey):
            return keyring.unseal(file, row.sealed.record, unattested), UNATTESTED_LABEL
        raise
