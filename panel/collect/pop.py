"""A POP3 mailbox as a Box: its messages numbered by us, because it names them by strings in no order.

The numbers stand in the table Uidl, ascending as the messages appeared, so that
the cursor, 'Begin with' and delivering work as they do with IMAP's UIDs. Which
message is which, `names` decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from peewee import chunked

from panel import db
from panel.collect import names
from panel.collect.cursor import NAMED
from panel.collect.lease import Lease
from panel.collect.names import Known, Seen, Stage
from panel.collect.pop_heads import AT_MOST, Head, Heads
from panel.errors import MailError, MessageTooLarge
from panel.mail.pop3 import Listed, Pop3Session
from panel.models import Collection, Message, Uidl

AT_ONCE = 200  # rows to one statement
SPARE = 180.0  # seconds of the session for what can as well be done in the next
UNLOCK_SECONDS = 10


class PopBox:
    """The mailbox that `session` has open. `panel.mail.imap.ImapSession` says what each method does."""

    def __init__(self, session: Pop3Session, lease: Lease, mark: bytes, limit: int) -> None:
        """Number what is there. `mark` stands for the endpoint; above `limit` bytes nothing is taken."""
        self._session = session
        self._lease = lease
        self._limit = limit
        self._heads = Heads(session, lease)
        self.uidvalidity = NAMED
        self._here, self._numbering = _numbered(session, self._heads, lease, mark)
        self.uidnext = self._numbering.following
        listed = {one.place: one for one in session.listed}
        self._known = {one.number: listed[place] for place, one in self._here.items()}
        self._unnamed = {one.place for one in session.listed if not one.named}

    @property
    def pause(self) -> int:
        """What the server announces; at least until it has unlocked the mailbox for the next session."""
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
        """POP3 does not tell; `panel.accounts.rules` refuses to ask for it."""
        return []

    def arrived_since(self, moment: int) -> list[int]:
        """Those whose Received header says so, and those that say nothing: rather too many than one lost."""
        heads = self._heads.of(one.place for one in self._known.values())
        return [uid for uid in self.uids(0) if _arrived(heads.get(self._known[uid].place)) >= moment]

    def sizes(self, uids: Iterable[int]) -> dict[int, int]:
        return {uid: self._known[uid].size for uid in uids if uid in self._known}

    def fetch(self, uids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Each message once. What turns out to be above the limit is left out, whatever its size said."""
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
        """Delete what is still there under the same name, and end the session."""
        numbers = {self._known[uid].place: uid for uid in uids if uid in self._known}
        unnamed = [place for place in numbers if place in self._unnamed]
        moved = self._heads.changed(unnamed) if unnamed else set()
        self._session.delete([place for place in numbers if place not in moved])
        _gone(self._lease, list(numbers.values()))

    def keep_heads(self) -> None:
        """Ask for the headers of what was there before the account, some in each session.

        That is for later; so it is done after all else, and no mail waits for it. Raises LeaseLost.
        """
        if not self._session.ended and self._session.seconds_left() > SPARE:
            self._numbering.keep_heads(self._here, self._heads)


def _arrived(head: Head | None) -> float:
    return float("inf") if head is None or head.received_at is None else head.received_at


def _cannot(what: str) -> MailError:
    return MailError("after", f"POP3 cannot {what}.", "Choose to keep mail on the server, or use IMAP.")


def _numbered(
    session: Pop3Session, heads: Heads, lease: Lease, mark: bytes
) -> tuple[dict[int, Known], _Numbering]:
    """The messages with our numbers, by place. Raises MailError, LeaseLost."""
    seen = _seen(session.listed, heads)
    if session.listed and not seen:
        raise MailError(
            "folder",
            f"{session.host} says that messages are there, but names none of them and hands none out.",
            "It is tried again by itself.",
        )
    numbering = _Numbering(lease, mark)
    return numbering.number(seen, heads), numbering


def _seen(listed: Sequence[Listed], heads: Heads) -> list[Seen]:
    """What is listed, each under a name that tells it apart. Raises MailError.

    What has no name, and is not handed out either, is not there.
    """
    unnamed = [one for one in listed if not one.named]
    better = heads.names(unnamed) if unnamed else {}
    count: Counter[str] = Counter()
    seen = []
    for one in listed:
        name = better.get(one.place, one.uidl)
        count[name] += 1
        if name:
            again = f" {count[name]}" if count[name] > 1 else ""
            seen.append(Seen(one.place, name + again, one.size))
    return seen


