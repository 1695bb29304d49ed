"""IMAP4rev1 (RFC 3501) as far as reading mail needs it: commands, answers, literals.

A reader of its own instead of imaplib, for three reasons: literals are checked
before memory is taken, commands can be sent ahead of the answers (pipelined),
and nothing a server sends is kept longer than it is needed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from panel.errors import MailError, MessageTooLarge
from panel.mail import throttling
from panel.mail.echo import sasl_plain, without_echo
from panel.mail.imap_words import BODY, Answer, quoted, uid_of
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused
from panel.mail.wire import Wire
from panel.secret import Secret

LITERAL = re.compile(rb"~?\{([0-9]{1,20})\+?\}\Z")
UNTAGGED_NO = re.compile(rb"\* (?:NO|BAD|BYE)\b", re.IGNORECASE)
STATUS = re.compile(rb"\* (?:OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)
CODE = re.compile(rb"\s*\[([A-Za-z0-9-]+)[^\]]*\]")
CAPABILITIES = re.compile(rb"\bCAPABILITY ([^\]]*)", re.IGNORECASE)
PASSING = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "CONTACTADMIN", "SERVERBUG"})  # RFC 5530
LONGEST_INITIAL = 900  # a longer response of SASL goes on a line of its own


class Imap:
    """The commands of one connection. Texts of the server come out without an echo of the password."""

    def __init__(self, wire: Wire, policy: Policy, username: str, secret: Secret) -> None:
        self.wire = wire
        self._policy = policy
        self._username = username
        self._secret = secret
        self.logged_in = False
        self._count = 0
        self._answered = 0  # bytes since the last command was completed, messages apart
        self._capabilities: frozenset[bytes] | None = None

    # -- before and at the door ------------------------------------------------------

    def greeting(self) -> None:
        """Wait for the server to begin. Raises MailError when it does so in no way of IMAP."""
        line = self.wire.line()
        if not line.upper().startswith(b"* OK"):
            self._heed(line)
            bye = STATUS.match(line) is not None
            said = f" It says: {self.shown(line[2:])}" if bye else ""
            raise MailError(
                self.wire.step,
                f"{self.wire.host} did not greet as an IMAP server.{said}",
                "Try again later." if bye else "Check the port: IMAP uses 993 (TLS) or 143 (STARTTLS).",
            )
        self._note_capabilities(line)

    def capabilities(self) -> frozenset[bytes]:
        """What the server can do, in upper case; asked for once, and again after STARTTLS."""
        if self._capabilities is None:
            for answer in self.command(b"CAPABILITY"):
                self._note_capabilities(answer[0])
        return self._capabilities or frozenset()

    def starttls(self) -> None:
        """Ask to go on encrypted, and make sure that nothing sent in the clear is read afterwards.

        Raises MailError when it is not offered or not granted, and when bytes
        follow the answer: nobody honest speaks before the handshake (RFC 3501, 6.2.1;
        the injection of CVE-2011-0411).
        """
        if b"STARTTLS" not in self.capabilities():
            raise self._no_starttls("does not offer STARTTLS on this port")
        try:
            for _ in self.command(b"STARTTLS"):
                pass
        except ServerRefused:
            raise self._no_starttls("offers STARTTLS, but refuses to begin it") from None
        if self.wire.unread:
            raise MailError(
                "tls",
                f"{self.wire.host} sent more before the encryption than it may. Nothing was sent to it.",
                "Somebody may be changing the traffic on its way. Choose TLS (port 993).",
                permanent=True,
            )
        self._capabilities = None

    def _no_starttls(self, what: str) -> MailError:
        return MailError(
            "tls",
            f"{self.wire.host} {what}. No password was sent.",
            "Choose TLS (port 993). If STARTTLS worked before, somebody may be changing the traffic.",
            permanent=True,
        )

    def login(self) -> None:
        """SASL PLAIN in UTF-8 where offered, else LOGIN if the password is ASCII.

        Raises ServerRefused, or MailError when no way of logging in fits.
        """
        offered = self.capabilities()
        if b"AUTH=PLAIN" in offered:
            self._authenticate(ahead=b"SASL-IR" in offered)
        elif b"LOGINDISABLED" in offered:
            raise self._no_login("takes no password here")
        else:
            self._login()
        self.logged_in = True

    def _authenticate(self, *, ahead: bool) -> None:
        message = base64.b64encode(sasl_plain(self._username, self._secret))
        if ahead and len(message) <= LONGEST_INITIAL:
            tag = self.send(b"AUTHENTICATE PLAIN " + message)
        else:
            tag = self.send(b"AUTHENTICATE PLAIN")
            self._wait_for_go(tag)
            self.wire.send(message + b"\r\n")
        for answer in self.answers(tag):
            self._note_capabilities(answer[0])

    def _login(self) -> None:
        words = (self._username, self._secret.reveal())
        if not all(word.isascii() and "\r" not in word and "\n" not in word for word in words):
            raise self._no_login("takes only letters of ASCII, in username and password")
        for answer in self.command(b"LOGIN " + b" ".join(quoted(word.encode()) for word in words)):
            self._note_capabilities(answer[0])

    def _no_login(self, what: str) -> MailError:
        return MailError(
            "login",
            f"{self.wire.host} {what}: it offers no SASL PLAIN.",
            "Ask its provider how mail programs log in.",
            permanent=True,
        )

    def _wait_for_go(self, tag: bytes) -> None:
        while not (line := self.wire.line()).startswith(b"+"):
            self._count_answer(len(line))
            if line.startswith(tag + b" "):
                self._complete(line[len(tag) + 1 :])
                raise self.nonsense()

    # -- commands and answers ----------------------------------------------------------

    def command(self, text: bytes) -> Iterator[Answer]:
        """Send one command; yield what the server answers until it is completed."""
        return self.answers(self.send(text))

    def send(self, text: bytes) -> bytes:
        """Send one command and return its tag, for `answers`. Several may be under way, in order."""
        self._count += 1
        tag = b"a%d" % self._count
        self.wire.send(tag + b" " + text + b"\r\n")
        return tag

    def answers(self, tag: bytes) -> Iterator[Answer]:
        """Yield the untagged answers until the command `tag` is completed.

        Raises ServerRefused when it was completed with NO or BAD, MailError when
        the server ends the session, says something that is no IMAP, or too much.
        """
        done = tag + b" "
        while True:
            line = self.wire.line()
            if line.startswith(b"* "):
                self._heed(line)
                if line[:5].upper() == b"* BYE":
                    raise self._goodbye(line[5:])
                yield self._whole(line)
            elif line.startswith(done):
                self._complete(line[len(done) :])
                return
            else:
                raise self.nonsense()

    def shown(self, text: str | bytes) -> str:
        """A text of the server, fit to be shown."""
        return without_echo(text, self._username, self._secret).strip()

    def nonsense(self) -> MailError:
        """The server does not speak IMAP."""
        return MailError(
            self.wire.step,
            f"{self.wire.host} sent an answer that is no IMAP.",
            "Check the name and the port, or try again later.",
        )

    def _whole(self, line: bytes) -> Answer:
        """The answer that begins with `line`, with the literals it announces."""
        self._count_answer(len(line))
        if not line.endswith(b"}") or STATUS.match(line):
            return [line]
        answer: Answer = []
        literals = 0
        while match := LITERAL.search(line):
            text, size = line[: match.start()], int(match[1])
            literals += size
            self._check_literal([*answer, text], size, literals)
            answer += [text, self.wire.exactly(size)]
            line = self.wire.line()
            self._count_answer(len(line))
        answer.append(line)
        return answer

    def _check_literal(self, before: Answer, size: int, literals: int) -> None:
        """Refuse what is too large while it is still only announced."""
        if not BODY.search(before[-1]):
            self._count_answer(size)
            if size > self._policy.max_line:
                raise self.too_much()
        if literals > self._policy.max_message:
            raise MessageTooLarge(uid_of(before), size, self._policy.max_message)

    def _count_answer(self, size: int) -> None:
        self._answered += size
        if self._answered > self._policy.max_answer:
            raise self.too_much()

    def too_much(self) -> MailError:
        """The server sends without end."""
        return MailError(
            self.wire.step,
            f"{self.wire.host} answers with more than can be true.",
            "Check the name of the server; if it is right, its provider must look into this.",
        )

    def _complete(self, status: bytes) -> None:
        self._answered = 0
        word, _, rest = status.partition(b" ")
        if word.upper() == b"OK":
            self._note_capabilities(rest)
            return
        if word.upper() not in (b"NO", b"BAD"):
            raise self.nonsense()
        self._obey(rest)
        code = CODE.match(rest)
        name = self.shown(code[1]).upper() if code else ""
        text = self.shown(rest[code.end() :] if code else rest)
        raise ServerRefused(name, text, passing=name in PASSING)

    def _heed(self, line: bytes) -> None:
        """Obey an untagged no: it may be all that comes before the server closes."""
        if UNTAGGED_NO.match(line):
            self._obey(line[2:])

    def _obey(self, text: bytes) -> None:
        """Raise MailError where the server wants to be left alone: nothing more is asked, not even LOGOUT."""
        seconds = throttling.suggested(text)
        if seconds is not None:
            self.logged_in = False
            raise throttling.asked_to_wait(self.wire.step, self.wire.host, seconds)

    def _goodbye(self, text: bytes) -> MailError:
        said = self.shown(CODE.sub(b"", text, count=1))
        return MailError(
            self.wire.step, f"{self.wire.host} ended the session. It says: {said}", "Try again later."
        )

    def _note_capabilities(self, line: bytes) -> None:
        if match := CAPABILITIES.search(line):
            self._capabilities = frozenset(match[1].upper().split())
