"""A POP3 mailbox as a MailboxSession, with numbers of ours for the names (UIDL) of its messages.

The table Uidl holds the numbers, ascending in the order of appearance. Cursor, 'Start with' and delivery
use them like IMAP's UIDs. `pop3_identity` decides which message is which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from peewee import chunked, fn

from panel import db
from panel.collect import pop3_headers, pop3_identity
from panel.collect.cursor import POP3
from panel.collect.lease import Lease
from panel.collect.pop3_headers import Header, Headers
from panel.collect.pop3_identity import Known, ServerListing, Stage
from panel.errors import MailError, MessageTooLarge
from panel.mail.pop3 import Listed, Pop3Session
from panel.models import Collection, Message, Uidl

ROWS = 200  # per statement
SPARE = 180.0  # seconds of the session that optional work must leave
UNLOCK_SECONDS = 10  # in which a server unlocks the mailbox after a session


class Pop3Mailbox:
    """The mailbox that `session` has open. `panel.mail.imap.ImapSession` documents each method."""

    def __init__(self, session: Pop3Session, lease: Lease, mark: bytes, limit: int) -> None:
        """Number the listed messages. `mark` identifies the endpoint; above `limit` bytes none is fetched."""
        self._session = session
        self._lease = lease
        self._limit = limit
        self._headers = Headers(session, lease)
        self.uidvalidity = POP3
        self._here, self._numbering = _number(session, self._headers, lease, mark)
        self.uidnext = self._numbering.next
        listed = {one.place: one for one in session.listed}
        self._known = {one.number: listed[place] for place, one in self._here.items()}
        self._unnamed = {one.place for one in session.listed if not one.named}

    @property
    def pause(self) -> int:
        """The announced LOGIN-DELAY, but at least the time to unlock the mailbox."""
        return max(self._session.login_delay, UNLOCK_SECONDS)

    @property
    def ended(self) -> bool:
        """Deleting ends the session."""
        return self._session.ended

    def highest(self) -> int:
        """The highest number; 0 in an empty mailbox."""
        return max(self._known, default=0)

    def uids(self, after: int) -> list[int]:
        return sorted(number for number in self._known if number > after)

    def unseen(self) -> list[int]:
        """POP3 has no such flag; `panel.accounts.rules` refuses the choice."""
        return []

    def arrived_since(self, moment: int) -> list[int]:
        """By the Received header. Those without one count too: rather too many than one lost."""
        headers = self._headers.of(one.place for one in self._known.values())
        return [uid for uid in self.uids(0) if _arrived(headers.get(self._known[uid].place)) >= moment]

    def sizes(self, uids: Iterable[int]) -> dict[int, int]:
        return {uid: self._known[uid].size for uid in uids if uid in self._known}

    def fetch(self, uids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Each message once. Those above the limit are left out, whatever size was listed."""
        places = {self._known[uid].place: uid for uid in uids if uid in self._known}
        small = [p for p, uid in sorted(places.items()) if self._known[uid].size <= self._limit]
        try:
            for place, raw, size in self._session.fetch(small):
                if size <= self._limit:
                    yield places[place], raw
                else:
                    self._known[places[place]] = replace(self._known[places[place]], size=size)
        except MailError:
            if self._session.endless is None:
                raise
            raise MessageTooLarge(places[self._session.endless], 2 * self._limit, self._limit) from None

    def seconds_left(self) -> float:
        return self._session.seconds_left()

    def mark_seen(self, uids: Iterable[int]) -> None:
        raise _cannot("mark mail as read")

    def move(self, uids: Iterable[int], folder: str) -> None:
        raise _cannot("move mail")

    def delete(self, uids: Iterable[int]) -> None:
        """Delete the messages that still have the same name, and end the session."""
        numbers = {self._known[uid].place: uid for uid in uids if uid in self._known}
        unnamed = [place for place in numbers if place in self._unnamed]
        moved = self._headers.changed(unnamed) if unnamed else set()
        self._session.delete([place for place in numbers if place not in moved])
        _store_gone(self._lease, list(numbers.values()))

    def store_headers(self) -> None:
        """Read headers of messages older than the account, some in each session. Raises LeaseLost.

        Later sessions may need them; so this comes last, and no mail waits for it.
        """
        if not self._session.ended and self._session.seconds_left() > SPARE:
            self._numbering.store_headers(self._here, self._headers)


def _arrived(header: Header | None) -> float:
    return float("inf") if header is None or header.received_at is None else header.received_at


def _cannot(what: str) -> MailError:
    return MailError("after", f"POP3 cannot {what}.", "Leave mail on the server, or use IMAP.")


def _number(
    session: Pop3Session, headers: Headers, lease: Lease, mark: bytes
) -> tuple[dict[int, Known], _Numbering]:
    """The messages with our numbers, by place. Raises MailError, LeaseLost."""
    listing = _named(session.listed, headers)
    if session.listed and not listing:
        raise MailError(
            "folder",
            f"{session.host} lists messages, but neither names nor sends any of them.",
            "Mailkeep tries again by itself.",
        )
    numbering = _Numbering(lease, mark)
    return numbering.number(listing, headers), numbering


def _named(listed: Sequence[Listed], headers: Headers) -> list[ServerListing]:
    """The listed messages under unique names. Raises MailError.

    Without those that have no name and are not sent either: they are not there.
    """
    unnamed = [one for one in listed if not one.named]
    better = headers.names(unnamed) if unnamed else {}
    count: Counter[str] = Counter()
    named = []
    for one in listed:
        name = better.get(one.place, one.uidl)
        count[name] += 1
        if name:
            again = f" {count[name]}" if count[name] > 1 else ""
            named.append(ServerListing(one.place, name + again, one.size))
    return named


