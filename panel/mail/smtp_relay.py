"""Relaying the transactions of an SMTP client of ours: its commands, and the codes of the provider's replies.

Nothing is queued and nothing rewritten: the client learns what became of its message. A
refusal is a `Reply`, not an error. The provider's words are dropped: it has seen the mailbox's
password or token, and the client must not (docs/decisions/0027).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from panel.errors import BadInput, MailError
from panel.mail.policy import Policy
from panel.mail.server import MailServer, address_to_wire
from panel.mail.session import MailSession
from panel.mail.smtp import ENHANCED, Smtp
from panel.mail.smtp_data import ByteSource, as_data
from panel.secret import Secret

FINAL_REPLY = 600.0  # seconds that a server may think about a whole message (RFC 5321, 4.5.3.2.6)
SIZE = re.compile(r"[0-9]{1,15}\Z")

Body = Literal["7BIT", "8BITMIME"]


@dataclass(frozen=True)
class Reply:
    """What answered a command: its code, and the enhanced one (RFC 3463), such as 5.1.1, or "".

    `ours`: why the provider was not asked, where it could only have refused; else "".
    """

    code: int
    enhanced: str = ""
    ours: str = ""

    @property
    def ok(self) -> bool:
        """Whether the command was granted."""
        return 200 <= self.code < 300


class SmtpRelay(MailSession[Smtp]):
    """Logged in inside `with` (or from `opened` to `close`), for one transaction after the other.

    Every method raises MailError where the connection breaks or no SMTP comes back, never for a
    refusal. The session is of no use then. With `reason` `unanswered` the message was sent to its
    end and the reply never came: it may be on its way. With any other the provider has not taken it.
    """

    client_type = Smtp

    @property
    def largest(self) -> int | None:
        """The bytes of a message that the provider takes (SIZE, RFC 1870); None where it names no limit."""
        size = self._client("send").parameter("size").strip()
        return int(size) or None if SIZE.match(size) else None

    def offers(self, extension: str) -> bool:
        """Whether the provider's reply to EHLO named `extension`, such as SMTPUTF8."""
        return self._client("send").offers(extension)

    def mail(
        self, sender: str, *, size: int | None = None, body: Body = "7BIT", smtputf8: bool = False
    ) -> Reply:
        """Begin a transaction. `sender` without brackets, "" for the null one; `size` in bytes if known."""
        largest = self.largest
        if size is not None and largest is not None and size > largest:
            return Reply(552, "5.3.4", "Message is larger than the provider takes")
        if body == "8BITMIME" and not self.offers("8BITMIME"):
            return Reply(554, "5.6.3", "The provider takes no 8-bit message")
        if smtputf8 and not self.offers("SMTPUTF8"):
            return Reply(550, "5.6.7", "The provider takes no internationalized message")
        path = _path(sender, smtputf8) if sender else ""
        if path is None:
            return Reply(553, "5.1.7", "Sender is not an address that can be relayed")
        options = [f"SIZE={size}"] if size is not None and self.offers("SIZE") else []
        options += ["BODY=8BITMIME"] if body == "8BITMIME" else []
        options += ["SMTPUTF8"] if smtputf8 else []
        return self._command(" ".join([f"MAIL FROM:<{path}>", *options]))

    def rcpt(self, recipient: str, *, smtputf8: bool = False) -> Reply:
        """Name one recipient, without brackets."""
        path = _path(recipient, smtputf8)
        if path is None:
            return Reply(553, "5.1.3", "Recipient is not an address that can be relayed")
        return self._command(f"RCPT TO:<{path}>")

    def data(self, message: ByteSource) -> Reply:
        """Send the message, read in pieces from where the file stands, line ends made CRLF.

        An error of reading ends the session before the message's end: nobody has it then.
        """
        begun = self._command("DATA")
        smtp = self._client("send")
        if begun.code < 400 and begun.code != 354:  # of another command: nobody has the message
            self.close()
            raise smtp.protocol_violation()
        if begun.code != 354:
            return begun
        try:
            for piece in as_data(message):
                smtp.wire.send(piece)
        except BaseException as error:
            smtp.logged_in = False  # QUIT would become a part of the message
            reply = self._early_reply() if isinstance(error, MailError) else None
            self.close()
            if reply is None:
                raise
            return reply
        return self._final_reply(smtp)

    def reset(self) -> Reply:
        """Drop the transaction."""
        return self._command("RSET")

    def _final_reply(self, smtp: Smtp) -> Reply:
        smtp.wire.allow_silence(FINAL_REPLY)
        try:
            smtp.wire.send(b".\r\n")
            return self._reply()
        except MailError as error:
            error.reason = "unanswered"
            raise
        finally:
            smtp.wire.allow_silence(self._policy.idle_timeout)

    def _early_reply(self) -> Reply | None:
        """The refusal of a server that hung up before the message was sent to its end."""
        with suppress(MailError):
            reply = self._reply()
            return reply if reply.code >= 400 else None
        return None

    def _command(self, line: str) -> Reply:
        self._client("send").write(line)
        return self._reply()

    def _reply(self) -> Reply:
        code, text = self._client("send").reply()
        found = ENHANCED.match(text)
        return Reply(code, found[0].decode() if found else "")


def opened(server: MailServer, secret: Secret, policy: Policy) -> SmtpRelay:
    """A relay that is logged in; the caller closes it. Raises MailError as `MailSession` does."""
    return SmtpRelay(server, secret, policy).__enter__()


def _path(address: str, smtputf8: bool) -> str | None:
    """The address as it may stand between brackets; None for what would end them, or cannot be sent."""
    try:
        wire = address_to_wire(address)
    except BadInput:
        return None
    if smtputf8:
        return address
    return wire if wire.isascii() else None
