"""Reading a mailbox over POP3: what it holds, message by message; and trying out whether that works.

POP3 names messages by unique-ids that are strings (UIDL), in no order. It deletes
only when the session ends in order: QUIT, and the server's yes.
"""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import NoReturn, Self

from panel.errors import MailError
from panel.mail import steps
from panel.mail.login_sequence import LoginSequence
from panel.mail.policy import Policy
from panel.mail.pop3_protocol import Pop3
from panel.mail.pop3_text import Endless
from panel.mail.refusal import ServerRefused
from panel.mail.server import MailServer
from panel.mail.steps import Step
from panel.secret import Secret

UNDER_WAY = 20  # RETR sent ahead, where the server says it can (PIPELINING)
AWAY = 20  # messages in a row that are refused 'for now': then the server's storage is away
MOST_MESSAGES = 250_000  # a listing of so many takes less than 200 MiB
LONGEST_NAME = 1000  # RFC 1939 allows 70 characters
LONGEST_HEAD, LONGEST_DATE = 2**18, 200  # that a date is looked for in
NAME = re.compile(rb"\A[ \t]*([0-9]{1,10})(?:[ \t]+(.*))?\Z", re.DOTALL)
SIZE = re.compile(rb"\A[ \t]*([0-9]{1,10})[ \t]+([0-9]{1,18})(?:[ \t].*)?\Z", re.DOTALL)
COUNT = re.compile(rb"([0-9]{1,10})\b")


@dataclass(frozen=True, slots=True)
class Listed:
    """One message: its `place` in this session, its unique-id, its bytes as the server counts them.

    `size` 0: the server does not say. Not `named`: the unique-id is none that
    tells messages apart, since it is empty, or others have it too, or they count
    the places (RFC 1939, 7 says what it must be).
    """

    place: int
    uidl: str
    size: int
    named: bool = True


def probe(endpoint: MailServer, secret: Secret, policy: Policy) -> Iterator[Step]:
    """Try out an endpoint: each step as soon as it is done, ending with the first that fails.

    Raises nothing that a server, a network or a typing error can cause.
    """
    session = Pop3Session(endpoint, secret, steps.interactive(policy))
    return steps.timed(session.steps(), session.close)


