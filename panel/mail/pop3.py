"""Reading a mailbox over POP3: what it holds, message by message; and probing whether that works.

POP3 names messages by unique-ids that are strings (UIDL), in no order. It deletes
only when the session ends in order: QUIT, and the server's +OK.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.utils import parsedate_to_datetime

from panel.errors import MailError
from panel.mail.policy import Policy
from panel.mail.pop3_protocol import Pop3
from panel.mail.pop3_text import Endless
from panel.mail.refusal import RETRIES, ServerRefused, failure
from panel.mail.server import MailServer
from panel.mail.session import MailSession, ProbeStep, interactive
from panel.secret import Secret
from panel.wording import counted

UNDER_WAY = 20  # RETR sent ahead, where the server offers PIPELINING
MOST_TRANSIENT = 20  # refusals in a row that are transient: then the server's storage is away
MOST_MESSAGES = 250_000  # a listing of so many takes less than 200 MiB
LONGEST_NAME = 1000  # RFC 1939 allows 70 characters
LONGEST_HEAD, LONGEST_DATE = 2**18, 200  # that a date is looked for in
NAME = re.compile(rb"\A[ \t]*([0-9]{1,10})(?:[ \t]+(.*))?\Z", re.DOTALL)
SIZE = re.compile(rb"\A[ \t]*([0-9]{1,10})[ \t]+([0-9]{1,18})(?:[ \t].*)?\Z", re.DOTALL)
COUNT = re.compile(rb"([0-9]{1,10})\b")


@dataclass(frozen=True, slots=True)
class Listed:
    """One message: its `place` in this session, its unique-id, its bytes as the server counts them.

    `size` 0: the server does not report it. Not `named`: the unique-id is none that
    tells messages apart, since it is empty, or others have it too, or they count
    the places (RFC 1939, 7).
    """

    place: int
    uidl: str
    size: int
    named: bool = True


def probe(endpoint: MailServer, secret: Secret, policy: Policy) -> Iterator[ProbeStep]:
    """As `MailSession.probe`: name, connect, tls, login, count."""
    return Pop3Session(endpoint, secret, interactive(policy)).probe()


class Pop3Session(MailSession[Pop3]):
    """A mailbox, which POP3 locks for others until the session ends. Every method raises MailError."""

    client_type = Pop3

    def __init__(self, endpoint: MailServer, secret: Secret, policy: Policy) -> None:
        super().__init__(endpoint, secret, policy)
        self.listed: list[Listed] = []  # what the mailbox held when it was opened
        self.endless: int | None = None  # the place of a message whose text was larger than is read at all

    def _probe_steps(self) -> Iterator[tuple[str, str]]:
        yield from self._login_steps()
        count = self._held = len(_listing(self._client("count")))
        yield "count", f"The mailbox holds {counted(count, 'message')}."

    def _open(self) -> None:
        self.listed = _listing(self._client("folder"))

    @property
    def login_delay(self) -> int:
        """The seconds that the server wants between two logins; 0 where it announces none."""
        return self._connected.login_delay if self._connected is not None else 0

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
        pop = self._client(doing)
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
                if away >= MOST_TRANSIENT:
                    break
                continue
            except Endless:
                self.endless = place
                raise pop.too_much() from None
            some, away = True, 0
            yield (place, *answer)
        if refused is not None and (not some or away >= MOST_TRANSIENT):
            message = f"{pop.wire.host} refused to hand out mail."
            raise failure(refused, pop.wire, message, RETRIES, permanent=False)

    @property
    def shows_heads(self) -> bool:
        """Whether `heads` is worth calling: whether the server offers TOP."""
        return self._client("folder").may(b"TOP")

    def heads(self, places: Iterable[int], doing: str = "folder") -> Iterator[tuple[int, bytes]]:
        """The header of each message, by its place: empty where too large, missing where refused."""
        for place, text, _ in self._retrieve(b"TOP %d 0", places, doing):
            yield place, text

    def received_at(self, place: int) -> float | None:
        """When the last server noted the message's arrival (UTC seconds); None where no header has it."""
        heads = dict(self.heads([place]))
        return received_at(heads[place]) if place in heads else None

    def delete(self, places: Sequence[int]) -> None:
        """Delete messages and end the session, for only that makes the server do it.

        Only those that the server names now as it did when the session began.
        """
        pop = self._client("after")
        before = {one.place: one for one in self.listed}
        now = {one.place: one for one in _listing(pop)}
        same = [place for place in places if place in now and now[place] == before.get(place)]
        pop.logged_in = False  # closed without QUIT, nothing is deleted (RFC 1939, 6)
        try:
            refused = _delete(pop, same)
            pop.command(b"QUIT")
        except ServerRefused as no:
            raise _not_deleted(pop, no) from None
        finally:
            self.close()
        if refused and (refused[-1].transient or len(refused) == len(same)):
            raise _not_deleted(pop, refused[0])  # else those were removed meanwhile


def _delete(pop: Pop3, places: Iterable[int]) -> list[ServerRefused]:
    """Mark messages for deletion. Which were refused; after a transient refusal, no others are tried."""
    refused: list[ServerRefused] = []
    for place in places:
        try:
            pop.command(b"DELE %d" % place)
        except ServerRefused as refusal:
            refused.append(refusal)
            if refusal.transient:
                break
    return refused


def _not_deleted(pop: Pop3, refused: ServerRefused) -> MailError:
    message = f"Mail was delivered, but cannot be deleted on {pop.wire.host}."
    return failure(refused, pop.wire, message, "Choose to leave mail on the server.", permanent=False)


def received_at(head: bytes) -> float | None:
    """The date in the topmost Received header (UTC seconds); None where nothing can be read."""
    if len(head) > LONGEST_HEAD:
        return None
    try:
        received = str(message_from_bytes(head).get("Received", "")).rpartition(";")[2]
        return parsedate_to_datetime(received[:LONGEST_DATE]).timestamp()
    except Exception:  # noqa: BLE001 - the sender wrote this, and the parser raises many kinds
        return None


def _listing(pop: Pop3) -> list[Listed]:
    """All messages that the server reports in any form.

    UIDL names them; what only LIST, or only the number in STAT, reports has no
    name. Raises MailError where answers cannot be read, or report messages
    without listing them.
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
            raise _not_listed(pop, command, refused) from None
    if lines and not found:
        raise pop.protocol_violation()


def _count(pop: Pop3) -> int:
    """How many messages STAT reports; 0 where it does not."""
    try:
        match = COUNT.match(pop.command(b"STAT"))
    except ServerRefused:
        return 0
    count = int(match[1]) if match else 0
    if count > MOST_MESSAGES:
        raise pop.too_much()
    return count


def _not_listed(pop: Pop3, command: bytes, refused: ServerRefused) -> MailError:
    what = "by unique-ids (UIDL)" if command == b"UIDL" else "with its sizes (LIST)"
    remedy = RETRIES if refused.transient else "Use IMAP, or ask its provider."
    return failure(refused, pop.wire, f"{pop.wire.host} does not list the mailbox {what}.", remedy)
