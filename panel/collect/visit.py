"""The mailbox of one round: in the session that was parked after the last one, else by logging in."""

from __future__ import annotations

import logging
import uuid as uuids
from contextlib import ExitStack
from dataclasses import dataclass, replace

from panel.collect import parked
from panel.collect.control import RoundControl
from panel.collect.cursor import endpoint_mark, open_cursor
from panel.collect.delivery import Delivery
from panel.collect.lease import Lease
from panel.collect.mailbox import MailboxSession, open_mailbox
from panel.collect.parked import Terms
from panel.collect.parking import Parked, Parking
from panel.collect.transfer import Transfer
from panel.config import Settings
from panel.errors import MailError, MessageTooLarge, PasswordNeeded, SpoolError
from panel.mail.imap import ImapSession
from panel.mail.maildir import Maildir
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.models import Account, Endpoint
from panel.oauth.login import with_login
from panel.vault.credential import Credential
from panel.vault.vault import Vault

log = logging.getLogger(__name__)


@dataclass
class Visit:
    """What one round does under its lease. With `parking`, `rests` is then the session that it left open."""

    settings: Settings
    vault: Vault
    parking: Parking | None
    account: Account
    lease: Lease
    control: RoundControl
    more: bool = False  # it did not reach the end
    pause: int = 0  # seconds that the server wants between two sessions
    rests: Parked | None = None
    terms: Terms | None = None  # under which it began, once that is known

    def run(self) -> None:
        """Collect. Raises what keeps the mailbox from being collected, any PanelError, or LeaseLost."""
        self._policy = replace(Policy.of(self.settings), interrupt=self.control.interrupt)
        self.terms = parked.terms(self.account.uuid)  # first: what is changed later ends the session
        one = self.parking.take(self.account.uuid) if self.parking else None
        self._maildir = self._prepared(made=one is not None)
        Delivery(self._maildir, self.lease).recover()
        if one is not None and self._resumed(one):
            return
        endpoint = Endpoint.get_or_none(Endpoint.account == self.account, Endpoint.direction == "in")
        if endpoint is None:
            raise PasswordNeeded("The mailbox has no server to collect from.", "Open it and enter one.")
        with_login(endpoint, self.vault, self.settings, self._log_in)

    def _prepared(self, *, made: bool) -> Maildir:
        """The Maildir, made where an earlier round of this process has not `made` it."""
        try:
            name = str(uuids.UUID(self.account.uuid))  # never a path that SQL put there
        except ValueError:
            raise SpoolError(
                "The mailbox's id was not made by Mailkeep.", "Remove the mailbox and add it again."
            ) from None
        maildir = Maildir(self.settings.mail_spool / name, self.settings.mail_group)
        if not made:
            maildir.create()
        return maildir

    def _resumed(self, one: Parked) -> bool:
        """Whether the round could be done in its session. Where that was lost meanwhile, it is no failure."""
        if one.lost is not None:
            if one.lost.retry_after is not None:
                raise one.lost
            return False
        if one.terms != self.terms:
            one.session.close()
            return False
        try:
            with ExitStack() as stack:
                stack.push(one.session)  # it is open: left, but not entered
                self.vault.read().require_readable()  # no login asks for the key, and mail waits without one
                one.session.resume(self._policy)
                self._collect(one.session, one.server, one, measure=False)
        except MailError as error:
            if self.control.delivered or error.retry_after is not None:
                raise
            log.debug("%s: the parked session was lost (%s)", self.account.address, error.message)
            return False
        return True

    def _log_in(self, opened: Credential) -> None:
        """The same in a session of its own; once more where a message was too large."""
        try:
            self._collect_from(opened, measure=False)
        except MessageTooLarge:
            self._collect_from(opened, measure=True)
        except MailError as error:
            if error.reason == "connections" and self.parking:
                self.parking.give_way(opened.server)
            raise

    def _collect_from(self, opened: Credential, *, measure: bool) -> None:
        if opened.server.protocol == "pop3":
            self.lease.renew()  # such a server lets in one at a time
        mark = endpoint_mark(opened.server, self.account.folder)
        with open_mailbox(opened, self.account, self._policy, self.lease, mark) as mailbox:
            self._collect(mailbox, opened.server, None, measure=measure)

    def _collect(
        self, mailbox: MailboxSession, server: MailServer, resumed: Parked | None, *, measure: bool
    ) -> None:
        mark = endpoint_mark(server, self.account.folder)
        cursor = open_cursor(self.lease, self.account.begin, mark, mailbox)
        self.control.mailbox_open = True
        logged = self.settings.message_log_days > 0
        limit = self._policy.max_message
        transfer = Transfer(self.account, mailbox, self._maildir, self.lease, limit, self.control, logged)
        transfer.run(cursor, measure)
        self.more, self.pause = transfer.more, mailbox.pause
        if isinstance(mailbox, ImapSession) and not self.more:
            self._rest(mailbox, server, resumed)

    def _rest(self, session: ImapSession, server: MailServer, resumed: Parked | None) -> None:
        if self.parking is None or not self.parking.admits(self.account.uuid, server):
            return
        try:
            rests = self.terms is not None and session.rest()
        except MailError as error:  # all mail is here: that the server ends the session is no failure
            if error.retry_after is not None:
                raise
            return
        if self.terms and rests:
            self.rests = resumed or Parked(self.account.uuid, server, self.terms, session)
            self.rests.rested(brought=self.control.new > 0)
