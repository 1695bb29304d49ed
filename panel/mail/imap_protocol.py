"""IMAP4rev1 (RFC 3501) as far as reading mail needs it: commands, answers, literals.

A reader of its own instead of imaplib, for three reasons: literals are checked
before memory is taken, commands can be sent ahead of the answers (pipelined),
and nothing a server sends is kept longer than it is needed.

Whatever a line is that answers nothing asked, it is passed over, so many of them and no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from panel.errors import MailError, MessageTooLarge
from panel.mail import imap_login, throttling
from panel.mail.imap_words import Answer, announces_body, code_of, fetched, status_of, uid_of
from panel.mail.policy import Policy
from panel.mail.refusal import BY_ITSELF, ServerRefused
from panel.mail.wire import HungUp, Wire
from panel.secret import Secret

LITERAL = re.compile(rb"~?\{([0-9]{1,20})\+?\}\Z")
LONGEST_LITERAL = 32  # characters that announce one
MOST_ODD = 1000  # lines that mean nothing, during one command
IDENTITY = b'ID ("name" "Mailkeep" "version" "1.0" "vendor" "Mailkeep")'  # RFC 2971; NetEase demands it

# Response codes of RFC 3501, 4315, 5530 and their like. Another word may be anything, a password too.
PASSING = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "CONTACTADMIN", "SERVERBUG", "OVERQUOTA"})
LASTING = frozenset({
    "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "NOPERM", "NONEXISTENT",
    "CANNOT", "CLIENTBUG", "CORRUPTION", "EXPUNGEISSUED", "ALREADYEXISTS", "TRYCREATE",
    "BADCHARSET", "UNKNOWN-CTE", "TOOBIG", "NOTSAVED", "HASCHILDREN",
})  # fmt: skip


class Imap:
    """The commands of one connection."""

    def __init__(self, wire: Wire, policy: Policy, username: str, secret: Secret) -> None:
        self.wire = wire
        self._policy = policy
        self._username = username
        self._secret = secret
        self.logged_in = False
        self.completed = b""  # what the server said when it completed the last command
        self.folders: dict[str, bytes] | None = None  # once `imap_folders` has asked for them
        self._count = 0
        self._under_way: set[bytes] = set()
        self._done_early: dict[bytes, bytes] = {}  # tags of commands that were completed out of turn
        self._answered = 0  # bytes since the last command was completed, messages apart
        self._odd = 0  # lines since then that meant nothing
        self._capabilities: frozenset[bytes] | None = None
        self._identified = False
        self._bye: HungUp | None = None  # how the server said that it ends the session

    # -- before and at the door ------------------------------------------------------

    def greeting(self) -> None:
        """Wait for the server to begin. Raises MailError when it does so in no way of IMAP."""
        line = self.wire.line()
        while not line.strip():
            self._pass_over(line)
            line = self.wire.line()
        status = status_of(line)
        if status is None or status[0] != b"OK":
            self._heed(*(status or (b"", b"")))
            said = f" It says: {self.wire.words(b' '.join(status))}" if status else ""
            raise MailError(
                self.wire.step,
                f"{self.wire.host} did not greet as an IMAP server.{said}",
                BY_ITSELF if status else "Check the port: IMAP uses 993 (TLS) or 143 (STARTTLS).",
            )
        self._note_code(status[1])

    def capabilities(self) -> frozenset[bytes]:
        """What the server can do, in upper case; asked for once, and again after STARTTLS and logging in."""
        if self._capabilities is None:
            try:
                for _ in self.command(b"CAPABILITY"):
                    pass
            except ServerRefused:
                pass
        if self._capabilities is None:
            self._capabilities = frozenset()
        return self._capabilities

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
        self._capabilities = self._bye = None

    def _no_starttls(self, what: str) -> MailError:
        return MailError(
            "tls",
            f"{self.wire.host} {what}. No password was sent.",
            "Choose TLS (port 993). If STARTTLS worked before, somebody may be changing the traffic.",
            permanent=True,
        )

    def login(self) -> None:
        """Log in by the first way that the server does not refuse as such, and say who we are where it asks.

        Raises ServerRefused, or MailError when no way of logging in fits.
        """
        offered = self.capabilities()
        self._capabilities = None  # what is offered may differ afterwards (RFC 3501, 6.2.2)
        imap_login.login(self, offered, self._username, self._secret)
        self.logged_in = True
        if b"ID" in (offered if self._capabilities is None else self._capabilities):
            self._identify()

    def identify(self) -> bool:
        """Say who we are, where the server offers to hear it and has not yet. Returns whether it was said."""
        if self._identified or b"ID" not in self.capabilities():
            return False
        self._identify()
        return True

    def _identify(self) -> None:
        self._identified = True
        try:
            for _ in self.command(IDENTITY):
                pass
        except ServerRefused:
            pass  # nothing hangs on it

    # -- commands and answers ----------------------------------------------------------

    def command(self, text: bytes) -> Iterator[Answer]:
        """Send one command; yield what the server answers until it is completed."""
        return self.answers(self.send(text))

    def send(self, text: bytes, *, credentials: bool = False) -> bytes:
        """Send one command and return its tag, for `answers`. Several may be under way, in order."""
        self._count += 1
        tag = b"a%d" % self._count
        self._under_way.add(tag)
        line = tag + b" " + text + b"\r\n"
        if credentials:
            self.wire.send_credentials(line)
        else:
            self.wire.send(line)
        return tag

    def answers(self, tag: bytes, go_on: Callable[[], None] | None = None) -> Iterator[Answer]:
        """Yield the untagged answers until the command `tag` is completed.

        `go_on` is called for each `+`. Raises ServerRefused when the command was completed
        with NO or BAD, MailError when the server ends the session, or says too much.
        """
        while (status := self._done_early.pop(tag, None)) is None:
            line = self._line().lstrip(b" \t")
            if line.startswith((b"* ", b"*\t")):
                yield self._untagged(line)
            elif line.startswith(b"+") and go_on is not None:
                self._pass_over(line)
                go_on()
            else:
                self._tagged(line)
        self._under_way.discard(tag)
        self._complete(status)

    def _line(self) -> bytes:
        try:
            return self.wire.line()
        except HungUp:
            raise self._bye or self.wire.hung_up() from None

    def protocol_violation(self) -> MailError:
        """The server does not speak IMAP."""
        return MailError(
            self.wire.step,
            f"{self.wire.host} sent an answer that is no IMAP.",
            "Check the name and the port, or try again later.",
        )

    def too_much(self) -> MailError:
        """The server sends without end."""
        return MailError(
            self.wire.step,
            f"{self.wire.host} answers with more than can be true.",
            "Check the name of the server; if it is right, its provider must look into this.",
        )

    def unreadable(self, what: str) -> MailError:
        """The server answered, but not `what` was asked for."""
        return MailError(
            self.wire.step,
            f"{self.wire.host} did not say {what}, or not in a way that can be read.",
            "Nothing is lost: Mailkeep tries again by itself. If it stays so, ask its provider.",
        )

    def _untagged(self, line: bytes) -> Answer:
        status = status_of(line)
        if status is None:
            answer = self._whole(line)
            if line[1:].lstrip()[:10].upper() == b"CAPABILITY":
                self._note_capabilities(line[1:].lstrip()[10:])
            return answer
        self._count_answer(len(line))
        self._heed(*status)
        if status[0] == b"BYE":
            self._bye = self._goodbye(status[1])
            if self.logged_in:
                raise self._bye  # else logging in may still be refused, which tells more
        self._note_code(status[1])
        return [line]

    def _tagged(self, line: bytes) -> None:
        """Note the completion of a command under way; anything else answers nothing asked."""
        tag, *rest = line.split(None, 1)[:2] or [b""]
        if tag in self._under_way and rest:
            self._done_early[tag] = rest[0]
        else:
            self._pass_over(line)

    def _pass_over(self, line: bytes) -> None:
        self._count_answer(len(line))
        self._odd += 1
        if self._odd > MOST_ODD:
            raise self.protocol_violation()

    def _whole(self, line: bytes) -> Answer:
        """The answer that begins with `line`, with the literals it announces."""
        self._count_answer(len(line))
        answer: Answer = []
        literals = 0
        while match := LITERAL.search(line[-LONGEST_LITERAL:]):
            text, size = line[: -len(match[0])], int(match[1])
            literals += size
            self._check_literal([*answer, text], size, literals)
            answer += [text, self.wire.exactly(size)]
            line = self.wire.line()
            self._count_answer(len(line))
        answer.append(line)
        return answer

    def _check_literal(self, before: Answer, size: int, literals: int) -> None:
        """Refuse what is too large while it is still only announced."""
        if not announces_body(before[-1]):
            self._count_answer(size)
            if size > self._policy.max_line:
                raise self.too_much()
        if literals > self._policy.max_message:
            raise MessageTooLarge(uid_of(fetched(before) or {}), size, self._policy.max_message)

    def _count_answer(self, size: int) -> None:
        self._answered += size
        if self._answered > self._policy.max_answer:
            raise self.too_much()

    def _complete(self, status: bytes) -> None:
        self._answered = self._odd = 0
        word, *rest = status.split(None, 1)
        self.completed = rest[0] if rest else b""
        if word.upper() == b"OK":
            self._note_code(self.completed)
            return
        if word.upper() not in (b"NO", b"BAD"):
            raise self.protocol_violation()
        self._heed(b"NO", self.completed)
        name, _, text = code_of(self.completed)
        code = _known(name)
        refused = ServerRefused(
            code, self.wire.words(text), understood=word.upper() == b"NO", raw=self.completed
        )
        refused.transient = code in PASSING or (not code and refused.sounds_busy())
        raise refused

    def _heed(self, word: bytes, text: bytes) -> None:
        """Raise MailError where a no asks to be left alone: nothing more is asked then, not even LOGOUT.

        An untagged one too: it may be all that comes before the server closes.
        """
        seconds = throttling.suggested(text) if word in (b"NO", b"BAD", b"BYE") else None
        if seconds is not None:
            self.logged_in = False
            raise throttling.asked_to_wait(self.wire.step, self.wire.host, seconds)

    def _goodbye(self, text: bytes) -> HungUp:
        name, _, words = code_of(text)
        said = ServerRefused(_known(name), self.wire.words(words)).said
        return HungUp(self.wire.step, f"{self.wire.host} ended the session.{said}", BY_ITSELF)

    def _note_code(self, text: bytes) -> None:
        name, argument, _ = code_of(text)
        if name == b"CAPABILITY":
            self._note_capabilities(argument)

    def _note_capabilities(self, names: bytes) -> None:
        self._capabilities = frozenset(names.upper().split())


def _known(code: bytes) -> str:
    """A response code, if it is one that we know."""
    name = code.decode("ascii", "replace")
    return name if name in PASSING or name in LASTING else ""