class _Numbering:
    """The stored numbers of one account's messages. Every method raises LeaseLost."""

    def __init__(self, lease: Lease, mark: bytes) -> None:
        self._lease = lease
        self._row = Collection.get_by_id(lease.account)
        self._reset = self._row.endpoint_mark != mark
        if self._reset:
            _reset_numbers(lease)
        self._known = [] if self._reset else _stored(lease.account)
        last = 0 if self._reset else max(self._row.last_uid, _highest_fetched(lease.account))
        self.next = max([last, *(one.number for one in self._known)]) + 1

    def number(self, listing: Sequence[ServerListing], headers: Headers) -> dict[int, Known]:
        """Each message with its number, by place. Writes only what changed."""
        listed = {(one.name, one.size): one for one in self._known if one.gone_at is None}
        numbers = {one.number for one in listed.values()}
        same_names = all((one.name, one.size) in listed for one in listing)
        if len(listing) == len(numbers) == len(listed) and same_names:
            return {one.place: listed[one.name, one.size] for one in listing}
        known = _with_stage(self._lease.account, self._known, self._row.last_uid)
        found = headers.of(pop3_identity.headers_needed(known, listing)[: pop3_headers.AT_MOST])
        listing = [
            replace(one, head=found[one.place].digest) if one.place in found else one for one in listing
        ]
        same = pop3_identity.match(known, listing)
        here = {one.place: self._entry(one, same.get(one.place)) for one in listing}
        self._store(known, list(here.values()))
        return here

    def _entry(self, listed: ServerListing, known: Known | None) -> Known:
        if known is None:
            self.next += 1
            return Known(self.next - 1, listed.name, listed.size)
        return replace(known, name=listed.name, size=listed.size or known.size, gone_at=None)

    def store_headers(self, here: Mapping[int, Known], headers: Headers) -> None:
        """Ask once for the headers of messages older than the account, and store their digests."""
        below = self.next if self._reset else self._row.begin_below
        old = {place: one for place, one in here.items() if one.head is None and one.number < below}
        some = list(old)[: pop3_headers.AT_MOST]
        if not some:
            return
        with suppress(MailError):
            headers.of(some)
        found = headers.known(some)
        with self._lease.transaction():
            for place in some:
                head = found[place].digest if place in found else b""
                this = (Uidl.account == self._lease.account) & (Uidl.number == old[place].number)
                Uidl.update(head=head).where(this).execute()

    def _store(self, known: Sequence[Known], here: Sequence[Known]) -> None:
        now = db.now()
        before = {one.key: one for one in known}
        listed = {one.key for one in here}
        unknown = {(one.name, 0) for one in here}  # whose size is known now
        fresh = [one for one in here if before.get(one.key) != one]
        rest = [one for one in known if one.key not in listed]
        gone = [one for one in rest if one.gone_at is None]
        vanished = [replace(one, gone_at=now) if one.gone_at is None else one for one in rest]
        forgotten = [*pop3_identity.expired(vanished, now), *(one.row for one in rest if one.key in unknown)]
        with self._lease.transaction():
            for rows in chunked([one.row for one in gone], ROWS):
                Uidl.update(gone_at=now).where(Uidl.id.in_(rows)).execute()
            for rows in chunked(forgotten, ROWS):
                Uidl.delete().where(Uidl.id.in_(rows)).execute()
            for some in chunked([self._values(one) for one in fresh], ROWS):
                Uidl.insert_many(some).on_conflict_replace().execute()  # a name used again has a new number

    def _values(self, one: Known) -> dict[str, object]:
        return {
            "account": self._lease.account,
            "number": one.number,
            "uidl": one.name,
            "size": one.size,
            "head": one.head,
            "gone_at": None,
        }


def _stored(account: str) -> list[Known]:
    query = Uidl.select(Uidl.number, Uidl.uidl, Uidl.size, Uidl.head, Uidl.gone_at, Uidl.id)
    rows = query.where(Uidl.account == account).order_by(Uidl.number).namedtuples()
    return [Known(one.number, one.uidl, one.size, one.head, one.gone_at, one.id) for one in rows]


def _highest_fetched(account: str) -> int:
    """The cursor may stand below it (`older`), and a number is never given twice."""
    fetched = (Message.account == account) & (Message.uidvalidity == POP3)
    return Message.select(fn.MAX(Message.uid)).where(fetched).scalar() or 0


def _with_stage(account: str, known: Sequence[Known], last: int) -> list[Known]:
    """The same, each with its stage by the cursor `last` and the rows of fetched messages."""
    query = Message.select(Message.uid, Message.pending)
    rows = query.where(Message.account == account, Message.uidvalidity == POP3).namedtuples()
    fetched = {one.uid: bool(one.pending) for one in rows}
    return [replace(one, stage=_stage(one.number, fetched, last)) for one in known]


def _stage(number: int, fetched: Mapping[int, bool], last: int) -> Stage:
    if number in fetched:
        return Stage.DELETE_PENDING if fetched[number] else Stage.FETCHED
    return Stage.EXCLUDED if number <= last else Stage.WANTED


def _store_gone(lease: Lease, numbers: Sequence[int]) -> None:
    """The server has deleted these; their names may be reused at once."""
    with lease.transaction():
        for some in chunked(numbers, ROWS):
            here = (Uidl.account == lease.account) & Uidl.number.in_(some) & Uidl.gone_at.is_null()
            Uidl.update(gone_at=db.now()).where(here).execute()


def _reset_numbers(lease: Lease) -> None:
    """Delete the numbers, and in the same commit void the cursor that was made of them (`open_cursor`)."""
    with lease.transaction():
        Uidl.delete().where(Uidl.account == lease.account).execute()
        Collection.update(endpoint_mark=None).where(Collection.account == lease.account).execute()
