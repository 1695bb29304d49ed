"""Which mailboxes have a parked session, in which their server announces new mail: marks in their rows.

The mark is written by the statement that ends a round, and names the process that holds the session. A
process that was killed holds none: its marks count for nothing, and are taken off by whoever looks next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from peewee import Case, fn

from panel import db, process
from panel.collect import lease
from panel.models import LISTED, Account, Collection, Consent, Endpoint
from panel.models.prepared import Prepared, given

MARKED = Collection.parked_by.is_null(False)


@dataclass(frozen=True)
class Terms:
    """What a session was opened for. It may stay open only while the database still says the same."""

    rev: int  # of the endpoint
    address: str  # that SQL may have changed: the endpoint would not open any more
    folder: str
    on_server: str
    consent: str | None  # which one, since when, and whether the provider has ended it

    @property
    def entered(self) -> tuple[object, ...]:
        """What people chose of it: all but whether the provider has ended the consent."""
        consents = (one.rpartition("/")[0] for one in (self.consent or "").split(","))
        return self.rev, self.folder, self.on_server, *consents


def is_connected(parked_by: str | None) -> bool:
    """Whether new mail arrives at once, by the row's `parked_by`."""
    return parked_by is not None and not process.is_dead(parked_by)


def connected() -> int:
    """To how many mailboxes new mail comes at once. All others that are not paused are asked at intervals."""
    return sum(row.count for row in _MARKS.all() if is_connected(row.parked_by))


def _marks() -> Any:
    active = (MARKED, LISTED, Account.paused_at.is_null())
    marks = Collection.select(Collection.parked_by, fn.count().alias("count")).join(Account)
    return marks.where(*active).group_by(Collection.parked_by)


_MARKS = Prepared(_marks)


def release_dead() -> None:
    """Take off the marks of dead processes of this machine: their mailboxes are due now."""
    marks = Collection.select(Collection.parked_by).where(MARKED).distinct()
    for (holder,) in cast(Iterable[tuple[str]], marks.tuples()):
        if process.is_dead(str(holder)):
            _take_off(Collection.parked_by == holder)


def release_earlier(holder: str) -> None:
    """Take off every mark but those of `holder`, the worker that starts: they are of earlier ones.

    Their numbers may be other processes' by now, and a container has another name each time. A second worker
    on the same database only loses its marks: it closes its sessions, and asks again.
    """
    _take_off(MARKED & (Collection.parked_by != holder))


def release(holder: str, uuids: Iterable[str]) -> None:
    """Take off the marks of `holder` from these: their sessions were ended, and they are due now."""
    _take_off((Collection.parked_by == holder) & Collection.account.in_(list(uuids)))


def terms(uuid: str) -> Terms | None:
    """What a session of this account may be opened for now; None where it has no server."""
    return next((_as_terms(row) for row in _OF.all(uuid=uuid)), None)


def permitted(holder: str) -> dict[str, Terms]:
    """The accounts whose mark is that of `holder` and whose session may stay open, with its terms.

    Not those that are paused or removed, or that another collector has taken.
    """
    return {row.uuid: _as_terms(row) for row in _PERMITTED.all(holder=holder, now=db.now())}


def _as_terms(row: Any) -> Terms:
    return Terms(row.rev, row.address, row.folder, row.on_server, row.consent)


def _terms() -> Any:
    since, until = (fn.coalesce(at, "") for at in (Consent.connected_at, Consent.ended_at))
    consents = Consent.select(fn.group_concat(fn.printf("%s/%s/%s", Consent.uid, since, until)))
    consent = consents.where(Consent.account == Account.uuid).alias("consent")
    on = (Endpoint.account == Account.uuid) & (Endpoint.direction == "in")
    columns = (Account.uuid, Endpoint.rev, Account.address, Account.folder, Account.on_server, consent)
    return Collection.select(*columns).join(Account).join(Endpoint, on=on)


def _permitted() -> Any:
    free = lease.is_free(given("now"))
    return _terms().where(Collection.parked_by == given("holder"), Account.paused_at.is_null(), LISTED, free)


_OF = Prepared(lambda: _terms().where(Account.uuid == given("uuid")))
_PERMITTED = Prepared(_permitted)


def _take_off(marked: Any) -> None:
    soon = Case(None, ((Collection.next_due_at < db.now(), Collection.next_due_at),), db.now())
    Collection.update(parked_by=None, next_due_at=soon, waits=0).where(marked).execute()
