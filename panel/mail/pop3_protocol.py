"""POP3 (RFC 1939, 2449, 5034) as far as collecting mail needs it: commands, answers, messages.

Not poplib: docs/decisions/0033.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress

from panel.mail import throttling
from panel.mail.client import Mechanisms, ProtocolClient
from panel.mail.known_answers import MECHANISM, PASSWORD
from panel.mail.policy import Policy
from panel.mail.pop3_text import read_text
from panel.mail.refusal import ServerRefused
from panel.mail.sasl_oauth import TokenExchange
from panel.mail.server import MailServer
from panel.mail.wire import Wire
from panel.secret import Secret

LONGEST_STATUS = 1000  # bytes of a status line that are looked at; RFC 2449 allows 512
STRAY = 20  # lines that answer nothing and are passed over, where an answer is waited for
LONGEST_COMMAND = 255  # bytes, RFC 2449, 4
CODE = re.compile(rb"[ \t]*\[([A-Za-z0-9/_-]{1,40})[^\]]{0,200}\]")
TRANSIENT = ("IN-USE", "LOGIN-DELAY", "SYS/TEMP")  # RFC 2449, 3206
KNOWN_CODES = (*TRANSIENT, "SYS/PERM", "AUTH")


class Pop3(ProtocolClient):
    protocol, tls_port, starttls_port = "POP3", 995, 110

    def __init__(self, wire: Wire, policy: Policy, endpoint: MailServer, secret: Secret) -> None:
        super().__init__(wire, policy, endpoint, secret)
        self.login_delay = 0  # seconds that the server wants between two logins (RFC 2449, 6.5)
        self._ascii_command = True  # USER and PASS
        self._capabilities: dict[bytes, bytes] | None = None

    # -- until logged in -------------------------------------------------------------

    def greeting(self) -> None:
        """Wait for the server to begin. Raises MailError where it refuses or speaks no POP3."""
        line = self.wire.line()[:LONGEST_STATUS]
        if line[:3].upper() == b"+OK":
            return
        if line[:4].upper() != b"-ERR":
            raise self.not_greeted(None)
        self.check_refusal(line[4:])
        raise self.not_greeted(self.wire.server_text(line[4:]))

    def capabilities(self) -> dict[bytes, bytes]:
        """What the server can do, by names in upper case, and what stands behind each name.

        Empty where it does not report them: then what RFC 1939 defines is tried.
        """
        if self._capabilities is None:
            self._capabilities = {}
            with suppress(ServerRefused):
                for line in self.multiline(b"CAPA"):
                    name, *rest = line[:LONGEST_STATUS].upper().split() or [b""]
                    before = self._capabilities.get(name, b"")[:LONGEST_STATUS]
                    self._capabilities[name] = b" ".join([before, *rest]).strip()  # SASL on two lines
            self.login_delay = _seconds(self._capabilities.get(b"LOGIN-DELAY", b""))
        return self._capabilities

    def may(self, name: bytes) -> bool:
        """Whether it is worth trying: the server offers it, or reports no capabilities at all."""
        offered = self.capabilities()
        return not offered or name in offered

    def _request_starttls(self) -> None:
        self.command(b"STLS")  # RFC 2595

    def _forget_capabilities(self) -> None:
        self._capabilities = None

    def login(self) -> None:
        super().login()
        self._forget_capabilities()  # RFC 2449, 5

    def _mechanisms(self) -> Mechanisms:
        offered = self.capabilities().get(b"SASL", b"").split()
        mechanisms: Mechanisms = {}
        plain, pair = self._plain_response(), self._login_responses()
        at_once = b"AUTH PLAIN " + plain
        if b"PLAIN" in offered:
            mechanisms["PLAIN"] = lambda: self._authenticate(b"AUTH PLAIN", plain)
            if len(at_once) + 2 <= LONGEST_COMMAND:  # RFC 5034, 4, for servers that refuse it without
                mechanisms["PLAIN in one line"] = lambda: self._send_credentials(at_once)
        if b"LOGIN" in offered:
            mechanisms["LOGIN"] = lambda: self._authenticate(b"AUTH LOGIN", *pair)
        if self._fits_ascii():
            mechanisms["USER and PASS"] = self._user_and_pass
        if not self.capabilities():
            mechanisms["PLAIN"] = lambda: self._authenticate(b"AUTH PLAIN", plain)
        return mechanisms

    def _authenticate(self, command: bytes, *responses: bytes) -> None:
        self.wire.send(command + b"\r\n")
        for response in responses:
            line = self._answer()
            if not line.startswith(b"+") or line[:3].upper() == b"+OK":
                self._completed(line)
                raise self.protocol_violation()
            self.wire.send_credentials(response + b"\r\n")
        self._status()

    def _offered(self) -> Collection[str]:
        return self.capabilities().get(b"SASL", b"").decode("latin-1").split()

    def _exchange(self, mechanism: str, exchange: TokenExchange) -> None:
        """In two steps always: Exchange ends the connection for a long line."""
        self.wire.send(b"AUTH %s\r\n" % mechanism.encode())
        while (line := self._answer()).startswith(b"+") and line[:3].upper() != b"+OK":
            self._answer_challenge(exchange, line[1:])
        self._completed(line)

    def _user_and_pass(self) -> None:
        self._send_credentials(b"USER " + self._username.encode())
        self._send_credentials(b"PASS " + self._secret.reveal_bytes())

    def _send_credentials(self, line: bytes) -> None:
        self.wire.send_credentials(line + b"\r\n")
        self._status()

    def _is_about_mechanism(self, refused: ServerRefused, *, was_sent: bool) -> bool:
        if not was_sent:
            return refused.code in ("", "AUTH")
        return not refused.code and refused.mentions(MECHANISM) and not refused.mentions(PASSWORD)

    # -- commands and answers ----------------------------------------------------------

    def command(self, text: bytes) -> bytes:
        """Send one command; what the server writes behind +OK. Raises ServerRefused, MailError."""
        self.wire.send(text + b"\r\n")
        return self._status()

    def multiline(self, text: bytes) -> Iterator[bytes]:
        """Send one command; yield the lines of its answer. Raises as `command`, or for too much of them."""
        self.command(text)
        size = 0
        while (line := self.wire.line()) != b".":
            size += len(line) + 2
            if size > self._policy.max_answer:
                raise self.too_much()
            yield line.removeprefix(b".")

    def message(self) -> tuple[bytes, int]:
        """The answer to a RETR or TOP that was sent: the text byte for byte, and its size.

        A text larger than the policy's is read on and thrown away, up to twice
        that size: its size is returned, and no bytes. Raises ServerRefused, Endless, MailError.
        """
        self._status()
        return read_text(self.wire, self._policy.max_message, 2 * self._policy.max_message)

    def _status(self) -> bytes:
        return self._completed(self._answer())

    def _answer(self) -> bytes:
        """The next line that answers, as far as it is looked at; what answers nothing is passed over."""
        for _ in range(STRAY):
            line = self.wire.line()[:LONGEST_STATUS]
            if line.startswith((b"+", b"-")):
                return line
        raise self.protocol_violation()

    def _completed(self, line: bytes) -> bytes:
        if line[:3].upper() == b"+OK":
            return line[3:].strip()
        if not line.startswith(b"-"):
            raise self.protocol_violation()
        rest = line[4:] if line[:4].upper() == b"-ERR" else line[1:]
        self.check_refusal(rest)
        code = CODE.match(rest)
        name = code[1].decode().upper() if code else ""
        text = rest[code.end() :] if code else rest
        known = name if name in KNOWN_CODES else ""  # another may be anything, a password too
        transient = name in TRANSIENT if name else None
        raise ServerRefused(known, self.wire.server_text(text), transient=transient, raw=text)


def _seconds(announced: bytes) -> int:
    """The number that LOGIN-DELAY announces, a day at most; 0 where it is none."""
    digits = announced.split(b" ")[0][:6]
    return min(int(digits), throttling.LONGEST) if digits.isdigit() else 0
