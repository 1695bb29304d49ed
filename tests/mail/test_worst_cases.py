"""The worst that a server can send costs no more than its length: counted, not timed.

Each text that a pattern is given is counted; none may be given the same text
again and again, and no pattern has repeats that can fight over the same letters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from panel.errors import MailError
from panel.mail import imap_names, imap_protocol, imap_syntax, pop3, pop3_protocol, refusal, sasl_oauth, smtp
from panel.mail.imap_protocol import Imap
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused
from panel.mail.server import MailServer
from panel.mail.smtp import Smtp
from panel.secret import Secret

try:
    from re import _constants as constants  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # Python 3.10 and before
    import sre_constants as constants
    import sre_parse as parser

MODULES = [imap_names, imap_protocol, imap_syntax, pop3, pop3_protocol, smtp, refusal, sasl_oauth]
ME = MailServer("imap", "localhost", 993, "tls", "me")
SIZE = 100_000
PATTERNS = [
    (module, name)
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, re.Pattern)
]

WORST = [
    b"* OK [", b"* OK [A", b"* OK [" + b"-" * SIZE, b"[", b"]", b"* OK [CAPABILITY ", b"CAPABILITY ", b"* LIST (", b"(",
    b")", b'"', b'"\\', b'\\"', b'* LIST () "\\"', b'* 1 FETCH (UID 1 BODY[] "\\"', b"FLAGS (", b"* 1 FETCH (FLAGS (",
    b"BODY[] ", b'BODY[] "', b"UID 1", b"UID ", b"INTERNALDATE ", b"{1", b"{", b"~{", b"* 1", b"* 1 ", b" ", b"\t", b"*",
    b"* SEARCH ", b"* SEARCH 1 ", b"* ESEARCH UID ALL 1,", b"* ESEARCH ALL ", b"* STATUS x (", b"* STATUS (MESSAGES ",
    b"1" * 50 + b" ", b"250-", b"250 ", b"250", b"5.7.", b"550 5.7.8 ", b"AUTH=", b"&", b"&A", b"&AAA-", b"\xff", b"\0",
    b"* LIST () NIL &", b"app password", b"temporar",
]  # fmt: skip


class Counted:
    """A pattern that counts the bytes it is given."""

    def __init__(self, pattern: re.Pattern[Any], count: Callable[[int], None]) -> None:
        self._pattern = pattern
        self._count = count

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._pattern, name)

        def call(*arguments: Any) -> Any:
            self._count(sum(len(one) for one in arguments if isinstance(one, bytes | str)))
            return method(*arguments)

        return call


class Lines:
    """A wire that has only these lines."""

    def __init__(self, *lines: bytes) -> None:
        self._lines = iter(lines)
        self.host, self.step, self.credentials_sent, self.unread = "localhost", "fetch", 1, 0

    def line(self) -> bytes:
        line = next(self._lines, None)
        if line is None:
            raise MailError(self.step, "closed", "later")
        return line

    def exactly(self, size: int) -> bytes:
        return bytes(min(size, SIZE))

    def error(self, what: str, remedy: str, *, permanent: bool = False) -> MailError:
        return MailError(self.step, what, remedy)

    def send(self, data: bytes) -> None: ...
    def send_credentials(self, data: bytes) -> None: ...

    def server_text(self, text: bytes) -> str:
        return refusal.shown(text)


def feed(text: bytes) -> None:
    """Give `text` to everything that reads what a mail server sends."""
    policy, secret = Policy(frozenset(), max_line=2 * SIZE), Secret("x")
    for lines in ((b"a1 NO " + text,), (b"* OK " + text, b"250 " + text), (b"* " + text, b"", b"a1 OK")):
        with suppress(MailError, ServerRefused):
            list(Imap(Lines(*lines), policy, ME, secret).command(b"X"))  # type: ignore[arg-type]
        with suppress(MailError, ServerRefused):
            Smtp(Lines(*lines[1:], b"550 " + text), policy, ME, secret).command("X")  # type: ignore[arg-type]
    for answer in ([text], [b'* LIST () "/" ', text, b""], [b"* 1 FETCH (UID 1 X ", text, text]):
        read(answer)


def read(answer: list[bytes]) -> None:
    imap_syntax.exists_of(answer)
    imap_syntax.status_items(answer)
    imap_syntax.announces_body(answer[0])
    items = imap_syntax.fetched(answer) or {}
    for one in (
        imap_syntax.uid_of,
        imap_syntax.size_of,
        imap_syntax.body_of,
        imap_syntax.date_of,
        imap_syntax.is_seen,
    ):
        one(items)
    with suppress(ValueError):
        imap_syntax.found_by(answer)
    raw = imap_names.folder_of(answer)
    if raw is not None:
        imap_names.folder_name(raw)


@pytest.mark.parametrize("text", WORST, ids=lambda text: ascii(text[:20]))
def test_patterns_are_given_a_text_a_few_times_and_no_more(
    monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    given = 0

    def count(size: int) -> None:
        nonlocal given
        given += size

    for module, name in PATTERNS:
        monkeypatch.setattr(module, name, Counted(getattr(module, name), count))
    whole = (text * (SIZE // len(text) + 1))[:SIZE]
    for one in (whole, whole + b'])"'):
        given = 0
        feed(one)
        assert given < 60 * SIZE, given / SIZE  # ways to send it, readers, patterns of each


# -- the patterns themselves -------------------------------------------------------------------------


def repeats(parsed: Any, inside: bool = False) -> Iterator[str]:
    """What is wrong with the repeats of a pattern: one in another, or two in a row that take the same letter."""
    before: set[int] | None = None
    for operator, argument in parsed:
        letters = None
        if operator in (constants.MAX_REPEAT, constants.MIN_REPEAT):
            _, most, body = argument
            if most > 64:
                if inside:
                    yield "a repeat in a repeat"
                letters = set().union(*(first(one) for one in alternatives(body)))
                if before is not None and before & letters:
                    yield f"two repeats for {bytes(sorted(before & letters))[:10]!r}"
                if overlapping(body):
                    yield "alternatives in a repeat that begin alike"
            yield from repeats(body, inside or most > 64)
        elif operator is constants.SUBPATTERN:
            yield from repeats(argument[3], inside)
        elif operator is constants.BRANCH:
            for branch in argument[1]:
                yield from repeats(branch, inside)
        before = letters


def alternatives(body: Any) -> list[Any]:
    (operator, argument), *more = body
    if operator is constants.SUBPATTERN and not more:
        return alternatives(argument[3])
    return argument[1] if operator is constants.BRANCH and not more else [body]


def overlapping(body: Any) -> bool:
    seen: set[int] = set()
    for one in alternatives(body):
        letters = first(one)
        if seen & letters:
            return True
        seen |= letters
    return False


def first(parsed: Any) -> set[int]:
    """The letters that a part of a pattern can begin with."""
    operator, argument = parsed[0]
    if operator is constants.LITERAL:
        return {argument}
    if operator is constants.NOT_LITERAL:
        return set(range(256)) - {argument}
    if operator is constants.ANY:
        return set(range(256))
    if operator is constants.IN:
        letters: set[int] = set()
        for kind, value in argument:
            if kind is constants.LITERAL:
                letters.add(value)
            elif kind is constants.RANGE:
                letters.update(range(value[0], value[1] + 1))
        return set(range(256)) - letters if argument[0][0] is constants.NEGATE else letters
    if operator in (constants.MAX_REPEAT, constants.MIN_REPEAT):
        return first(argument[2])
    if operator is constants.SUBPATTERN:
        return first(argument[3])
    if operator is constants.BRANCH:
        return set().union(*(first(branch) for branch in argument[1]))
    return set()


@pytest.mark.parametrize(
    ("module", "name"), PATTERNS, ids=lambda one: one if isinstance(one, str) else one.__name__
)
def test_no_pattern_has_repeats_that_fight_over_a_text(module: ModuleType, name: str) -> None:
    pattern = getattr(module, name)
    assert list(repeats(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))) == []


@pytest.mark.parametrize(
    "pattern", [rb"(a+)+", rb"\s*\[([A-Za-z-]+)[^\]]*\]", rb"(?:a.|[ab])*x", rb"[ \t]*\s*x", rb"(?:[^x]*y)*"]
)
def test_the_check_finds_what_was_there_before(pattern: bytes) -> None:
    parsed = parser.parse(pattern.replace(rb"\s", b"[ \t]"))
    assert list(repeats(flat(parsed)))


def flat(parsed: Any) -> list[Any]:
    """Groups that only take note are looked into, as `repeats` looks at neighbours."""
    parts: list[Any] = []
    for operator, argument in parsed:
        parts += flat(argument[3]) if operator is constants.SUBPATTERN else [(operator, argument)]
    return parts