class Pop3Session:
    """A mailbox, which POP3 locks for others until the session ends. Every method raises MailError.

    `listed` is what it held when it was opened.
    """

    def __init__(self, endpoint: MailServer, secret: Secret, policy: Policy) -> None:
        self.host = endpoint.host
        self._limit = policy.max_message
        self._ends_at = time.monotonic() + policy.deadline
        self._way_in = LoginSequence(endpoint, secret, policy, self._ends_at, Pop3)
        self._closed = self._deleting = False
        self.listed: list[Listed] = []
        self.endless: int | None = None  # the place of a message whose text was larger than is read at all

    def steps(self) -> Iterator[tuple[str, str]]:
        """Go the whole way once: each step when it is done, and what it found."""
        yield from self._way_in.steps()
        count = len(_listing(self._pop("count")))
        yield "count", f"The mailbox holds {count} {'message' if count == 1 else 'messages'}."

    def __enter__(self) -> Self:
        """Connect, log in and list the mailbox."""
        try:
            for _ in self._way_in.steps():
                pass
            self.listed = _listing(self._pop("folder"))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End without deleting anything more, and close. May be called twice."""
        pop = self._way_in.talk
        if pop is None or self._closed:
            return
        self._closed = True
        if pop.logged_in and not self._deleting:  # else without QUIT: nothing more is deleted (RFC 1939, 6)
            with suppress(MailError):
                pop.wire.send(b"QUIT\r\n")
        pop.wire.close()

    @property
    def ended(self) -> bool:
        """Whether nothing more can be asked of it."""
        return self._closed

    @property
    def login_delay(self) -> int:
        """The seconds that the server wants between two logins; 0 where it says nothing."""
        return self._way_in.talk.login_delay if self._way_in.talk is not None else 0

    def seconds_left(self) -> float:
        """Until the deadline of this session; who fetches stops before it."""
        return self._ends_at - time.monotonic()

    def fetch(self, places: Iterable[int]) -> Iterator[tuple[int, bytes, int]]:
        """Each message once, one at a time as it arrives: its place, its bytes, its size.

        One that is larger than the policy allows has no bytes. Those that the
        server does not hand out are left out. Who stops in between, or is
        stopped by an error, cannot use the session any more.
        """
        return self._retrieve(b"RETR %d", places, "fetch")

    def _retrieve(
        self, command: bytes, places: Iterable[int], doing: str
    ) -> Iterator[tuple[int, bytes, int]]:
        pop = self._pop(doing)
        ahead = UNDER_WAY if b"PIPELINING" in pop.capabilities() else 1
        complete = False
        try:
            yield from self._answers(pop, command, places, ahead)
            complete = True
        finally:
            if not complete:
                self.close()

    def _answers(
        self, pop: Pop3, command: bytes, places: Iterable[int], ahead: int
    ) -> Iterator[tuple[int, bytes, int]]:
        waiting: deque[int] = deque()
        left = iter(places)
        some, away = False, 0
        refused: ServerRefused | None = None
        while True:
            while len(waiting) < ahead and (place := next(left, None)) is not None:
                pop.wire.send(command % place + b"\r\n")
                waiting.append(place)
            if not waiting:
                break
            place = waiting.popleft()
            try:
                answer = pop.message()
            except ServerRefused as no:  # this one alone: the caller sees that it is missing
                if no.transient and command.startswith(b"RETR"):
                    refused, away = no, away + 1
                if away >= AWAY:
                    break
                continue
            except Endless:
                self.endless = place
                raise pop.too_much() from None
            some, away = True, 0
            yield (place, *answer)
        if refused is not None and (not some or away >= AWAY):
            _hands_out_nothing(pop, refused)

    @property
    def shows_heads(self) -> bool:
        """Whether `heads` is worth calling: whether the server offers TOP."""
        return self._pop("folder").may(b"TOP")

    def heads(self, places: Iterable[int], doing: str = "folder") -> Iterator[tuple[int, bytes]]:
        """The header of each message, by its place: empty where too large, missing where refused."""
        for place, text, _ in self._retrieve(b"TOP %d 0", places, doing):
            yield place, text

    def received_at(self, place: int) -> float | None:
        """When the last server noted the message's arrival (UTC seconds); None where nothing tells."""
        heads = dict(self.heads([place]))
        return received_at(heads[place]) if place in heads else None

    def delete(self, places: Sequence[int]) -> None:
        """Delete messages and end the session, for only that makes the server do it.

        Only those that the server names now as it did when the session began.
        """
        pop = self._pop("after")
        before = {one.place: one for one in self.listed}
        now = {one.place: one for one in _listing(pop)}
        same = [place for place in places if place in now and now[place] == before.get(place)]
        self._deleting = True
        try:
            refused = []
            for place in same:
                if no := _refusal(pop, b"DELE %d" % place):
                    refused.append(no)
                    if no.transient:
                        break  # the others would be refused as well
            pop.command(b"QUIT")
        except ServerRefused as no:
            _refused_deleting(self.host, no)
        finally:
            self.close()
        if refused and (
            refused[-1].transient or len(refused) == len(same)
        ):  # else they were removed meanwhile
            _refused_deleting(self.host, refused[0])

    def _pop(self, doing: str) -> Pop3:
        pop = self._way_in.talk
        if pop is None or self._closed:
            raise MailError(doing, f"The session with {self.host} has ended.", "Try again later.")
        pop.wire.step = doing
        return pop


