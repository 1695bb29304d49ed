"""One round of one account: what is new on the server comes into the Maildir, and how it went is noted."""

from __future__ import annotations

import logging
import uuid as uuids
from dataclasses import dataclass, replace
from functools import partial

from peewee import IntegrityError

from panel import db, identity
from panel.collect import due, health
from panel.collect.box import open_box
from panel.collect.cursor import endpoint_mark, open_cursor
from panel.collect.delivery import Delivery
from panel.collect.lease import Lease, LeaseLost
from panel.collect.turn import Turn
from panel.collect.visit import Visit
from panel.config import Settings
from panel.errors import KeyAbsent, MailError, MessageTooLarge, PanelError, PasswordNeeded, SpoolError
from panel.mail.maildir import Maildir
from panel.mail.policy import Policy
from panel.models import Account, Collection, Endpoint
from panel.vault import credential
from panel.vault.credential import Credential
from panel.vault.vault import Vault

UNKNOWN = ("Collecting met an error that Mailkeep does not know.", "The server's log tells more of it.")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a round brought. `more`: it did not reach the end, and the next one is due at once.

    `pause`: the seconds that its server wants between two sessions.
    """

    address: str
    delivered: int
    passed: int
    more: bool
    pause: int = 0


@dataclass(frozen=True)
class Collector:
    """Collects the accounts of one install."""

    settings: Settings
    vault: Vault

    def require_ready(self) -> None:
        """Raise what keeps every round from beginning.

        RestoredCopy where another install may be collecting the same mailboxes,
        KeyAbsent where no password can be read at all.
        """
        identity.require_ours(self.settings.data_dir)
        self.vault.read().require_readable()

    def collect(self, uuid: str, *, force: bool = False, turn: Turn | None = None) -> Outcome | None:
        """One round of one account. None where it is not due, unless `anyway`, or somebody is at it.

        `turn`: it gives way to others where that asks for it, and says there how it went.

        Raises RestoredCopy or KeyAbsent, and nothing is noted: it is not the account's fault.
        Raises any other PanelError after having noted it as the account's problem.
        """
        identity.require_ours(self.settings.data_dir)
        account = Account.get_or_none(Account.uuid == uuid)
        if account is None or account.paused_at is not None:
            return None
        if not (force or due.is_due(uuid)):
            return None
        lease = Lease(uuid)
        if not lease.take():  # it is held, or never was
            try:
                Collection.insert(account=account).on_conflict_ignore().execute()
            except IntegrityError:
                return None  # removed meanwhile
            if not lease.take():
                return None
        try:
            return self._noted(account, lease, turn or Turn())
        except LeaseLost:
            log.warning("%s: another collector has taken over.", account.address)
            return None
        finally:
            lease.release()

    def _noted(self, account: Account, lease: Lease, turn: Turn) -> Outcome:
        started, revision = db.now(), _revision(account)
        try:
            with db.explained():
                outcome = self._round(account, lease, turn)
        except (KeyAbsent, LeaseLost):
            raise
        except Exception as error:
            if isinstance(error, MailError) and not error.permanent and error.step != "after":
                turn.result = "failed"
            if _revision(account) == revision:  # else it says nothing of the account as it is now
                health.failed(account, error if isinstance(error, PanelError) else PanelError(*UNKNOWN))
            raise
        turn.result = "worked"
        if not lease.release(**health.success(account, started, more=outcome.more, pause=outcome.pause)):
            raise LeaseLost(account.uuid)
        return outcome

    def _round(self, account: Account, lease: Lease, turn: Turn) -> Outcome:
        maildir = self._maildir(account)
        Delivery(maildir, lease).recover()
        endpoint = Endpoint.get_or_none(Endpoint.account == account, Endpoint.direction == "in")
        if endpoint is None:
            raise PasswordNeeded("The account names no server to collect from.", "Open it and enter one.")
        opened = credential.open_for(endpoint, self.vault)
        visit = partial(self._visit, account, opened, maildir, lease, turn)
        try:
            return visit(measure=False)
        except MessageTooLarge:
            return visit(measure=True)

    def _visit(
        self, account: Account, opened: Credential, maildir: Maildir, lease: Lease, turn: Turn,
        *, measure: bool,
    ) -> Outcome:  # fmt: skip
        policy = replace(Policy.of(self.settings), interrupt=turn.interrupt)
        mark = endpoint_mark(opened.server, account.folder)
        with open_box(opened, account, policy, lease, mark) as box:
            cursor = open_cursor(lease, account.begin, mark, box)
            turn.opened = True
            visit = Visit(account, box, maildir, lease, policy, turn)
            visit.run(cursor, measure)
        return Outcome(account.address, visit.delivered, visit.passed, visit.more, box.pause)

    def _maildir(self, account: Account) -> Maildir:
        try:
            name = str(uuids.UUID(account.uuid))  # never a path that SQL put there
        except ValueError:
            raise SpoolError(
                "The account's id is not one that Mailkeep gave.", "Remove the account."
            ) from None
        maildir = Maildir(self.settings.mail_spool / name, self.settings.mail_group)
        maildir.create()
        return maildir


def _revision(account: Account) -> tuple[object, ...] | None:
    """What a round's failure is about: server, password and folder as they are now."""
    query = Endpoint.select(Endpoint.rev, Account.folder).join(Account)
    found: tuple[object, ...] | None = (
        query.where(Endpoint.account == account, Endpoint.direction == "in").tuples().first()
    )
    return found
