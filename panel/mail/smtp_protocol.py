"""SMTP submission (RFC 6409, 5321, 4954, 3207): enough to log in and hand over one message."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from panel.errors import MailError
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused, recognised, refused_mechanisms
from panel.mail.sasl import sasl_plain
from panel.mail.wire import Wire
from panel.secret import Secret

REPLY = re.compile(rb"([2-5][0-9]{2})(?![0-9])(-?)", re.DOTALL)
ENHANCED = re.compile(rb"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])")  # RFC 3463
OUR_NAME = b"[127.0.0.1]"  # RFC 5321, 4.1.4: who has no name that others can resolve says an address
MOST_LINES = 200  # of one reply
MECHANISM = frozenset({"500", "501", "502", "503", "504", "538"})  # about the command, not the password

Way = Callable[[], None]


class Smtp:
    """The commands of one connection."""

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
                f"{self.wire.host} takes no mail now.{refused.said}",
                "Try again later.",
            ) from None

    def _hello(self) -> None:
        _, *lines = self.command(b"EHLO " + OUR_NAME)
        self.capabilities = {}
        for line in lines:
            plain = line.replace(b"=", b" ", 1) if line[:5].upper() == b"AUTH=" else line  # before RFC 2554
            name, *rest = plain.upper().split(None, 1) or [b""]
            self.capabilities[name] = b" ".join([self.capabilities.get(name, b""), *rest])  # of several lines

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
        """AUTH PLAIN or LOGIN, in UTF-8, by the first way that the server does not refuse as such.

        A refused password is never sent again. Raises ServerRefused, MailError.
        """
        if not self.capabilities:
            self._hello()  # what was offered before STARTTLS may be forged (RFC 3207, 4.2)
        ways, refused = self._ways(), None
        for way in ways.values():
            before = self.wire.credentials_sent
            try:
                return way()
            except ServerRefused as refusal:
                was_sent = self.wire.credentials_sent > before
                about_it = refusal.code[:3] not in MECHANISM or recognised(refusal) is not None
                if refusal.transient or (was_sent and about_it):
                    raise
                refused = refusal
        if refused is not None:
            raise refused_mechanisms(refused, self.wire.host, list(ways))
        raise MailError(
            "login",
            f"{self.wire.host} takes no password here: it offers neither AUTH PLAIN nor LOGIN.",
            "Ask its provider how mail programs log in.",
            permanent=True,
        )

    def _ways(self) -> dict[str, Way]:
        """The ways that are offered, each tried at most once, in this order."""
        offered = self.capabilities.get(b"AUTH", b"").split()
        plain = base64.b64encode(sasl_plain(self._username, self._secret))
        name = base64.b64encode(self._username.encode())
        password = base64.b64encode(self._secret.reveal_bytes())
        ways: dict[str, Way] = {}
        if b"PLAIN" in offered:
            ways["PLAIN"] = lambda: self._authenticate(b"AUTH PLAIN", plain)
            ways["PLAIN in one line"] = lambda: self._authenticate(b"AUTH PLAIN " + plain)
        if b"LOGIN" in offered:
            ways["LOGIN"] = lambda: self._authenticate(b"AUTH LOGIN", name, password)
        return ways

    def _authenticate(self, command: bytes, *responses: bytes) -> None:
        """AUTH: a response for each 334, and 235 at last (RFC 4954, 4)."""
        for place, line in enumerate((command, *responses)):
            wanted = b"334" if place < len(responses) else b"235"
            self.command(line, wanted, credentials=place > 0 or not responses)

    # -- commands and replies ------------------------------------------------------------

    def command(self, text: bytes, wanted: bytes = b"2", *, credentials: bool = False) -> list[bytes]:
        """Send one command; the lines of the reply. `wanted`: how its code begins.

        Raises ServerRefused for another one, MailError for what is no SMTP.
        """
        if credentials:
            self.wire.send_credentials(text + b"\r\n")
        else:
            self.wire.send(text + b"\r\n")
        return self._reply(wanted)

    def _reply(self, wanted: bytes) -> list[bytes]:
        lines: list[bytes] = []
        for _ in range(MOST_LINES):
            line = self.wire.line().strip()
            if not line:
                continue
            match = REPLY.match(line)
            if match is None:
                break
            lines.append(line[match.end() :].strip())
            if not match[2]:
                if match[1].startswith(wanted):
                    return lines
                raise self._refused(match[1], lines)
        raise MailError(
            self.wire.step,
            f"{self.wire.host} sent an answer that is no SMTP.",
            "Check the port: sending uses 465 (TLS) or 587 (STARTTLS).",
        )

    def _refused(self, code: bytes, lines: list[bytes]) -> ServerRefused:
        """The refusal, by its code and the enhanced one, numbers that cannot hold what was sent."""
        enhanced = ENHANCED.match(lines[0])
        codes = b" ".join([code, enhanced[0]] if enhanced else [code])
        text = b" ".join([code, *lines])
        return ServerRefused(codes.decode(), self.wire.words(text), transient=code.startswith(b"4"), raw=text)
