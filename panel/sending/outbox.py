"""Sending the panel's own mail, through the first mailbox whose server accepts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from email.message import EmailMessage
from functools import partial

from peewee import SQL

from panel.config import Settings
from panel.errors import KeyAbsent, MailError, PanelError
from panel.mail import smtp
from panel.mail.policy import Policy
from panel.mail.session import ProbeStep
from panel.models import LISTED, Account, Endpoint
from panel.oauth.login import with_login
from panel.vault.credential import Credential
from panel.vault.vault import Vault

MOST_SECONDS = 120.0  # for all mailboxes together
MOST_SENDERS = 50  # mailboxes that are tried
NO_KEY = ProbeStep(
    "send",
    False,
    0.0,
    "Mail cannot be sent while the encryption key is missing or wrong.",
    "Restore the key: the Encryption page explains how.",
)
NO_ACCOUNT = ProbeStep(
    "send", False, 0.0, "No mailbox sends mail.", "Open a mailbox and set up its server for sending."
)
REFUSED = "Correct or remove the addresses that were refused."

Compose = Callable[[str], EmailMessage]  # the message, for this sender address


def senders(first: str = "") -> list[Account]:
    """The mailboxes that send mail, by address: MOST_SENDERS of them, and the one with the uuid `first`."""
    outgoing = Endpoint.select(Endpoint.id).where(SQL("direction <> 'in'"))  # as the index has it
    some = outgoing.order_by(Endpoint.direction, Endpoint.id).limit(MOST_SENDERS)
    chosen = outgoing.where(Endpoint.account == first)
    found = Endpoint.select(Endpoint, Account).join(Account)
    found = found.where(LISTED, Endpoint.id.in_(some) | Endpoint.id.in_(chosen))
    # Sorted here, since SQLite would go through all mailboxes by address.
    return sorted((endpoint.account for endpoint in found), key=lambda account: str(account.address))


def send(
    compose: Compose, recipients: Sequence[str], first: str, settings: Settings, vault: Vault
) -> Iterator[ProbeStep]:
    """Send through the account `first`, or else the others, until a server accepts it; one step each.

    The last step has the result. Errors of servers, network, key and records become steps.
    """
    accounts = sorted(senders(first), key=lambda account: account.uuid != first)
    ends_at = time.monotonic() + MOST_SECONDS
    if not accounts:
        yield NO_ACCOUNT
    for account in accounts:
        try:
            step = _through(account, compose, recipients, settings, vault)
        except KeyAbsent:
            step = NO_KEY
        yield step
        if step.ok or step is NO_KEY or time.monotonic() > ends_at:
            return


def _through(
    account: Account, compose: Compose, recipients: Sequence[str], settings: Settings, vault: Vault
) -> ProbeStep:
    """Send through one account. Raises KeyAbsent."""
    started = time.monotonic()
    endpoint = Endpoint.get_or_none(Endpoint.account == account.uuid, Endpoint.direction == "out")
    if endpoint is None:
        return NO_ACCOUNT
    try:
        message = compose(account.address)
        submit = partial(
            _submit, sender=account.address, message=message, recipients=recipients, settings=settings
        )
        refused = with_login(endpoint, vault, settings, submit)
    except KeyAbsent:
        raise
    except PanelError as error:
        text = f"{account.address}: {error.message}"
        return ProbeStep("send", False, time.monotonic() - started, text, error.remedy)
    text = f"{endpoint.host} accepted it from {account.address}."
    if refused:
        text += f" It refused {', '.join(refused)}."
    return ProbeStep("send", True, time.monotonic() - started, text, REFUSED if refused else "")


def _submit(
    opened: Credential, sender: str, message: EmailMessage, recipients: Sequence[str], settings: Settings
) -> list[str]:
    """Submit to all recipients at once, or else to each alone. Returns those that were refused.

    Raises MailError where all were.
    """
    policy = Policy.of(settings)
    try:
        smtp.send(opened.server, opened.secret, policy, message, sender, recipients)
    except MailError as error:
        if error.step != "send" or len(recipients) == 1:
            raise
        refused = [each for each in recipients if not _submit_to(opened, sender, message, each, policy)]
        if len(refused) == len(recipients):
            raise
        return refused
    return []


def _submit_to(
    opened: Credential, sender: str, message: EmailMessage, recipient: str, policy: Policy
) -> bool:
    try:
        smtp.send(opened.server, opened.secret, policy, message, sender, [recipient])
    except MailError:
        return False
    return True
