"""Sending a message by SMTP submission (RFC 6409, 5321, 4954, 3207); and probing whether that works.

Commands and replies are the standard library's, over our `Wire`: its caps and its deadline hold.
"""

from __future__ import annotations

import io
import re
import smtplib
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import deepcopy
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate, make_msgid

from panel.errors import BadInput, MailError
from panel.mail.client import Mechanisms, ProtocolClient
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused, failure, recognised
from panel.mail.sasl_oauth import TokenExchange
from panel.mail.server import MailServer, address_to_wire
from panel.mail.session import MailSession, ProbeStep, interactive
from panel.mail.smtp_data import as_data
from panel.mail.wire import Wire
from panel.secret import Secret

ENHANCED = re.compile(rb"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])")  # RFC 3463
OUR_NAME = "[127.0.0.1]"  # RFC 5321, 4.1.4: a client without a resolvable name sends an address
MOST_LINES = 200  # of one reply
MECHANISM = frozenset({"500", "501", "502", "503", "504", "538"})  # about the command, not the password


class _Connection:
    """A `Wire` in the place of the socket, and of its file, that smtplib works with."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lines = 0  # read since something was sent

    def sendall(self, data: bytes) -> None:
        self._lines = 0
        self._wire.send(data)

    def makefile(self, mode: str) -> _Connection:
        return self

    def readline(self, size: int) -> bytes:
        """The next line that is not blank, `size` bytes of it."""
        while self._lines < MOST_LINES:
            self._lines += 1
            if line := self._wire.line().strip():
                return line[:size]
        raise smtplib.SMTPException

    def close(self) -> None:
        """The session closes the wire."""


class Smtp(ProtocolClient):
    protocol, tls_port, starttls_port = "SMTP", 465, 587

    def __init__(self, wire: Wire, policy: Policy, endpoint: MailServer, secret: Secret) -> None:
        super().__init__(wire, policy, endpoint, secret)
        self._smtp = smtplib.SMTP(local_hostname=OUR_NAME)
        self._smtp.sock = _Connection(wire)  # type: ignore[assignment]
        self._smtp.command_encoding = "utf-8"

    def greeting(self) -> None:
        """Wait for the server to begin, and send EHLO. Raises MailError."""
        try:
            self._accepted(self._smtp.getreply, "220")
            self._hello()
        except ServerRefused as refused:
            raise self.not_greeted(refused.text) from None

    def _hello(self) -> None:
        self._accepted(self._smtp.ehlo)

    def offers(self, extension: str) -> bool:
        """Whether the reply to EHLO named `extension`."""
        return self._smtp.has_extn(extension)

    def parameter(self, extension: str) -> str:
        """What stands behind the name of `extension` in the reply to EHLO; "" if nothing does."""
        return self._smtp.esmtp_features.get(extension, "")

    def _request_starttls(self) -> None:
        if not self.offers("starttls"):
            raise ServerRefused("", "")
        self.command("STARTTLS")

    def _forget_capabilities(self) -> None:
        self._smtp.esmtp_features = {}

    def _mechanisms(self) -> Mechanisms:
        offered = self._offered()
        plain = self._plain_response().decode()
        name, password = (response.decode() for response in self._login_responses())
        mechanisms: Mechanisms = {}
        if "PLAIN" in offered:
            mechanisms["PLAIN"] = lambda: self._authenticate("AUTH PLAIN", plain)
            mechanisms["PLAIN in one line"] = lambda: self._authenticate(f"AUTH PLAIN {plain}")
        if "LOGIN" in offered:
            mechanisms["LOGIN"] = lambda: self._authenticate("AUTH LOGIN", name, password)
        return mechanisms

    def _authenticate(self, *lines: str) -> None:
        """AUTH: a response for each 334, and 235 at last (RFC 4954, 4)."""
        for place, line in enumerate(lines, 1):
            if place > 1 or len(lines) == 1:
                self.wire.credentials_sent += 1
            self.command(line, "334" if place < len(lines) else "235")

    def _offered(self) -> Collection[str]:
        if not self._smtp.esmtp_features:
            self._hello()  # what was offered before STARTTLS may be forged (RFC 3207, 4.2)
        return self._smtp.esmtp_features.get("auth", "").upper().split()

    def _exchange(self, mechanism: str, exchange: TokenExchange) -> None:
        """In two steps always: lines of commands are short (RFC 4954, 4)."""
        self.write(f"AUTH {mechanism}")
        while (reply := self.reply())[0] == 334:
            self._answer_challenge(exchange, reply[1])
        self._require(reply, "235")

    def _is_about_mechanism(self, refused: ServerRefused, *, was_sent: bool) -> bool:
        return not was_sent or (refused.code[:3] in MECHANISM and recognised(refused) is None)

    def write(self, line: str) -> None:
        """Send one command, which holds no line end, for `reply`."""
        self._smtp.putcmd(line)

    def command(self, line: str, wanted: str = "2") -> None:
        """Send one command. `wanted`: how the code of the reply begins.

        Raises ServerRefused for another one, MailError for what is no SMTP.
        """
        self._accepted(lambda: self._smtp.docmd(line), wanted)

    def data(self, message: bytes) -> None:
        """Hand over a message, whatever its line ends are. Raises as `command`."""
        self.command("DATA", "354")
        for piece in as_data(io.BytesIO(message)):
            self.wire.send(piece)
        self.command(".")

    def reply(self, read: Callable[[], tuple[int, bytes]] | None = None) -> tuple[int, bytes]:
        """The next reply: its code, and the text of its lines. Raises MailError for what is no SMTP."""
        try:
            number, text = (read or self._smtp.getreply)()
        except smtplib.SMTPException:
            raise self.protocol_violation() from None
        if not 200 <= number < 600:
            raise self.protocol_violation()
        return number, text

    def _accepted(self, read: Callable[[], tuple[int, bytes]], wanted: str = "2") -> None:
        self._require(self.reply(read), wanted)

    def _require(self, reply: tuple[int, bytes], wanted: str) -> None:
        number, text = reply
        code = str(number)
        if code.startswith(wanted):
            return
        if number < 500:
            self.check_refusal(text)
        enhanced = ENHANCED.match(text)
        codes = f"{code} {enhanced[0].decode()}" if enhanced else code  # numbers cannot hold a password
        raw = b"%d %b" % (number, text.replace(b"\n", b" "))
        raise ServerRefused(codes, self.wire.server_text(raw), transient=number < 500, raw=raw)


class SmtpSession(MailSession[Smtp]):
    """Logged in to hand over one message."""

    client_type = Smtp

    def send(self, message: EmailMessage, sender: str, recipients: Sequence[str]) -> None:
        """Hand `message` over. Raises MailError."""
        smtp = self._client("send")
        try:
            data, options, envelope = _encoded(smtp, message, [sender, *recipients])
            smtp.command(f"MAIL FROM:<{envelope[0]}>{options}")
            for recipient in envelope[1:]:
                smtp.command(f"RCPT TO:<{recipient}>")
            smtp.data(data)
        except ServerRefused as refused:
            message_refused = f"{smtp.wire.host} did not take the message."
            remedy = "Check whether this mailbox may send from its address."
            raise failure(refused, smtp.wire, message_refused, remedy) from None
        except BadInput as error:
            raise MailError("send", error.message, "Correct it.", permanent=True) from None


def probe(endpoint: MailServer, secret: Secret, policy: Policy) -> Iterator[ProbeStep]:
    """As `MailSession.probe`: name, connect, tls, login."""
    return SmtpSession(endpoint, secret, interactive(policy)).probe()


def send(
    endpoint: MailServer,
    secret: Secret,
    policy: Policy,
    message: EmailMessage,
    sender: str,
    recipients: Sequence[str],
) -> None:
    """Hand `message` over. A recipient that is refused refuses the whole message.

    Raises MailError; then no recipient has it, or the connection broke at the very end. What
    the server does after it took the message is no error.
    """
    with SmtpSession(endpoint, secret, interactive(policy)) as session:
        session.send(message, sender, recipients)


def probe_message(address: str) -> EmailMessage:
    """What is sent to probe a mailbox: to itself. Raises BadInput for what cannot be an address."""
    message = EmailMessage()
    domain = address_to_wire(address).rpartition("@")[2]
    message["From"] = message["To"] = address
    message["Subject"] = "Test message from Mailkeep"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence note answers it
    message.set_content("Mailkeep can send mail through this mailbox.\n")
    return message


def _encoded(smtp: Smtp, message: EmailMessage, addresses: Sequence[str]) -> tuple[bytes, str, list[str]]:
    """The message; the options of MAIL FROM; the addresses.

    The body is in 7 bits whatever is in it, which every server takes. Raises BadInput, MailError.
    """
    envelope = [address_to_wire(address) for address in addresses]
    if all(address.isascii() for address in envelope):
        policy, options, message = SMTP, "", _with_wire_addresses(message)
    elif smtp.offers("smtputf8"):
        policy, options, envelope = SMTPUTF8, " SMTPUTF8", list(addresses)
    else:
        raise smtp.wire.error(
            "takes only addresses whose part before the @ is in ASCII.",
            "Send from and to an address without such letters.",
            permanent=True,
        )
    return message.as_bytes(policy=policy.clone(cte_type="7bit")), options, envelope


def _with_wire_addresses(message: EmailMessage) -> EmailMessage:
    """The message with the domains in its address fields in ASCII too."""
    changed = deepcopy(message)
    for name in ("From", "To", "Cc"):
        field = message[name]
        if field is not None and not str(field).isascii():
            people = [
                Address(one.display_name, one.username, address_to_wire(one.addr_spec).rpartition("@")[2])
                for one in field.addresses
            ]
            changed.replace_header(name, ", ".join(map(str, people)))
    return changed
