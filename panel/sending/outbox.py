"""A message of the panel itself, through whichever account takes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from email.message import EmailMessage

from panel.config import Settings
from panel.errors import KeyAbsent, MailError, PanelError
from panel.mail import smtp
from panel.mail.policy import Policy
from panel.mail.steps import Step
from panel.models import Account, Endpoint
from panel.vault import credential
from panel.vault.credential import Credential
from panel.vault.vault import Vault

MOST_SECONDS = 120.0  # for all accounts together
NO_KEY = Step(
    "send",
    False,
    0.0,
    "No mail can go out: while the key is not in order, no password for sending can be read.",
    "Put the key right: the Encryption page says how.",
)
NO_ACCOUNT = Step(
    "send", False, 0.0, "No account sends mail.", "Open a mail account and set up its server for sending."
)

REFUSED = "Correct the addresses that were refused, or remove them."

Compose = Callable[[str], EmailMessage]  # the message, from this address


def senders() -> list[Account]:
    """The accounts that send mail, by address."""
    outgoing = Endpoint.select(Endpoint, Account).join(Account).where(Endpoint.direction == "out")
    return [endpoint.account for endpoint in outgoing.order_by(Account.address)]


def send(
    compose: Compose, recipients: Sequence[str], first: str, settings: Settings, vault: Vault
) -> Iterator[Step]:
    """Send through the account `first`, else through the others, until one takes it: a step for each.

    The last step says whether it is on its way. Raises nothing that a server, a
    network, the key or a record can cause.
    """
    accounts = sorted(senders(), key=lambda account: account.uuid != first)
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
) -> Step:
    """Through one account. Raises KeyAbsent."""
    begun = time.monotonic()
    endpoint = Endpoint.get_or_none(Endpoint.account == account.uuid, Endpoint.direction == "out")
    if endpoint is None:
        return NO_ACCOUNT
    try:
        opened = credential.open_for(endpoint, vault)
        refused = _hand_over(opened, account.address, compose(account.address), recipients, settings)
    except KeyAbsent:
        raise
    except PanelError as error:
        message = f"{account.address}: {error.message}"
        return Step("send", False, time.monotonic() - begun, message, error.remedy)
    message = f"{opened.server.host} took it from {account.address}."
    if refused:
        message += f" It refused {', '.join(refused)}."
    return Step("send", True, time.monotonic() - begun, message, REFUSED if refused else "")


def _hand_over(
    opened: Credential, sender: str, message: EmailMessage, recipients: Sequence[str], settings: Settings
) -> list[str]:
    """To all at once; where that is refused, to each alone. The recipients that were refused, not all.

    Raises MailError where nobody was sent it.
    """
    policy = Policy.of(settings)
    try:
        smtp.send(opened.server, opened.secret, policy, message, sender, recipients)
    except MailError as error:
        if error.step != "send" or len(recipients) == 1:
            raise
        refused = [one for one in recipients if not _to_one(opened, sender, message, one, policy)]
        if len(refused) == len(recipients):
            raise
        return refused
    return []


def _to_one(opened: Credential, sender: str, message: EmailMessage, recipient: str, policy: Policy) -> bool:
    try:
        smtp.send(opened.server, opened.secret, policy, message, sender, [recipient])
    except MailError:
        return False
    return True
