"""POP3 (RFC 1939, 2449, 5034) as far as collecting mail needs it: commands, answers, messages.

A reader of its own for the reasons of `imap_protocol`: what a server announces is
checked before memory is taken for it, and commands can be sent ahead (pipelined).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from panel.errors import MailError
from panel.mail import throttling
from panel.mail.policy import Policy
from panel.mail.pop3_text import read_text
from panel.mail.refusal import ServerRefused
from panel.mail.sasl import sasl_plain
from panel.mail.wire import Wire
from panel.secret import Secret

LONGEST_STATUS = 1000  # bytes of a status line that are looked at; RFC 2449 allows 512
STRAY = 20  # lines that answer nothing and are passed over, where an answer is waited for
LONGEST_COMMAND = 255  # bytes, RFC 2449, 4
CODE = re.compile(rb"[ \t]*\[([A-Za-z0-9/_-]{1,40})[^\]]{0,200}\]")
TRANSIENT = ("IN-USE", "LOGIN-DELAY", "SYS/TEMP")  # RFC 2449, 3206
NOT_THE_PASSWORD = (*TRANSIENT, "SYS/PERM")
KNOWN_CODES = (*NOT_THE_PASSWORD, "AUTH")
# What servers without response codes say of a mailbox that cannot be opened now, and of a mechanism.
BUSY = re.compile(
    rb"mail(?:box|drop) (?:is )?(?:already )?locked|lock busy|in use|\bbusy\b|temporar|try later|again later"
    rb"|unavailable|too many (?:connections|sessions)",
    re.IGNORECASE,
)
MECHANISM = re.compile(
    rb"mechanism|authentication (?:type|method)|\bcommand\b|unsupported|not (?:supported|implemented)|syntax",
    re.IGNORECASE,
)


class _NotThisWay(Exception):
    """The server does not take this way of logging in. It says nothing of the password."""


class Pop3:
    """The commands of one connection."""

    def __init__(self, wire: Wire, policy: Policy, username: str, secret: Secret) -> None:
        self.wire = wire
        self._policy = policy
        self._username = username
        self._secret = secret
        self.logged_in = False
        self.login_delay = 0  # seconds that the server wants between two logins (RFC 2449, 6.5)
        self._capabilities: dict[bytes, bytes] | None = None
        self._refusal = b""  # the last one, as it came

    # -- before and at the door ------------------------------------------------------

    def greeting(self) -> None:
        """Wait for the server to begin. Raises MailError when it does so in no way of POP3."""
        line = self.wire.line()[:LONGEST_STATUS]
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
        """What the server can do, by names in upper case, and what stands behind each name.

        Nothing where it does not say: then whoever asks tries what RFC 1939 knows.
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
        """Whether it is worth trying: the server offers it, or says nothing at all of what it offers."""
        offered = self.capabilities()
        return not offered or name in offered

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

    # -- logging in --------------------------------------------------------------------

    def login(self) -> None:
        """Each way that is offered, until one is not refused as a way: SASL PLAIN, LOGIN, USER and PASS.

        Raises ServerRefused where the server refuses username or password, and
        MailError where no way fits, or the mailbox cannot be opened for another reason.
        """
        try:
            if not any(self._logged_in_by(way) for way in self._ways()):
                raise self._no_way()
        except ServerRefused as refused:
            if refused.code in NOT_THE_PASSWORD or refused.transient:
                raise self._not_opened(refused) from None
            raise
        self.logged_in = True
        self._capabilities = None  # RFC 2449, 5: what was offered may differ now

    def _ways(self) -> Iterator[Callable[[], None]]:
        offered = self.capabilities().get(b"SASL", b"").split()
        if b"PLAIN" in offered:
            yield self._plain
            yield self._plain_at_once
        if b"LOGIN" in offered:
            yield self._sasl_login
        if self._fit_for_pass():
            yield self._user_and_pass
        if not self.capabilities():
            yield self._plain

    def _logged_in_by(self, way: Callable[[], None]) -> bool:
        try:
            way()
        except _NotThisWay:
            return False
        return True

    def _plain(self) -> None:
        self._begin_sasl(b"AUTH PLAIN")
        self._prove(base64.b64encode(sasl_plain(self._username, self._secret)))

    def _plain_at_once(self) -> None:
        """With an initial response (RFC 5034, 4), for servers that refuse it without."""
        command = b"AUTH PLAIN " + base64.b64encode(sasl_plain(self._username, self._secret))
        if len(command) + 2 > LONGEST_COMMAND:
            raise _NotThisWay
        self._prove(command)

    def _sasl_login(self) -> None:
        self._begin_sasl(b"AUTH LOGIN")
        self.wire.send(base64.b64encode(self._username.encode()) + b"\r\n")
        self._wait_for_go()
        self._prove(base64.b64encode(self._secret.reveal_bytes()))

    def _user_and_pass(self) -> None:
        try:
            self.command(b"USER " + self._username.encode())
        except ServerRefused as refused:
            if self._of_the_way(refused):
                raise _NotThisWay from None
            raise
        self.wire.send_credentials(b"PASS " + self._secret.reveal_bytes() + b"\r\n")
        self._status()

    def _begin_sasl(self, command: bytes) -> None:
        self.wire.send(command + b"\r\n")
        try:
            self._wait_for_go()
        except ServerRefused as refused:  # nothing was sent yet that could be wrong
            if refused.code in NOT_THE_PASSWORD:
                raise
            raise _NotThisWay from None

    def _prove(self, line: bytes) -> None:
        self.wire.send_credentials(line + b"\r\n")
        try:
            self._status()
        except ServerRefused as refused:
            if self._of_the_way(refused):
                raise _NotThisWay from None
            raise

    def _of_the_way(self, refused: ServerRefused) -> bool:
        return not refused.code and MECHANISM.search(self._refusal) is not None

    def _wait_for_go(self) -> None:
        line = self._answer()
        if not line.startswith(b"+") or line[:3].upper() == b"+OK":
            self._completed(line)
            raise self.protocol_violation()

    def _fit_for_pass(self) -> bool:
        words = (self._username, self._secret.reveal())
        return all(word.isascii() and not {"\r", "\n", "\0"} & set(word) for word in words)

    def _no_way(self) -> MailError:
        if not self._fit_for_pass():
            what = "takes only letters of ASCII, in username and password: it offers no SASL PLAIN."
        else:
            what = "refused each way of logging in that Mailkeep knows (SASL PLAIN and LOGIN, USER and PASS)."
        return MailError(
            "login",
            f"{self.wire.host} {what}",
            "Use IMAP, or ask its provider how mail programs log in.",
            permanent=True,
        )

    def _not_opened(self, refused: ServerRefused) -> MailError:
        """The mailbox cannot be opened, which is not the password's fault."""
        why = {
            "IN-USE": "Another program has the mailbox open.",
            "SYS/PERM": "Its provider must look into this.",
        }.get(refused.code, "It is tried again by itself.")
        return MailError(
            "login",
            f"{self.wire.host} does not open the mailbox now.{refused.said}",
            why,
            permanent=refused.code == "SYS/PERM",
        )

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
        """The answer to a RETR or TOP that was sent: the text byte for byte, and its size.

        A text larger than the policy's is read on and thrown away, up to twice
        that size: its size is returned, and no bytes. Raises ServerRefused, Endless, MailError.
        """
        self._status()
        return read_text(self.wire, self._policy.max_message, 2 * self._policy.max_message)

    def shown(self, text: bytes) -> str:
        """A text of the server, fit to be shown; nothing once credentials were sent."""
        return self.wire.words(text)

    def protocol_violation(self) -> MailError:
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
        self._obey(rest)
        code = CODE.match(rest)
        name = code[1].decode().upper() if code else ""
        text = self._refusal = rest[code.end() :] if code else rest
        transient = name in TRANSIENT or (not name and BUSY.search(text) is not None)
        known = name if name in KNOWN_CODES else ""  # another may be anything, a password too
        raise ServerRefused(known, self.shown(text), transient=transient, raw=text)

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
