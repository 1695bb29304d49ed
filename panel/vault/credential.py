"""The one place that opens a stored secret to log in: to the one server that it is bound to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from panel.crypto import keyring, record
from panel.crypto.keyfile import KeyFile
from panel.crypto.record import Binding
from panel.errors import BadInput, CannotOpen, Malformed, PasswordNeeded, Refused, Tampered, WrongKey
from panel.mail.server import MailServer
from panel.models import Endpoint
from panel.models.endpoint import LABEL, UNATTESTED_LABEL
from panel.secret import Secret
from panel.vault import attestation
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault


class ClearOrSealed(Protocol):
    """A row that holds a secret: the model's, or the plain one that a sweep reads."""

    @property
    def clear(self) -> Any: ...  # StoredClear | None
    @property
    def sealed(self) -> Any: ...  # StoredRecord | None

    @property
    def address(self) -> Any: ...
    @property
    def account_address(self) -> str | None: ...  # None: SQL removed the account

    def binding(self, instance_id: bytes, label: str = ...) -> Binding: ...


@dataclass(frozen=True)
class Credential:
    """A secret together with the one server that it may be shown to. Connect to exactly this one."""

    server: MailServer
    secret: Secret


def open_for(endpoint: Endpoint, vault: Vault) -> Credential:
    """Open the secret of `endpoint`, a row read whole, and note in the row whether it opened.

    Raises KeyAbsent where the key is missing, unreadable or wrong (nothing is noted: the row is not at
    fault), another CannotOpen where this record does not open, PasswordNeeded where none is stored.
    """
    now = vault.read()
    now.require_readable()
    try:
        secret, _ = unseal(endpoint, now.file, now.row.instance_id)
    except CannotOpen as error:
        _note(endpoint, now, error)
        raise
    _note(endpoint, now, None)
    return Credential(endpoint.server, secret)


def is_authentic(endpoint: Endpoint, vault: Vault) -> bool:
    """Whether the stored server is the one that the stored secret was entered for.

    Found out by opening the record now: columns that say so could have been edited as the server could. While
    encryption is off nothing can tell, and it is taken as it stands; beside a key file a clear value is good
    only where the attestation has it.
    """
    now = vault.read()
    try:
        now.require_readable()
        if endpoint.clear is not None and endpoint.account_address == endpoint.address:
            return is_clear_authentic(endpoint, vault, now)
        _, label = unseal(endpoint, now.file, now.row.instance_id)
    except (CannotOpen, PasswordNeeded, Refused):
        return False
    return label == LABEL


def is_clear_authentic(endpoint: attestation.Attestable, vault: Vault, now: Snapshot) -> bool:
    """`is_authentic` for a row in clear text."""
    if now.file is None:
        return True
    return attestation.permits(vault.keystore, now.file.primary, now.row.instance_id, endpoint)


def unseal(endpoint: ClearOrSealed, file: KeyFile | None, instance_id: bytes) -> tuple[Secret, str | None]:
    """The secret of the row, and the label that its record was sealed with; None for a clear value."""
    if endpoint.account_address not in (None, endpoint.address):
        raise Tampered(
            "The address of the mailbox was changed outside Mailkeep.",
            "Open the mailbox and enter its server and password again.",
        )
    return unseal_record(endpoint, file, instance_id)


def unseal_record(
    endpoint: ClearOrSealed, file: KeyFile | None, instance_id: bytes
) -> tuple[Secret, str | None]:
    """`unseal` for a row apart from its account: to move it, or to check a backup. Never to log in."""
    try:
        if endpoint.clear is not None:
            return _clear(endpoint.clear.text), None
        if endpoint.sealed is None or file is None:
            raise PasswordNeeded("No password is stored for this mailbox.", "Open the mailbox and enter it.")
        opened, label = _opened(file, endpoint, instance_id)
        return Secret(opened.decode("utf-8")), label
    except (BadInput, UnicodeDecodeError):
        raise Malformed(
            "What is stored as the password was not written by Mailkeep.", "Enter the password again."
        ) from None


def _clear(text: str) -> Secret:
    """A clear value, whatever SQL put there. Raises BadInput for one that no record could hold."""
    secret = Secret(text)
    if len(secret.reveal_bytes()) > record.LONGEST_SECRET:
        raise BadInput("The password is longer than any that Mailkeep stores.")
    return secret


def _opened(file: KeyFile, endpoint: ClearOrSealed, instance_id: bytes) -> tuple[bytes, str]:
    assert endpoint.sealed is not None
    try:
        return keyring.unseal(file, endpoint.sealed.record, endpoint.binding(instance_id)), LABEL
    except (Tampered, WrongKey):  # under another label the commitment differs too
        unattested = endpoint.binding(instance_id, UNATTESTED_LABEL)
        with suppress(Tampered, WrongKey):
            return keyring.unseal(file, endpoint.sealed.record, unattested), UNATTESTED_LABEL
        raise


def _note(endpoint: Endpoint, now: Snapshot, error: CannotOpen | None) -> None:
    """Store what opening found, for this revision of the row and this key file only."""
    model = type(endpoint)
    here = (model.id == endpoint.id) & (model.rev == endpoint.rev)
    if error is None:
        if endpoint.failed_rev is not None:
            model.update(failed_rev=None, failed_generation=None, failure=None).where(here).execute()
    elif now.file is not None:
        model.update(
            failed_rev=endpoint.rev, failed_generation=now.file.generation, failure=error.message
        ).where(here).execute()
