"""The server that an account sends through: SMTP, with a password of its own record.

The password for sending is always typed, never taken over from what is stored for
collecting: whoever could name another server here would have it sent there.
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
from panel.errors import BadInput, MailError, NotFound, PasswordNeeded
from panel.mail import smtp
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.mail.steps import Step
from panel.models import Account, Endpoint
from panel.secret import Secret
from panel.vault import credential
from panel.vault.credential import Credential
from panel.vault.vault import Vault


def find(uuid: str) -> Endpoint:
    """The server that the account sends through. Raises NotFound where there is none."""
    found = accounts.sending_of(uuid)
    if found is None:
        raise NotFound("This account does not send mail.", "Set up a server for sending first.")
    return found


def store(uuid: str, where: MailServer, password: Secret | None, seen: Seen, actor: Actor) -> None:
    """Store the server to send through, new or changed. `seen` is the one that the person was shown.

    Raises BadInput, PasswordNeeded (a new or changed server without a password),
    EditedMeanwhile, CannotStore; nothing is stored then.
    """
    if where.protocol not in rules.OUTGOING:
        raise BadInput("Mail is sent by smtp.", "Choose smtp.", field="protocol")
    with Endpoint.storing():
        account, _ = accounts.find(uuid)
        endpoint = accounts.sending_of(account.uuid)
        accounts.require_seen(endpoint, seen)
        if endpoint is None:
            changed = _insert(account, where, password, actor)
        else:
            changed = accounts.store(account, endpoint, where, password, actor)
        audit.record("sending changed", account.address, changed, who=actor.who, address=actor.address)


def _insert(account: Account, where: MailServer, password: Secret | None, actor: Actor) -> str:
    if password is None:
        raise PasswordNeeded("A password is needed for a new mail server.", "Enter it.")
    rules.require_password(password)
    accounts.insert_endpoint(account, "out", where, password, actor)
    return "New: the server to send through."


def remove(uuid: str, actor: Actor) -> None:
    """Forget the server to send through and its password. Raises NotFound."""
    with db.transaction():
        account, _ = accounts.find(uuid)
        find(account.uuid)
        Endpoint.delete().where(Endpoint.account == account.uuid, Endpoint.direction == "out").execute()
        audit.record("sending removed", account.address, who=actor.who, address=actor.address)


def send_test(uuid: str, settings: Settings, vault: Vault, actor: Actor) -> Iterator[Step]:
    """Log in with the stored password and send a message to the account's own address; step by step.

    Raises NotFound, CannotOpen, Throttled before the first step, nothing later.
    """
    account, _ = accounts.find(uuid)
    opened = credential.open_for(find(account.uuid), vault)
    steps = probe.run([opened], "", settings, actor, account.address)
    return _and_send(steps, opened, Policy.of(settings), account.address)


def _and_send(steps: Iterator[Step], opened: Credential, policy: Policy, address: str) -> Iterator[Step]:
    for step in steps:
        yield step
        if not step.ok:
            return
    begun = time.monotonic()
    try:
        smtp.send(opened.server, opened.secret, policy, smtp.trial_message(address), address, [address])
    except (MailError, BadInput) as error:
        yield Step("send", False, time.monotonic() - begun, error.message, error.remedy)
    else:
        message = f"{opened.server.host} took a message to {address}. See whether it arrives."
        yield Step("send", True, time.monotonic() - begun, message)
