"""POP3 (RFC 1939, 2449, 5034) as far as collecting mail needs it: commands, answers, messages.

A reader of its own for the reasons of `imap_protocol`: what a server announces is
checked before memory is taken for it, and commands can be sent ahead (pipelined).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from panel.errors import MailError
from panel.mail import throttling
from panel.mail.echo import sasl_plain, without_echo
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused
from panel.mail.wire import Wire
from panel.secret import Secret

CODE = re.compile(rb"\s*\[([A-Za-z0-9/-]+)\]")
PASSING = ("IN-USE", "LOGIN-DELAY", "SYS/TEMP", "SYS/PERM")  # RFC 2449, 3206: not the password's fault


class Pop3:
    """The commands of one connection. Texts of the server come out without an echo of the password."""

    def __init__(self, wire: Wire, policy: Policy, username: str, secret: Secret) -> None:
        self.wire = wire
        self._policy = policy
        self._username = username
        self._secret = secret
        self.logged_in = False
        self.login_delay = 0  # seconds that the server wants between two logins (RFC 2449, 6.5)
        self._encrypted = False
        self._capabilities: dict[bytes, bytes] | None = None

    # -- before and at the door ------------------------------------------------------

    def greeting(self) -> None:
        """Wait for the server to begin. Raises MailError when it does so in no way of POP3."""
        line = self.wire.line()
        if line.upper().startswith(b"+OK"):
            return
        refused = line.upper().startswith(b"-ERR")
        if refused:
            self._obey(line[4:])
        said = f" It says: {self.shown(line[4:])}" if refused else ""
        raise MailError(
            self.wire.step,
            f"{self.wire.host} did not greet as a POP3 server.{said}",
            "Try again later." if refused else "Check the port: POP3 uses 995 (TLS) or 110 (STARTTLS).",
        )

    def capabilities(self) -> dict[bytes, bytes]:
        """What the server can do, by names in upper case, and what stands behind each name."""
        if self._capabilities is None:
            try:
                lines = list(self.multiline(b"CAPA"))
            except ServerRefused:
                lines = []
            pairs = (line.upper().partition(b" ") for line in lines)
            self._capabilities = {name: rest for name, _, rest in pairs}
            self.login_delay = _seconds(self._capabilities.get(b"LOGIN-DELAY", b""))
        return self._capabilities

    def starttls(self) -> None:
        """STLS (RFC 2595), and nothing sent in the clear is read afterwards. Raises MailError."""
        try:
            self.command(b"STLS")
        except ServerRefused:
            raise MailError(
                "tls",
                f"{self.wire.host} does not begin STARTTLS on this port. No password was sent.",
                "Choose TLS (port 995). If STARTTLS worked before, somebody may be changing the traffic.",
                permanent=True,
            ) from None
        if self.wire.unread:
            raise MailError(
                "tls",
                f"{self.wire.host} sent more before the encryption than it may. Nothing was sent to it.",
                "Somebody may be changing the traffic on its way. Choose TLS (port 995).",
                permanent=True,
            )
        self._capabilities = None

    def login(self) -> None:
        """SASL PLAIN in UTF-8 where offered, else USER and PASS if both are ASCII.

        Raises ServerRefused, or MailError when no way of logging in fits.
        """
        if b"PLAIN" in self.capabilities().get(b"SASL", b"").split():
            self.wire.send(b"AUTH PLAIN\r\n")
            self._wait_for_go()
            self.wire.send(base64.b64encode(sasl_plain(self._username, self._secret)) + b"\r\n")
            self._status()
        else:
            self._login_plainly()
        self.logged_in = True
        self._capabilities = None  # RFC 2449, 5: what was offered may differ now

    def _login_plainly(self) -> None:
        words = (self._username, self._secret.reveal())
        if not all(word.isascii() and "\r" not in word and "\n" not in word for word in words):
            raise MailError(
                "login",
                f"{self.wire.host} takes only letters of ASCII, in username and password: "
                "it offers no SASL PLAIN.",
                "Use IMAP, or ask its provider how mail programs log in.",
                permanent=True,
            )
        self.command(b"USER " + words[0].encode())
        self.command(b"PASS " + words[1].encode())

    def _wait_for_go(self) -> None:
        line = self.wire.line()
        if not line.startswith(b"+ ") and line != b"+":
            self._completed(line)
            raise self.nonsense()

    # -- commands and answers ----------------------------------------------------------

    def command(self, text: bytes) -> bytes:
        """Send one command; what the server says behind +OK. Raises ServerRefused, MailError."""
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
        """The answer to a RETR that was sent: the message, with CRLF at the end of each line, and its size.

        A message larger than the policy's is read on and thrown away, up to twice
        that size: its size is returned, and no bytes. Raises ServerRefused, MailError.
        """
        self._status()
        lines: list[bytes] = []
        size = 0
        while (line := self.wire.line()) != b".":
            size += len(line) + 2
            if size > 2 * self._policy.max_message:
                raise self.too_much()
            if size > self._policy.max_message:
                lines.clear()
            else:
                lines.append(line.removeprefix(b"."))
        lines.append(b"")
        return (b"\r\n".join(lines) if size <= self._policy.max_message else b""), size

    def shown(self, text: str | bytes) -> str:
        """A text of the server, fit to be shown."""
        return without_echo(text, self._username, self._secret).strip()

    def nonsense(self) -> MailError:
        """The server does not speak POP3."""
        return MailError(
            self.wire.step,
            f"{self.wire.host} sent an answer that is no POP3.",
            "Check the name and the port, or try again later.",
        )

    def too_much(self) -> MailError:
        """The server sends without end."""
        return MailError(
            self.wire.step,
            f"{self.wire.host} answers with more than can be true.",
            "Check the name of the server; if it is right, its provider must look into this.",
        )

    def _status(self) -> bytes:
        return self._completed(self.wire.line())

    def _completed(self, line: bytes) -> bytes:
        word, _, rest = line.partition(b" ")
        if word.upper() == b"+OK":
            return rest
        if word.upper() != b"-ERR":
            raise self.nonsense()
        self._obey(rest)
        code = CODE.match(rest)
        name = self.shown(code[1]).upper() if code else ""
        text = self.shown(rest[code.end() :] if code else rest)
        raise ServerRefused(name, text, passing=name in PASSING)

    def _obey(self, text: bytes) -> None:
        """Raise MailError where the server wants to be left alone: nothing more is asked, not even QUIT."""
        seconds = throttling.suggested(text)
        if seconds is not None:
            self.logged_in = False
            raise throttling.asked_to_wait(self.wire.step, self.wire.host, seconds)


def _seconds(announced: bytes) -> int:
    """The number that LOGIN-DELAY announces, a day at most; 0 where it is none."""
    digits = announced.split(b" ")[0][:6]
    return min(int(digits), throttling.LONGEST) if digits.isdigit() else 0
