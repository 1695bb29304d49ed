"""The only place that opens a stored secret: to log in to the very server it is bound to."""

from __future__ import annotations

from dataclasses import dataclass

from panel.crypto import keyring
from panel.encryption import facts, state
from panel.encryption.keystore import KeyStore
from panel.errors import BadInput, CannotOpen, Malformed, PasswordNeeded
from panel.mail.endpoint import Endpoint as MailServer
from panel.models import Endpoint
from panel.secret import Secret


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
    disk, row = facts.disk(keystore), facts.row()
    state.require_readable(disk, row, facts.any_sealed())
    try:
        secret = unseal(endpoint, disk, row)
    except CannotOpen as error:
        note(endpoint, disk, error)
        raise
    note(endpoint, disk, None)
    return Credential(_server(endpoint), secret)


def unseal(endpoint: Endpoint, disk: state.FileFacts, row: state.RowFacts) -> Secret:
    """The secret of the row under the facts given. For `open_for` and the sweep."""
    try:
        if endpoint.clear is not None:
            return Secret(endpoint.clear.text)
        if endpoint.sealed is None or disk.file is None:
            raise PasswordNeeded("No password is stored for this account.", "Open the account and enter it.")
        binding = endpoint.binding(row.instance_id)
        return Secret(keyring.unseal(disk.file, endpoint.sealed.record, binding).decode("utf-8"))
    except (BadInput, UnicodeDecodeError):
        raise Malformed(
            "What is stored as the password is not one that Mailkeep wrote.", "Enter the password again."
        ) from None


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
