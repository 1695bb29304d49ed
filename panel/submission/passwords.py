"""The local passwords of mailboxes: made here, shown once, checked here. No mail server knows them."""

from __future__ import annotations

import base64
import hmac
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from panel import db
from panel.accounts import service as accounts
from panel.audit import Actor
from panel.errors import BadInput, NotFound, PanelError
from panel.mail.server import address_to_wire
from panel.models import LISTED, Account, SubmissionPassword
from panel.models.oauth import new_uid
from panel.models.submission import SubmissionPlace
from panel.secret import Secret
from panel.sign_in import throttle
from panel.submission.headers import BARE, folded
from panel.vault import credential
from panel.vault.vault import Vault

PASSWORD_BYTES = 20  # 32 letters and digits
MOST_ALIASES = 50

log = logging.getLogger(__name__)


class WrongPassword(PanelError):
    """Address and password do not belong together, or there is no such mailbox."""


@dataclass(frozen=True)
class SendingMailbox:
    """Who has signed in, and as whom it may send."""

    uuid: str
    address: str
    senders: frozenset[str]  # as headers.folded makes them
    password: str  # the uid of its row
    server: int | None  # the revision of the one for sending


@dataclass(frozen=True)
class Info:
    aliases: tuple[str, ...]
    created_at: int
    sent: int
    sent_at: int | None


def create(uuid: str, aliases: Sequence[str], actor: Actor) -> Secret:
    """A new password of the mailbox, to send from its address and `aliases`; an earlier one ends.

    Raises BadInput for an alias that is no address, NotFound where the mailbox sends nothing, CannotStore
    where encryption is not on.
    """
    secret = Secret(base64.b32encode(secrets.token_bytes(PASSWORD_BYTES)).decode().lower())
    checked = " ".join(dict.fromkeys(_alias(alias) for alias in aliases))
    if len(aliases) > MOST_ALIASES:
        raise BadInput(f"There are more than {MOST_ALIASES} aliases.", "Leave some out.", "aliases")
    with SubmissionPassword.storing():
        account = accounts.find_account(uuid)
        if accounts.sending_of(uuid) is None:
            raise NotFound("This mailbox does not send mail.", "Set up its server for sending first.")
        row = _row(uuid) or SubmissionPassword()
        row.secret, row.created_at = secret, db.now()
        row.save(place=SubmissionPlace(new_uid(), uuid, checked))
        actor.record("submission password created", account.address)
    throttle.forgive_submission(account.address)
    return secret


def remove(uuid: str, actor: Actor) -> None:
    """End the mailbox's password. Raises NotFound."""
    with db.transaction():
        account, row = accounts.find_account(uuid), _row(uuid)
        if row is None:
            raise NotFound("This mailbox has no submission password.", "Nothing was changed.")
        row.delete_instance()
        actor.record("submission password removed", account.address)


def info(uuid: str) -> Info | None:
    """The mailbox's password for pages, or None."""
    row = _row(uuid)
    if row is None:
        return None
    return Info(tuple(str(row.aliases).split()), row.created_at, row.sent, row.sent_at)


def note(uuid: str, error: PanelError | None) -> None:
    """Whether the mailbox's server could be signed in to."""
    row = SubmissionPassword
    values = {"problem": error and error.message, "remedy": error and error.remedy}
    row.update(values).where(row.account == uuid).execute()


def check(vault: Vault, address: str, password: bytes, owner: str) -> SendingMailbox:
    """The mailbox whose password it is. `owner`: the Unix user that asks, whose wrong passwords are counted.

    Raises WrongPassword; Throttled; CannotOpen where the stored one cannot be decrypted.
    """
    attempt = throttle.count_submission(address, owner)
    account = _account(address)
    row = _row(account.uuid) if account is not None else None
    nobodys = Secret(secrets.token_hex(PASSWORD_BYTES))
    try:
        stored = credential.open_row(row, vault) if row is not None else nobodys
    except PanelError:
        throttle.succeeded(attempt)  # nothing was guessed
        raise
    if not hmac.compare_digest(stored.reveal_bytes(), password) or account is None or row is None:
        if account is not None:
            log.warning("Unix user %s sent a wrong submission password for %s.", owner, account.address)
        raise WrongPassword(
            "This is not the mailbox's submission password.", "Create a new one on the page of the mailbox."
        )
    throttle.succeeded(attempt)
    senders = frozenset(map(folded, (str(account.address), *str(row.aliases).split()))) - {""}
    return SendingMailbox(account.uuid, str(account.address), senders, row.uid, _server(account.uuid))


def holds(mailbox: SendingMailbox) -> bool:
    """Whether mailbox, password and server for sending are what they were when it signed in."""
    row = _row(mailbox.uuid)
    same = row is not None and row.uid == mailbox.password and _server(mailbox.uuid) == mailbox.server
    return same and _account(mailbox.address) is not None


def _account(address: str) -> Account | None:
    found: Account | None = Account.get_or_none((Account.address == address) & LISTED)
    return found


def _server(uuid: str) -> int | None:
    found = accounts.sending_of(uuid)
    return None if found is None else found.rev


def _row(uuid: str) -> SubmissionPassword | None:
    found: SubmissionPassword | None = SubmissionPassword.get_or_none(SubmissionPassword.account == uuid)
    return found


def _alias(text: str) -> str:
    with suppress(BadInput):
        address_to_wire(text)
        if BARE.fullmatch(text):  # no From could name others
            return text
    raise BadInput(f"“{text[:80]}” cannot be a sender.", "Enter addresses as name@example.org.", "aliases")
