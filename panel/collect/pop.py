"""A POP3 mailbox as a Box: its messages numbered by us, because it names them by strings in no order.

The numbers stand in the table Uidl, ascending as the messages appeared, so that
the cursor, 'Begin with' and delivering work as they do with IMAP's UIDs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from peewee import chunked

from panel import db
from panel.collect.lease import Lease
from panel.errors import MailError
from panel.mail.pop3 import Listed, Pop3Session
from panel.models import Collection, Uidl

UIDVALIDITY = 1  # the numbers are ours; where they become void, the cursor begins anew
UNLOCK_SECONDS = 10
AT_ONCE = 200  # rows to one INSERT


class PopBox:
    """The mailbox that `session` has open. `panel.mail.imap.ImapSession` says what each method does."""

    def __init__(self, session: Pop3Session, lease: Lease, mark: bytes, limit: int) -> None:
        """Number what is there. `mark` stands for the endpoint; above `limit` bytes nothing is taken."""
        self._session = session
        self._limit = limit
        self.uidvalidity = UIDVALIDITY
        self._known, self.uidnext = _numbered(session.listed, lease, mark)

    @property
    def pause(self) -> int:
        """What the server announces; at least until it has unlocked the mailbox for the next session."""
        return max(self._session.login_delay, UNLOCK_SECONDS)

    @property
    def ended(self) -> bool:
        """Deleting ends the session."""
        return self._session.ended

    def uids(self, after: int) -> list[int]:
        return sorted(number for number in self._known if number > after)

    def unseen(self) -> list[int]:
        """POP3 does not tell; `panel.accounts.rules` refuses to ask for it."""
        return []

    def arrived_since(self, moment: int) -> list[int]:
        """Those whose Received header says so, and those that say nothing: rather too many than one lost."""
        return [number for number in self.uids(0) if self._arrived(number) >= moment]

    def _arrived(self, number: int) -> float:
        at = self._session.received_at(self._known[number].place)
        return float("inf") if at is None else at

    def sizes(self, uids: Iterable[int]) -> dict[int, int]:
        return {uid: self._known[uid].size for uid in uids if uid in self._known}

    def fetch(self, uids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Each message once. What turns out to be above the limit is left out, whatever its size said."""
        places = {self._known[uid].place: uid for uid in uids if uid in self._known}
        small = [p for p, uid in sorted(places.items()) if self._known[uid].size <= self._limit]
        for place, raw, size in self._session.fetch(small):
            if size <= self._limit:
                yield places[place], raw
            else:
                self._known[places[place]] = replace(self._known[places[place]], size=size)

    def seconds_left(self) -> float:
        return self._session.seconds_left()

    def mark_seen(self, uids: Iterable[int]) -> None:
        raise _cannot("mark mail as read")

    def move(self, uids: Iterable[int], folder: str) -> None:
        raise _cannot("move mail")

    def delete(self, uids: Iterable[int]) -> None:
        """Delete what is still there, and end the session."""
        self._session.delete([self._known[uid].place for uid in uids if uid in self._known])


def _cannot(what: str) -> MailError:
    return MailError("after", f"POP3 cannot {what}.", "Choose to keep mail on the server, or use IMAP.")


def _numbered(listed: list[Listed], lease: Lease, mark: bytes) -> tuple[dict[int, Listed], int]:
    """The mailbox by our numbers, and the next number. Writes only what changed. Raises LeaseLost."""
    row = Collection.get_by_id(lease.account)
    stored = Uidl.select(Uidl.uidl, Uidl.number).where(Uidl.account == lease.account)
    numbers = {str(one.uidl): int(one.number) for one in stored.namedtuples()}
    here = {one.uidl for one in listed}
    last = row.last_uid
    if row.endpoint_mark != mark or (numbers and here and here.isdisjoint(numbers)):
        # Another mailbox, or a server that has named all its messages anew, as after a restore.
        _begin_anew(lease)
        numbers, last = {}, 0
    following = max([last, *numbers.values()]) + 1
    fresh = [one.uidl for one in listed if one.uidl not in numbers]
    gone = [uidl for uidl in numbers if uidl not in here]
    numbers |= {uidl: following + place for place, uidl in enumerate(fresh)}
    if fresh or gone:
        _store(lease, {uidl: numbers[uidl] for uidl in fresh}, gone)
    return {numbers[one.uidl]: one for one in listed}, following + len(fresh)


def _begin_anew(lease: Lease) -> None:
    """Forget the numbers, and with the same commit the cursor that was made of them (`open_cursor`)."""
    with db.transaction():
        lease.keep()
        Uidl.delete().where(Uidl.account == lease.account).execute()
        Collection.update(endpoint_mark=None).where(Collection.account == lease.account).execute()


def _store(lease: Lease, fresh: dict[str, int], gone: list[str]) -> None:
    rows = [{"account": lease.account, "uidl": uidl, "number": number} for uidl, number in fresh.items()]
    with db.transaction():
        lease.keep()
        for some in chunked(rows, AT_ONCE):
            Uidl.insert_many(some).execute()
        for names in chunked(gone, AT_ONCE):
            Uidl.delete().where(Uidl.account == lease.account, Uidl.uidl.in_(names)).execute()
