"""SMTP submission (RFC 6409, 5321, 4954, 3207): enough to log in and hand over one message."""

from __future__ import annotations

import base64
import re

from panel.errors import MailError
from panel.mail.echo import sasl_plain, without_echo
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused
from panel.mail.wire import Wire
from panel.secret import Secret

REPLY = re.compile(rb"([2-5][0-9]{2})([ -]|\Z)(.*)\Z", re.DOTALL)
OUR_NAME = b"[127.0.0.1]"  # RFC 5321, 4.1.4: who has no name that others can resolve says an address
MOST_LINES = 200  # of one reply


class Smtp:
    """The commands of one connection. Texts of the server come out without an echo of the password."""

    def __init__(self, wire: Wire, policy: Policy, username: str, secret: Secret) -> None:
        self.wire = wire
        self._policy = policy
        self._username = username
        self._secret = secret
        self.capabilities: dict[bytes, bytes] = {}

    # -- before and at the door ------------------------------------------------------

    def greeting(self) -> None:
        """Wait for the server to begin, and say EHLO. Raises MailError."""
        try:
            self._reply(b"220")
            self._hello()
        except ServerRefused as refused:
            raise MailError(
                self.wire.step,
                f"{self.wire.host} takes no mail now. It says: {refused.text}",
                "Try again later.",
            ) from None

    def _hello(self) -> None:
        _, *lines = self.command(b"EHLO " + OUR_NAME)
        pairs = (line.upper().partition(b" ") for line in lines)
        self.capabilities = {name: rest for name, _, rest in pairs}

    def starttls(self) -> None:
        """STARTTLS, and nothing sent in the clear is read afterwards. Raises MailError."""
        try:
            if b"STARTTLS" not in self.capabilities:
                raise ServerRefused("", "")
            self.command(b"STARTTLS")
        except ServerRefused:
            raise MailError(
                "tls",
                f"{self.wire.host} does not begin STARTTLS on this port. No password was sent.",
                "Choose TLS (port 465). If STARTTLS worked before, somebody may be changing the traffic.",
                permanent=True,
            ) from None
        if self.wire.unread:
            raise MailError(
                "tls",
                f"{self.wire.host} sent more before the encryption than it may. Nothing was sent to it.",
                "Somebody may be changing the traffic on its way. Choose TLS (port 465).",
                permanent=True,
            )
        self.capabilities = {}

    def login(self) -> None:
        """AUTH PLAIN where offered, else AUTH LOGIN; both in UTF-8. Raises ServerRefused, MailError."""
        if not self.capabilities:
            self._hello()  # what was offered before STARTTLS may be forged (RFC 3207, 4.2)
        offered = self.capabilities.get(b"AUTH", b"").split()
        if b"PLAIN" in offered:
            self.command(b"AUTH PLAIN", b"334")
            self.command(base64.b64encode(sasl_plain(self._username, self._secret)), b"235")
        elif b"LOGIN" in offered:
            self.command(b"AUTH LOGIN", b"334")
            self.command(base64.b64encode(self._username.encode()), b"334")
            self.command(base64.b64encode(self._secret.reveal_bytes()), b"235")
        else:
            raise MailError(
                "login",
                f"{self.wire.host} takes no password here: it offers neither AUTH PLAIN nor LOGIN.",
                "Ask its provider how mail programs log in.",
                permanent=True,
            )

    # -- commands and replies ------------------------------------------------------------

    def command(self, text: bytes, wanted: bytes = b"2") -> list[bytes]:
        """Send one command; the lines of the reply. `wanted`: how its code begins.

        Raises ServerRefused for another one, MailError for what is no SMTP.
        """
        self.wire.send(text + b"\r\n")
        return self._reply(wanted)

    def shown(self, text: str | bytes) -> str:
        """A text of the server, fit to be shown."""
        return without_echo(text, self._username, self._secret).strip()

    def _reply(self, wanted: bytes) -> list[bytes]:
        lines: list[bytes] = []
        while len(lines) < MOST_LINES:
            match = REPLY.match(self.wire.line())
            if match is None:
                break
            lines.append(match[3])
            if match[2] != b"-":
                code = match[1]
                if code.startswith(wanted):
                    return lines
                text = self.shown(b" ".join([code, *lines]))
                raise ServerRefused(code.decode(), text, passing=code.startswith(b"4"))
        raise MailError(
            self.wire.step,
            f"{self.wire.host} sent an answer that is no SMTP.",
            "Check the port: sending uses 465 (TLS) or 587 (STARTTLS).",
        )
