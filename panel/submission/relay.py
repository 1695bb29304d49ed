"""The mailbox's own server for sending, and its replies as a client of ours gets them.

Codes are the server's. Its words are not passed on: it has seen the mailbox's password, and the helpdesk
must not (docs/decisions/0027).
"""

from __future__ import annotations

import time
from typing import IO

from panel.config import Settings
from panel.errors import KeyAbsent, MailError, NotFound, PanelError
from panel.mail import smtp_relay
from panel.mail.policy import Policy
from panel.mail.smtp_relay import Reply, SmtpRelay
from panel.models import Endpoint
from panel.oauth.login import with_login
from panel.submission import passwords
from panel.submission.grammar import Route
from panel.submission.passwords import SendingMailbox
from panel.vault.credential import Credential
from panel.vault.vault import Vault

SECONDS_NEEDED = 700.0  # that a session must have left for one more message: a server may think for 600
PAUSE = 300  # seconds without a login after one that was refused for good
WORDS = {2: "accepted it", 4: "cannot take it now", 5: "refused it"}


class UpstreamServer:
    """Signed in to the mailbox's server. Every method raises MailError where the connection breaks."""

    def __init__(self, relay: SmtpRelay) -> None:
        self._relay = relay
        self._utf8 = False

    @property
    def is_fresh(self) -> bool:
        """Whether there is time for one more message."""
        return self._relay.seconds_left() > SECONDS_NEEDED

    def mail(self, route: Route) -> str:
        self._utf8 = route.utf8
        eight_bit = route.eight_bit or self._relay.offers("8bitmime")  # clients send such without saying so
        reply = self._relay.mail(
            route.address,
            size=route.size or None,
            body="8BITMIME" if eight_bit else "7BIT",
            smtputf8=route.utf8,
        )
        return self._worded(reply)

    def rcpt(self, recipient: str) -> str:
        return self._worded(self._relay.rcpt(recipient, smtputf8=self._utf8))

    def data(self, message: IO[bytes]) -> str:
        """Hand over the message, from its beginning."""
        message.seek(0)
        return self._worded(self._relay.data(message))

    def reset(self) -> None:
        """Drop the message under way."""
        self._relay.reset()

    def close(self) -> None:
        self._relay.close()

    def _worded(self, reply: Reply) -> str:
        kind = reply.code // 100
        if kind not in WORDS:
            return f"451 4.5.0 {self._relay.host} gave an answer that is none."
        if reply.ours:
            return f"{reply.code} {reply.enhanced} {reply.ours}."
        return f"{reply.code} {reply.enhanced or f'{kind}.0.0'} {self._relay.host} {WORDS[kind]}."


class Servers:
    """The servers of all mailboxes. One that refused a login is left alone a while: it may lock mailboxes."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self._settings = settings
        self._vault = vault
        self._good: set[str] = set()
        self._refused: dict[str, tuple[int, float, MailError]] = {}

    def connect(self, mailbox: SendingMailbox) -> UpstreamServer:
        """Sign in to the mailbox's server, and note where that fails. Raises PanelError."""
        try:
            found = self._connected(mailbox)
        except PanelError as error:
            self._good.discard(mailbox.uuid)
            if not isinstance(error, KeyAbsent):  # which is none of the mailbox's faults
                passwords.note(mailbox.uuid, error)
            raise
        if mailbox.uuid not in self._good:  # once, and not for each message
            passwords.note(mailbox.uuid, None)
            self._good.add(mailbox.uuid)
        return found

    def _connected(self, mailbox: SendingMailbox) -> UpstreamServer:
        endpoint = Endpoint.get_or_none(Endpoint.account == mailbox.uuid, Endpoint.direction == "out")
        if endpoint is None:
            raise NotFound("This mailbox does not send mail.", "Set up its server for sending.")
        rev, until, refusal = self._refused.get(mailbox.uuid, (-1, 0.0, None))
        if refusal is not None and rev == endpoint.rev and time.monotonic() < until:
            raise MailError("login", refusal.message, refusal.remedy, permanent=True)
        try:
            return with_login(endpoint, self._vault, self._settings, self._sign_in)
        except MailError as error:
            if error.permanent or error.retry_after:
                until = time.monotonic() + (error.retry_after or PAUSE)
                self._refused[mailbox.uuid] = endpoint.rev, until, error
            raise

    def _sign_in(self, opened: Credential) -> UpstreamServer:
        return UpstreamServer(smtp_relay.opened(opened.server, opened.secret, Policy.of(self._settings)))
