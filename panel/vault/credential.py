"""The only place that opens a stored secret: to log in to the very server it is bound to."""

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
from panel.vault import attestation, snapshot, state
from panel.vault.keystore import KeyStore


class Stored(Protocol):
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


def open_for(endpoint: Endpoint, keystore: KeyStore) -> Credential:
    """Open the secret of `endpoint`, a row read whole, and note in the row whether it opened.

    Raises KeyAbsent where the key is missing, unreadable or wrong (nothing is
    noted: it is not the row's fault), another CannotOpen where this record does
    not open, PasswordNeeded where none is stored.
    """
    disk, row = snapshot.disk(keystore), snapshot.row()
    state.require_readable(disk, row, snapshot.any_sealed())
    try:
        secret = unseal(endpoint, disk, row)
    except CannotOpen as error:
        note(endpoint, disk, error)
        raise
    note(endpoint, disk, None)
    return Credential(_server(endpoint), secret)


def is_authentic(endpoint: Endpoint, keystore: KeyStore) -> bool:
    """Whether the stored server is the one that the stored secret was entered for.

    Found out by opening the record now: columns that say so could have been edited
    as the server could. While encryption is off nothing can tell, and it is taken
    as it stands; beside a key file a clear value is good only where the licence has it.
    """
    disk, row = snapshot.disk(keystore), snapshot.row()
    try:
        state.require_readable(disk, row, snapshot.any_sealed())
        if endpoint.clear is not None and endpoint.account_address == endpoint.address:
            return is_clear_authentic(endpoint, keystore, disk, row)
        _, label = unseal_labelled(endpoint, disk, row)
    except (CannotOpen, PasswordNeeded, Refused):
        return False
    return label == LABEL


def is_clear_authentic(
    endpoint: attestation.Stored, keystore: KeyStore, disk: state.FileFacts, row: state.RowFacts
) -> bool:
    """`vouches` for a row in clear: without a key file it is taken as it stands, else the licence has it."""
    return disk.file is None or attestation.permits(keystore, disk.file.primary, row.instance_id, endpoint)


def unseal(endpoint: Stored, disk: state.FileFacts, row: state.RowFacts) -> Secret:
    """The secret of the row under the facts given."""
    return unseal_labelled(endpoint, disk, row)[0]


def unseal_labelled(
    endpoint: Stored, disk: state.FileFacts, row: state.RowFacts
) -> tuple[Secret, str | None]:
    """The secret, and the label that its record was sealed with; None for a clear value."""
    if endpoint.account_address not in (None, endpoint.address):
        raise Tampered(
            "The address of the mailbox was changed outside Mailkeep.",
            "Open the mailbox and enter its server and password again.",
        )
    return unseal_record(endpoint, disk, row)


def unseal_record(endpoint: Stored, disk: state.FileFacts, row: state.RowFacts) -> tuple[Secret, str | None]:
    """The same for a row apart from its account: to move it, or to judge it. Never to log in."""
    try:
        if endpoint.clear is not None:
            return _clear(endpoint.clear.text), None
        if endpoint.sealed is None or disk.file is None:
            raise PasswordNeeded("No password is stored for this account.", "Open the account and enter it.")
        opened, label = _opened(disk.file, endpoint, row.instance_id)
        return Secret(opened.decode("utf-8")), label
    except (BadInput, UnicodeDecodeError):
        raise Malformed(
            "What is stored as the password is not one that Mailkeep wrote.", "Enter the password again."
        ) from None


def _clear(text: str) -> Secret:
    """A clear value, whatever SQL put there. Raises BadInput for one that no record could hold."""
    secret = Secret(text)
    if len(secret.reveal_bytes()) > record.LONGEST_SECRET:
        raise BadInput("The password is longer than any that Mailkeep stores.")
    return secret


def _opened(file: KeyFile, endpoint: Stored, instance_id: bytes) -> tuple[bytes, str]:
    assert endpoint.sealed is not None
    try:
        return keyring.unseal(file, endpoint.sealed.record, endpoint.binding(instance_id)), LABEL
    except (Tampered, WrongKey):  # under another label the commitment differs too
        found = endpoint.binding(instance_id, UNATTESTED_LABEL)
        with suppress(Tampered, WrongKey):
            return keyring.unseal(file, endpoint.sealed.record, found), UNATTESTED_LABEL
        raise


def note(endpoint: Endpoint, disk: state.FileFacts, error: CannotOpen | None) -> None:
    """Keep what opening found, for this revision of the row and this key file only."""
    model = type(endpoint)
    here = (model.id == endpoint.id) & (model.rev == endpoint.rev)
    if error is None:
        if endpoint.failed_rev is not None:
            model.update(failed_rev=None, failed_generation=None, failure=None).where(here).execute()
    elif disk.file is not None:
        model.update(
            failed_rev=endpoint.rev, failed_generation=disk.file.generation, failure=error.message
        ).where(here).execute()


def _server(endpoint: Endpoint) -> MailServer:
    return MailServer(
        protocol=endpoint.protocol,
        host=endpoint.host,
        port=endpoint.port,
        security=endpoint.security,
        username=endpoint.username,
        auth_method=endpoint.auth_method,
        token_url=endpoint.token_url,
    )
