"""One round of one account: new mail comes into its Maildir, and the outcome is stored."""

from __future__ import annotations

import logging
import uuid as uuids
from dataclasses import dataclass, replace
from functools import partial

from peewee import IntegrityError

from panel import db, identity
from panel.collect import due
from panel.collect.control import RoundControl
from panel.collect.cursor import endpoint_mark, open_cursor
from panel.collect.delivery import Delivery
from panel.collect.lease import Lease, LeaseLost
from panel.collect.mailbox import open_mailbox
from panel.collect.transfer import Transfer
from panel.config import Settings
from panel.errors import KeyAbsent, MailError, MessageTooLarge, PanelError, PasswordNeeded, SpoolError
from panel.mail.maildir import Maildir
from panel.mail.policy import Policy
from panel.messages import record
from panel.models import LISTED, Account, Collection, Endpoint
from panel.vault import credential
from panel.vault.credential import Credential
from panel.vault.vault import Vault

UNKNOWN = ("Collecting failed with an unknown error.", "Look for it in the server's log.")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a round brought. `more`: it did not reach the end, and the next one is due at once.

    `pause`: the seconds that the server wants between two sessions.
    """

    address: str
    delivered: int
    skipped: int
    more: bool
    pause: int = 0


@dataclass(frozen=True)
class Collector:
    """Collects the accounts of one install."""

    settings: Settings
    vault: Vault

    def require_ready(self) -> None:
        """Raise RestoredCopy or KeyAbsent where no account may be collected, or none can be."""
        identity.require_ours(self.settings.data_dir)
        self.vault.read().require_readable()

    def collect(
        self, uuid: str, *, force: bool = False, control: RoundControl | None = None
    ) -> Outcome | None:
        """One round of one account. None where it is not due (unless `force`), or is being collected.

        `control`: reports progress to a scheduler, which may ask the round to yield.

        Raises RestoredCopy or KeyAbsent, which are no fault of the account and not stored,
        and any other PanelError after storing it as the account's problem.
        """
        identity.require_ours(self.settings.data_dir)
        account = Account.get_or_none(Account.uuid == uuid, LISTED)
        if account is None or account.paused_at is not None:
            return None
        if not (force or due.find(uuid)):
            return None
        lease = Lease(uuid)
        address = account.address
        if not _take(lease, account):
            return None
        try:
            account = Account.get_or_none(Account.uuid == uuid, LISTED)  # it may have been changed until now
            if account is None or account.paused_at is not None:
                return None
            return self._stored(account, lease, control or RoundControl())
        except LeaseLost:
            log.warning("%s: another collector has taken over.", address)
            return None
        finally:
            lease.release()

    def _stored(self, account: Account, lease: Lease, control: RoundControl) -> Outcome:
        started, revision = db.now(), _revision(account)
        try:
            with db.explained():
                outcome = self._round(account, lease, control)
        except (KeyAbsent, LeaseLost):
            raise
        except Exception as error:
            if isinstance(error, MailError) and not error.permanent and error.step != "after":
                control.result = "failed"
            if _revision(account) == revision:  # otherwise the failure is about an older configuration
                known = error if isinstance(error, PanelError) else PanelError(*UNKNOWN)
                due.store_failure(account, known, _ended(started, control, known.message))
            raise
        control.result = "worked"
        after = due.after_success(account, started, more=outcome.more, pause=outcome.pause)
        if not _release(lease, after, _ended(started, control)):
            raise LeaseLost(account.uuid)
        return outcome

    def _round(self, account: Account, lease: Lease, control: RoundControl) -> Outcome:
        maildir = self._maildir(account)
        Delivery(maildir, lease).recover()
        endpoint = Endpoint.get_or_none(Endpoint.account == account, Endpoint.direction == "in")
        if endpoint is None:
            raise PasswordNeeded("The mailbox has no server to collect from.", "Open it and enter one.")
        opened = credential.open_for(endpoint, self.vault)
        transfer = partial(self._transfer, account, opened, maildir, lease, control)
        try:
            return transfer(measure=False)
        except MessageTooLarge:
            return transfer(measure=True)

    def _transfer(
        self, account: Account, opened: Credential, maildir: Maildir, lease: Lease, control: RoundControl,
        *, measure: bool,
    ) -> Outcome:  # fmt: skip
        policy = replace(Policy.of(self.settings), interrupt=control.interrupt)
        mark = endpoint_mark(opened.server, account.folder)
        with open_mailbox(opened, account, policy, lease, mark) as mailbox:
            cursor = open_cursor(lease, account.begin, mark, mailbox)
            control.mailbox_open = True
            logged = self.settings.message_log_days > 0
            transfer = Transfer(account, mailbox, maildir, lease, policy.max_message, control, logged)
            transfer.run(cursor, measure)
        return Outcome(account.address, transfer.delivered, transfer.skipped, transfer.more, mailbox.pause)

    def _maildir(self, account: Account) -> Maildir:
        try:
            name = str(uuids.UUID(account.uuid))  # never a path that SQL put there
        except ValueError:
            raise SpoolError(
                "The mailbox's id was not made by Mailkeep.", "Remove the mailbox and add it again."
            ) from None
        maildir = Maildir(self.settings.mail_spool / name, self.settings.mail_group)
        maildir.create()
        return maildir


def _ended(started: int, control: RoundControl, error: str | None = None) -> record.Round:
    took = int(control.seconds * 1000)
    return record.Round(started, took, control.found, control.new, control.skipped, error)


def _release(lease: Lease, values: dict[str, object], this: record.Round) -> bool:
    """Give the lease back and store how the round went: one statement where it brought nothing."""
    values["took"] = this.took
    if not (this.delivered or this.skipped):
        return lease.release(**values, quiet_rounds=Collection.quiet_rounds + 1)
    with db.transaction():
        quiet = Collection.select(Collection.quiet_rounds).where(Collection.account == lease.account).scalar()
        released = lease.release(**values, quiet_rounds=0)
        if released:
            record.round_ended(lease.account, this, quiet or 0)
    return released


def _take(lease: Lease, account: Account) -> bool:
    """Take the lease. An account's first round creates its Collection row."""
    if lease.take():
        return True
    try:
        Collection.insert(account=account).on_conflict_ignore().execute()
    except IntegrityError:
        return False  # removed meanwhile
    return lease.take()


def _revision(account: Account) -> tuple[object, ...] | None:
    """What a failure refers to: server, password and folder as they are now."""
    query = Endpoint.select(Endpoint.rev, Account.folder).join(Account)
    found: tuple[object, ...] | None = (
        query.where(Endpoint.account == account, Endpoint.direction == "in").tuples().first()
    )
    return found
