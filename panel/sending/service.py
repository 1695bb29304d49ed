"""The server that a mailbox sends through: SMTP, with a sealed record of its own.

Its password is always typed, never copied from the record for collecting: anyone able to name another
server here could have that password sent there. One consent serves both directions, by the rules of
`panel.accounts.auth`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from panel import db
from panel.accounts import payload, probe, rules
from panel.accounts import service as accounts
from panel.accounts.auth import Auth, Login
from panel.accounts.service import Seen
from panel.audit import Actor
from panel.config import Settings
from panel.errors import BadInput, NotFound, PanelError
from panel.mail import smtp
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.mail.session import ProbeStep
from panel.models import Account, Endpoint
from panel.oauth.login import with_login
from panel.vault.credential import Credential
from panel.vault.vault import Vault


def find(uuid: str) -> Endpoint:
    """The server that the account sends through. Raises NotFound."""
    found = accounts.sending_of(uuid)
    if found is None:
        raise NotFound("This mailbox does not send mail.", "Set up its server for sending first.")
    return found


def store(vault: Vault, uuid: str, where: MailServer, entered: Auth | None, seen: Seen, actor: Actor) -> None:
    """Store the server to send through. `seen`: the one that the form showed.

    Raises BadInput, PasswordNeeded (a new or changed server without a password), EditedMeanwhile or
    CannotStore; nothing is stored then.
    """
    if where.protocol not in rules.OUTGOING:
        raise BadInput("Mail is sent over SMTP.", "Choose smtp.", field="protocol")
    with Endpoint.storing():
        account, _ = accounts.find(uuid)
        endpoint = accounts.sending_of(account.uuid)
        accounts.require_seen(endpoint, seen)
        if endpoint is None:
            changed = _insert(vault, account, where, entered, actor)
        else:
            changed = accounts.store(vault, account, endpoint, where, entered, actor)
        actor.record("sending changed", account.address, changed)


def _insert(vault: Vault, account: Account, where: MailServer, entered: Auth | None, actor: Actor) -> str:
    accounts.require_entered(where, entered, None)
    assert entered is not None  # nothing is stored that could be kept
    accounts.insert_endpoint(vault, account, "out", Login(where, entered), actor)
    return "New: the server to send through."


def remove(uuid: str, actor: Actor) -> None:
    """Delete the server to send through, with its password. Raises NotFound."""
    with db.transaction():
        account, _ = accounts.find(uuid)
        find(account.uuid)
        Endpoint.delete().where(Endpoint.account == account.uuid, Endpoint.direction == "out").execute()
        payload.drop_unused(account)
        actor.record("sending removed", account.address)


def send_test(uuid: str, settings: Settings, vault: Vault, actor: Actor) -> Iterator[ProbeStep]:
    """Sign in as stored and send a message to the mailbox's own address, in steps.

    Raises NotFound, CannotOpen, OutsideSecretError or Throttled before the first step, nothing later.
    """
    account, _ = accounts.find(uuid)
    endpoint = find(account.uuid)
    steps = probe.run([probe.stored(endpoint, settings, vault)], "", settings, actor, account.address)
    return _and_send(steps, endpoint, account.address, settings, vault)


def _and_send(
    steps: Iterator[ProbeStep], endpoint: Endpoint, address: str, settings: Settings, vault: Vault
) -> Iterator[ProbeStep]:
    for step in steps:
        yield step
        if not step.ok:
            return

    def send(opened: Credential) -> None:
        message = smtp.probe_message(address)
        smtp.send(opened.server, opened.secret, Policy.of(settings), message, address, [address])

    started = time.monotonic()
    try:
        with_login(endpoint, vault, settings, send, interactive=True)
    except PanelError as error:
        yield ProbeStep("send", False, time.monotonic() - started, error.message, error.remedy)
    else:
        message = f"{endpoint.host} accepted a message to {address}. Check that it arrives."
        yield ProbeStep("send", True, time.monotonic() - started, message)
