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
from panel.mail import step
from panel.mail.endpoint import Endpoint
from panel.mail.policy import Policy
from panel.mail.pop3_protocol import Pop3
from panel.mail.refusal import ServerRefused
from panel.mail.step import Step
from panel.mail.way_in import WayIn
from panel.secret import Secret

UNDER_WAY = 20  # RETR sent ahead, where the server says it can (PIPELINING)
MOST_MESSAGES = 1_000_000
NUMBER = re.compile(rb"([0-9]{1,10})[ \t]+(\S{1,250})(?:[ \t].*)?\Z", re.DOTALL)


@dataclass(frozen=True)
class Listed:
    """One message: its `place` in this session, its unique-id, its bytes as the server counts them."""

    place: int
    uidl: str
    size: int


def probe(endpoint: Endpoint, secret: Secret, policy: Policy) -> Iterator[Step]:
    """Try out an endpoint: each step as soon as it is done, ending with the first that fails.

    Raises nothing that a server, a network or a typing error can cause.
    """
    session = Pop3Session(endpoint, secret, step.hasty(policy))
    return step.timed(session.steps(), session.close)


class Pop3Session:
    """A mailbox, which POP3 locks for others until the session ends. Every method raises MailError.

    `listed` is what it held when it was opened.
    """

    def __init__(self, endpoint: Endpoint, secret: Secret, policy: Policy) -> None:
        self._host = endpoint.host
        self._limit = policy.max_message
        self._ends_at = time.monotonic() + policy.deadline
        self._way_in = WayIn(endpoint, secret, policy, self._ends_at, Pop3)
        self._closed = self._deleting = False
        self.listed: list[Listed] = []

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
        pop = self._pop("fetch")
        ahead = UNDER_WAY if b"PIPELINING" in pop.capabilities() else 1
        complete = False
        try:
            yield from _retrieve(pop, places, ahead)
            complete = True
        finally:
            if not complete:
                self.close()

    def received_at(self, place: int) -> float | None:
        """When the last server noted the message's arrival (UTC seconds); None where nothing tells."""
        pop = self._pop("fetch")
        try:
            head = b"\r\n".join(pop.multiline(b"TOP %d 0" % place))
        except ServerRefused as refused:
            if refused.passing:
                raise _not_now(pop, refused) from None
            return None
        received = message_from_bytes(head).get("Received", "").rpartition(";")[2]
        with suppress(ValueError, TypeError, OverflowError):
            return parsedate_to_datetime(received).timestamp()
        return None

    def delete(self, places: Sequence[int]) -> None:
        """Delete messages and end the session, for only that makes the server do it."""
        pop = self._pop("after")
        self._deleting = True
        try:
            for place in places:
                try:
                    pop.command(b"DELE %d" % place)
                except ServerRefused as refused:
                    if refused.passing:  # the others would be refused as well; else it was removed meanwhile
                        raise
            pop.command(b"QUIT")
        except ServerRefused as refused:
            _refused_deleting(self._host, refused)
        finally:
            self.close()

    def _pop(self, doing: str) -> Pop3:
        pop = self._way_in.talk
        if pop is None or self._closed:
            raise MailError(doing, f"The session with {self._host} has ended.", "Try again later.")
        pop.wire.step = doing
        return pop


def _retrieve(pop: Pop3, places: Iterable[int], ahead: int) -> Iterator[tuple[int, bytes, int]]:
    waiting: deque[int] = deque()
    left = iter(places)
    while True:
        while len(waiting) < ahead and (place := next(left, None)) is not None:
            pop.wire.send(b"RETR %d\r\n" % place)
            waiting.append(place)
        if not waiting:
            return
        place = waiting.popleft()
        try:
            yield (place, *pop.message())
        except ServerRefused as refused:
            if not refused.passing:
                continue  # this one alone: the caller sees that it is missing
            raise _not_now(pop, refused) from None


def _not_now(pop: Pop3, refused: ServerRefused) -> MailError:
    return MailError(
        "fetch",
        f"{pop.wire.host} hands out no mail now. It says: {refused.text}",
        "It is tried again by itself.",
    )


def _listing(pop: Pop3) -> list[Listed]:
    try:
        uidls = dict(_numbered(pop, b"UIDL"))
        sizes = dict(_numbered(pop, b"LIST"))
    except ServerRefused as refused:
        raise MailError(
            pop.wire.step,
            f"{pop.wire.host} does not list the mailbox by unique-ids (UIDL). It says: {refused.text}",
            "Without them nothing tells which mail was collected. Use IMAP.",
            permanent=not refused.passing,
        ) from None
    seen: Counter[str] = Counter()
    listed = []
    for place, uidl in sorted(uidls.items()):
        # Two messages may share one where they are copies (RFC 1939, 7): each still counts.
        seen[uidl] += 1
        size = sizes.get(place, "0")
        name = uidl if seen[uidl] == 1 else f"{uidl} {seen[uidl]}"
        listed.append(Listed(place, name, int(size) if size.isdecimal() else 0))
    return listed


def _numbered(pop: Pop3, command: bytes) -> Iterator[tuple[int, str]]:
    """The lines `number text` of a listing. Raises ServerRefused; MailError for what is no listing."""
    for count, line in enumerate(pop.multiline(command)):
        match = NUMBER.match(line)
        if match is None:
            raise pop.nonsense()
        if count >= MOST_MESSAGES:
            raise pop.too_much()
        yield int(match[1]), match[2].decode("latin-1")


def _refused_deleting(host: str, refused: ServerRefused) -> NoReturn:
    raise MailError(
        "after",
        f"Mail was delivered, but cannot be deleted on {host}. It says: {refused.text}",
        "Choose to keep mail on the server.",
    )