class _Numbering:
    """The numbers of one account's messages, as they are stored. Every method raises LeaseLost."""

    def __init__(self, lease: Lease, mark: bytes) -> None:
        self._lease = lease
        self._row = Collection.get_by_id(lease.account)
        self._anew = self._row.endpoint_mark != mark
        if self._anew:
            _begin_anew(lease)
        self._known = [] if self._anew else _stored(lease.account)
        last = 0 if self._anew else self._row.last_uid
        self.following = max([last, *(one.number for one in self._known)]) + 1

    def number(self, seen: Sequence[Seen], heads: Heads) -> dict[int, Known]:
        """Each message with its number, by its place. Writes only what changed."""
        listed = {(one.name, one.size): one for one in self._known if one.gone_at is None}
        numbers = {one.number for one in listed.values()}
        if len(seen) == len(numbers) == len(listed) and all((one.name, one.size) in listed for one in seen):
            return {one.place: listed[one.name, one.size] for one in seen}
        known = _staged(self._lease.account, self._known, self._row.last_uid)
        looked = heads.of_some(names.to_look_at(known, seen))
        seen = [replace(one, head=looked[one.place].digest) if one.place in looked else one for one in seen]
        same = names.recognise(known, seen)
        here = {one.place: self._entry(one, same.get(one.place)) for one in seen}
        self._store(known, list(here.values()))
        return here

    def _entry(self, seen: Seen, known: Known | None) -> Known:
        if known is None:
            self.following += 1
            return Known(self.following - 1, seen.name, seen.size)
        return replace(known, name=seen.name, size=seen.size or known.size, gone_at=None)

    def keep_heads(self, here: Mapping[int, Known], heads: Heads) -> None:
        """Ask once for the headers of what was there before the account, and store what is had of them."""
        below = self.following if self._anew else self._row.begin_below
        old = {place: one for place, one in here.items() if one.head is None and one.number < below}
        some = list(old)[:AT_MOST]
        if not some:
            return
        with suppress(MailError):
            heads.of(some)
        looked = heads.had(some)
        with db.transaction():
            self._lease.keep()
            for place in some:
                head = looked[place].digest if place in looked else b""
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
        forgotten = [*names.outdated(vanished, now), *(one.row for one in rest if one.key in unknown)]
        with db.transaction():
            self._lease.keep()
            for rows in chunked([one.row for one in gone], AT_ONCE):
                Uidl.update(gone_at=now).where(Uidl.id.in_(rows)).execute()
            for rows in chunked(forgotten, AT_ONCE):
                Uidl.delete().where(Uidl.id.in_(rows)).execute()
            for some in chunked([self._values(one) for one in fresh], AT_ONCE):
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


def _staged(account: str, known: Sequence[Known], last: int) -> list[Known]:
    """The same, each with what became of it, by the cursor `last` and the rows of fetched messages."""
    query = Message.select(Message.uid, Message.pending)
    rows = query.where(Message.account == account, Message.uidvalidity == NAMED).namedtuples()
    fetched = {one.uid: bool(one.pending) for one in rows}
    return [replace(one, stage=_stage(one.number, fetched, last)) for one in known]


def _stage(number: int, fetched: Mapping[int, bool], last: int) -> Stage:
    if number in fetched:
        return Stage.OWED if fetched[number] else Stage.DONE
    return Stage.LEFT if number <= last else Stage.OPEN


def _gone(lease: Lease, numbers: Sequence[int]) -> None:
    """What the server has deleted for us is there no more, and its name may be used again at once."""
    with db.transaction():
        lease.keep()
        for some in chunked(numbers, AT_ONCE):
            here = (Uidl.account == lease.account) & Uidl.number.in_(some) & Uidl.gone_at.is_null()
            Uidl.update(gone_at=db.now()).where(here).execute()


def _begin_anew(lease: Lease) -> None:
    """Forget the numbers, and with the same commit the cursor that was made of them (`open_cursor`)."""
    with db.transaction():
        lease.keep()
        Uidl.delete().where(Uidl.account == lease.account).execute()
        Collection.update(endpoint_mark=None).where(Collection.account == lease.account).execute()
