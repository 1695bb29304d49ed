"""The server that a mailbox sends through: SMTP, with a sealed record of its own.

Its password is always typed, never copied from the record for collecting: anyone able to name another
server here could have that password sent there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from panel import audit, db
from panel.accounts import probe, rules
from panel.accounts import service as accounts
from panel.accounts.service import Seen
from panel.audit import Actor
from panel.config import Settings
from panel.errors import BadInput, MailError, NotFound
from panel.mail import smtp
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.mail.session import ProbeStep
from panel.models import Account, Endpoint
from panel.secret import Secret
from panel.vault import credential
from panel.vault.credential import Credential
from panel.vault.vault import Vault


def find(uuid: str) -> Endpoint:
    """The server that the account sends through. Raises NotFound."""
    found = accounts.sending_of(uuid)
    if found is None:
        raise NotFound("This mailbox does not send mail.", "Set up its server for sending first.")
    return found


def store(
    vault: Vault, uuid: str, where: MailServer, password: Secret | None, seen: Seen, actor: Actor
) -> None:
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
            changed = _insert(vault, account, where, password, actor)
        else:
            changed = accounts.store(vault, account, endpoint, where, password, actor)
        audit.record("sending changed", account.address, changed, who=actor.who, address=actor.address)


def _insert(vault: Vault, account: Account, where: MailServer, password: Secret | None, actor: Actor) -> str:
    accounts.insert_endpoint(vault, account, "out", where, password, actor)
    return "New: the server to send through."


def remove(uuid: str, actor: Actor) -> None:
    """Delete the server to send through, with its password. Raises NotFound."""
    with db.transaction():
        account, _ = accounts.find(uuid)
        find(account.uuid)
        Endpoint.delete().where(Endpoint.account == account.uuid, Endpoint.direction == "out").execute()
        audit.record("sending removed", account.address, who=actor.who, address=actor.address)


def send_test(uuid: str, settings: Settings, vault: Vault, actor: Actor) -> Iterator[ProbeStep]:
    """Log in with the stored password and send a message to the mailbox's own address, in steps.

    Raises NotFound, CannotOpen or Throttled before the first step, nothing later.
    """
    account, _ = accounts.find(uuid)
    opened = credential.open_for(find(account.uuid), vault)
    steps = probe.run([opened], "", settings, actor, account.address)
    return _and_send(steps, opened, Policy.of(settings), account.address)


def _and_send(
    steps: Iterator[ProbeStep], opened: Credential, policy: Policy, address: str
) -> Iterator[ProbeStep]:
    for step in steps:
        yield step
        if not step.ok:
            return
    started = time.monotonic()
    try:
        smtp.send(opened.server, opened.secret, policy, smtp.probe_message(address), address, [address])
    except (MailError, BadInput) as error:
        yield ProbeStep("send", False, time.monotonic() - started, error.message, error.remedy)
    else:
        message = f"{opened.server.host} accepted a message to {address}. Check that it arrives."
        yield ProbeStep("send", True, time.monotonic() - started, message)