def received_at(head: bytes) -> float | None:
    """What the topmost Received header says (UTC seconds); None where nothing can be read."""
    if len(head) > LONGEST_HEAD:
        return None
    try:
        received = str(message_from_bytes(head).get("Received", "")).rpartition(";")[2]
        return parsedate_to_datetime(received[:LONGEST_DATE]).timestamp()
    except Exception:  # noqa: BLE001 - whoever wrote the mail wrote this, and the parser raises many kinds
        return None


def _hands_out_nothing(pop: Pop3, refused: ServerRefused) -> NoReturn:
    raise MailError(
        pop.wire.step,
        f"{pop.wire.host} hands out no mail now.{refused.said}",
        "It is tried again by itself.",
    ) from None


def _listing(pop: Pop3) -> list[Listed]:
    """All messages that the server tells of in any way.

    UIDL names them; what only LIST, or only the number in STAT, tells of has no
    name. Raises MailError where answers cannot be read, or say that messages are
    there and none which.
    """
    names = dict(_table(pop, b"UIDL", NAME))
    sizes = dict(_table(pop, b"LIST", SIZE))
    places = {*names, *sizes}
    if names.keys() != sizes.keys() or not places:
        count = _count(pop)
        if count > len(places):
            places |= set(range(1, count + 1))
    uidls = {place: names.get(place, b"").decode("latin-1") for place in sorted(places)}
    shared = Counter(uidls.values())
    counts_places = set(uidls.values()) == {str(at) for at in range(1, len(uidls) + 1)}
    seen: Counter[str] = Counter()
    listed = []
    for place, uidl in uidls.items():
        # Two messages may share one where they are copies (RFC 1939, 7): each still counts.
        seen[uidl] += 1
        name = f"{uidl} {seen[uidl]}" if uidl and seen[uidl] > 1 else uidl
        named = bool(uidl) and shared[uidl] == 1 and not counts_places
        listed.append(Listed(place, name, int(sizes.get(place, b"0")), named))
    return listed


def _table(pop: Pop3, command: bytes, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines `number text` of a listing; a line that is none is passed over.

    A command that the server does not know has no lines. Raises MailError where
    it is refused for another reason, or none of many lines can be read.
    """
    lines = found = 0
    try:
        for line in pop.multiline(command):
            lines += 1
            if lines > MOST_MESSAGES:
                raise pop.too_much()
            match = pattern.match(line) if len(line) <= LONGEST_NAME else None
            if match is not None and int(match[1]) > 0:
                found += 1
                yield int(match[1]), (match[2] or b"").rstrip()
    except ServerRefused as refused:
        if refused.code or refused.transient or command in pop.capabilities():
            _refused_listing(pop, command, refused)
    if lines and not found:
        raise pop.protocol_violation()


def _count(pop: Pop3) -> int:
    """How many messages STAT says there are; 0 where it does not say."""
    try:
        match = COUNT.match(pop.command(b"STAT"))
    except ServerRefused:
        return 0
    count = int(match[1]) if match else 0
    if count > MOST_MESSAGES:
        raise pop.too_much()
    return count


def _refused_listing(pop: Pop3, command: bytes, refused: ServerRefused) -> NoReturn:
    what = "by unique-ids (UIDL)" if command == b"UIDL" else "with its sizes (LIST)"
    raise MailError(
        pop.wire.step,
        f"{pop.wire.host} does not list the mailbox {what}.{refused.said}",
        "It is tried again by itself." if refused.transient else "Use IMAP, or ask its provider.",
        permanent=not refused.transient,
    ) from None


def _refusal(pop: Pop3, command: bytes) -> ServerRefused | None:
    try:
        pop.command(command)
    except ServerRefused as refused:
        return refused
    return None


def _refused_deleting(host: str, refused: ServerRefused) -> NoReturn:
    raise MailError(
        "after",
        f"Mail was delivered, but cannot be deleted on {host}.{refused.said}",
        "Choose to keep mail on the server.",
    )
