"""IMAP4rev1 (RFC 3501) as far as reading mail needs it: commands, answers, literals.

Not imaplib: docs/decisions/0033. A line that answers nothing asked is passed over, up to `MOST_ODD`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import partial

from panel.errors import MailError, MessageTooLarge
from panel.mail.client import Mechanisms, ProtocolClient
from panel.mail.imap_syntax import Answer, announces_body, code_of, fetched, quoted, status_of, uid_of
from panel.mail.known_answers import MECHANISM, PASSWORD
from panel.mail.policy import Policy
from panel.mail.refusal import RETRIES, ServerRefused, recognised
from panel.mail.sasl_oauth import TokenExchange
from panel.mail.server import MailServer
from panel.mail.wire import HungUp, Wire
from panel.secret import Secret

LITERAL = re.compile(rb"~?\{([0-9]{1,20})\+?\}\Z")
LONGEST_LITERAL = 32  # characters that announce one
LONGEST_INITIAL = 900  # a longer response of SASL goes on a line of its own
MOST_ODD = 1000  # lines that mean nothing, during one command
IDENTITY = b'ID ("name" "Mailkeep" "version" "1.0" "vendor" "Mailkeep")'  # RFC 2971; NetEase demands it

# Response codes of RFC 3501, 4315, 5530 and their like. Another word may be anything, a password too.
TRANSIENT = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "CONTACTADMIN", "SERVERBUG", "OVERQUOTA"})
LASTING = frozenset({
    "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "NOPERM", "NONEXISTENT",
    "CANNOT", "CLIENTBUG", "CORRUPTION", "EXPUNGEISSUED", "ALREADYEXISTS", "TRYCREATE",
    "BADCHARSET", "UNKNOWN-CTE", "TOOBIG", "NOTSAVED", "HASCHILDREN",
})  # fmt: skip
ABOUT_THE_PASSWORD = frozenset({"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED"})


class Imap(ProtocolClient):
    protocol, tls_port, starttls_port = "IMAP", 993, 143
    goodbye = b"bye LOGOUT\r\n"

    def __init__(self, wire: Wire, policy: Policy, endpoint: MailServer, secret: Secret) -> None:
        super().__init__(wire, policy, endpoint, secret)
        self.completed = b""  # what the server wrote when it completed the last command
        self.folders: dict[str, bytes] | None = None  # once `imap_folders` has asked for them
        self._count = 0
        self._under_way: set[bytes] = set()
        self._done_early: dict[bytes, bytes] = {}  # tags of commands that were completed out of turn
        self._answered = 0  # bytes since the last command was completed, messages apart
        self._odd = 0  # lines since then that meant nothing
        self._capabilities: frozenset[bytes] | None = None
        self._identified = False
        self._bye: HungUp | None = None  # how the server announced that it ends the session

    # -- until logged in -------------------------------------------------------------

    def greeting(self) -> None:
        """Wait for the server to begin. Raises MailError where it refuses or speaks no IMAP."""
        while not (line := self.wire.line()).strip():
            self._pass_over(line)
        word, text = status_of(line) or (b"", b"")
        if word != b"OK":
            self._check_status(word, text)
            raise self.not_greeted(self.wire.server_text(text) if word == b"BYE" else None)
        self._note_code(text)

    def capabilities(self) -> frozenset[bytes]:
        """What the server can do, in upper case; asked for once, and again after STARTTLS and logging in."""
        if self._capabilities is None:
            self._attempt(b"CAPABILITY")
        if self._capabilities is None:
            self._capabilities = frozenset()
        return self._capabilities

    def _request_starttls(self) -> None:
        if b"STARTTLS" not in self.capabilities():
            raise ServerRefused("", "")
        self.run(b"STARTTLS")

    def _forget_capabilities(self) -> None:
        self._capabilities = self._bye = None

    def login(self) -> None:
        """As `ProtocolClient.login`; then identify this program where the server offers ID."""
        offered = self.capabilities()
        super().login()
        if b"ID" in (offered if self._capabilities is None else self._capabilities):
            self._identify()

    def _mechanisms(self) -> Mechanisms:
        """SASL PLAIN and LOGIN in UTF-8, the LOGIN command in ASCII; each tried at most once, so ordered."""
        offered = self.capabilities()
        self._capabilities = None  # what is offered may differ afterwards (RFC 3501, 6.2.2)
        named = _sasl_names(offered)
        plain, pair = self._plain_response(), self._login_responses()
        at_once: Mechanisms = {}
        if b"PLAIN" in named and len(plain) <= LONGEST_INITIAL:
            at_once["PLAIN in one line"] = lambda: self._authenticate(b"PLAIN " + plain, plain)
        mechanisms = dict(at_once) if b"SASL-IR" in offered else {}
        if b"PLAIN" in named:
            mechanisms["PLAIN"] = lambda: self._authenticate(b"PLAIN", plain)
        if b"LOGIN" in named:
            mechanisms["LOGIN"] = lambda: self._authenticate(b"LOGIN", *pair)
        self._ascii_command = b"LOGINDISABLED" not in offered
        if self._ascii_command and self._fits_ascii():
            mechanisms["the LOGIN command"] = self._login_command
        return mechanisms | at_once  # at last without having been offered

    def _authenticate(self, command: bytes, *responses: bytes) -> None:
        """AUTHENTICATE: a response for each `+`, until the command is completed (RFC 3501, 6.2.2)."""
        left = iter(responses)

        def respond(challenge: bytes) -> None:
            if response := next(left, None):
                self.wire.send_credentials(response + b"\r\n")
            else:
                self.wire.send(b"*\r\n")  # it asks for more than the mechanism has: given up

        tag = self.send(b"AUTHENTICATE " + command, credentials=b" " in command)
        for _ in self.answers(tag, respond):
            pass

    def _offered(self) -> Collection[str]:
        return [name.decode("latin-1") for name in _sasl_names(self.capabilities())]

    def _token_mechanisms(self) -> Mechanisms:
        """Each with the token in the command first, where that is offered (SASL-IR), then on its own line."""
        mechanisms: Mechanisms = {}
        for one in self._offered_for_tokens():
            if b"SASL-IR" in self.capabilities():
                mechanisms[f"{one.name} in one line"] = partial(self._by, one, initial=True)
            mechanisms[one.name] = partial(self._by, one)
        self._capabilities = None
        return mechanisms

    def _exchange(self, mechanism: str, exchange: TokenExchange) -> None:
        words = [b"AUTHENTICATE", mechanism.encode(), *([exchange.begin()] if exchange.initial else [])]
        tag = self.send(b" ".join(words), credentials=exchange.initial)
        for _ in self.answers(tag, partial(self._answer_challenge, exchange)):
            pass

    def _login_command(self) -> None:
        pair = quoted(self._username.encode()), quoted(self._secret.reveal_bytes())
        for _ in self.answers(self.send(b"LOGIN %s %s" % pair, credentials=True)):
            pass

    def _is_about_mechanism(self, refused: ServerRefused, *, was_sent: bool) -> bool:
        """Before the password was sent nothing else can have been refused.

        Afterwards BAD is about the command, and NO about the password, unless code or text differ.
        """
        if not was_sent or refused.code == "CANNOT":
            return True
        if refused.code in ABOUT_THE_PASSWORD or recognised(refused) or refused.mentions(PASSWORD):
            return False
        return not refused.understood or refused.mentions(MECHANISM)

    def identify(self) -> bool:
        """Name this program, where the server offers ID and has not heard it. Returns whether it was sent."""
        if self._identified or b"ID" not in self.capabilities():
            return False
        self._identify()
        return True

    def _identify(self) -> None:
        self._identified = True
        self._attempt(IDENTITY)

    # -- commands and answers ----------------------------------------------------------

    def command(self, text: bytes) -> Iterator[Answer]:
        """Send one command; yield what the server answers until it is completed."""
        return self.answers(self.send(text))

    def run(self, text: bytes) -> None:
        """Send one command whose answers do not matter. Raises as `answers`."""
        for _ in self.command(text):
            pass

    def _attempt(self, text: bytes) -> None:
        """`run`, where a refusal does not matter either."""
        with suppress(ServerRefused):
            self.run(text)

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

    def answers(self, tag: bytes, respond: Callable[[bytes], None] | None = None) -> Iterator[Answer]:
        """Yield the untagged answers until the command `tag` is completed.

        `respond` is called with what stands behind each `+`. Raises ServerRefused when the command
        was completed with NO or BAD, MailError when the server ends the session, or sends too much.
        """
        while (status := self._done_early.pop(tag, None)) is None:
            line = self._line().lstrip(b" \t")
            if line.startswith((b"* ", b"*\t")):
                yield self._untagged(line)
            elif line.startswith(b"+") and respond is not None:
                self._pass_over(line)
                respond(line[1:])
            else:
                self._tagged(line)
        self._under_way.discard(tag)
        self._complete(status)

    def _line(self) -> bytes:
        try:
            return self.wire.line()
        except HungUp:
            raise self._bye or self.wire.hung_up() from None

    def unreadable(self, what: str) -> MailError:
        """The server answered, but not `what` was asked for."""
        return self.wire.error(
            f"did not report {what}, or not in a readable form.",
            "Nothing is lost: Mailkeep tries again automatically. If this continues, ask its provider.",
        )

    def _untagged(self, line: bytes) -> Answer:
        status = status_of(line)
        if status is None:
            answer = self._whole(line)
            if line[1:].lstrip()[:10].upper() == b"CAPABILITY":
                self._note_capabilities(line[1:].lstrip()[10:])
            return answer
        self._count_answer(len(line))
        self._check_status(*status)
        if status[0] == b"BYE":
            self._bye = self._goodbye(status[1])
            if self.logged_in:
                raise self._bye  # else logging in may still be refused, which explains more
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
        self.check_refusal(self.completed)
        name, _, text = code_of(self.completed)
        code = _known(name)
        raise ServerRefused(
            code,
            self.wire.server_text(text),
            transient=code in TRANSIENT if code else None,
            understood=word.upper() == b"NO",
            raw=self.completed,
        )

    def _check_status(self, word: bytes, text: bytes) -> None:
        """Obey an untagged refusal too: it may be all that comes before the server closes."""
        if word in (b"NO", b"BAD", b"BYE"):
            self.check_refusal(text)

    def _goodbye(self, text: bytes) -> HungUp:
        name, _, rest = code_of(text)
        said = ServerRefused(_known(name), self.wire.server_text(rest)).as_sentence
        return HungUp(self.wire.step, f"{self.wire.host} ended the session.{said}", RETRIES)

    def _note_code(self, text: bytes) -> None:
        name, argument, _ = code_of(text)
        if name == b"CAPABILITY":
            self._note_capabilities(argument)

    def _note_capabilities(self, names: bytes) -> None:
        self._capabilities = frozenset(names.upper().split())


def _sasl_names(capabilities: frozenset[bytes]) -> frozenset[bytes]:
    named = {name for word in capabilities if word.startswith(b"AUTH=") for name in word[5:].split(b",")}
    if named:  # some servers write `AUTH=PLAIN LOGIN`
        named |= capabilities & {b"PLAIN", b"LOGIN"}
    return frozenset(named)


def _known(code: bytes) -> str:
    """A response code, if it is one that we know."""
    name = code.decode("ascii", "replace")
    return name if name in TRANSIENT or name in LASTING else ""
