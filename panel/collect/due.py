"""Which accounts are due. The table says it; whoever collects asks it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from peewee import JOIN, Case, fn

from panel import db
from panel.collect import health, lease
from panel.models import Account, Collection, Endpoint
from panel.models.moment import ahead, is_ahead


@dataclass(frozen=True)
class Waiting:
    """An account that is due: where its mail is, since when it waits, whether its last round ended well."""

    uuid: str
    host: str = ""
    port: int = 0
    since: int = 0
    worked: bool = False


def waiting() -> list[Waiting]:
    """The accounts to collect now, the longest waiting first.

    Not those that are paused, that back off after an error, or that somebody living is collecting.
    Found by index: it costs as much as there are of them, not as there are accounts.
    """
    lease.free_dead()
    return sorted(_found(), key=lambda one: (one.since, one.uuid))


def accounts() -> list[str]:
    """The uuids of those."""
    return [one.uuid for one in waiting()]


def find(uuid: str) -> Waiting | None:
    """One account where it is due, else None. Asks for its own rows alone."""
    lease.free_dead(uuid)
    return next(iter(_found(Account.uuid == uuid)), None)


def is_due(uuid: str) -> bool:
    """Whether one account is due, so that what was enqueued twice is not collected twice."""
    return find(uuid) is not None


def at_once(uuid: str) -> None:
    """Make an account due now, whatever it backs off from: somebody has mended or asked for it."""
    Collection.update(next_due_at=0).where(Collection.account == uuid).execute()


def next_try(row: Collection, interval: int) -> int | None:
    """When the next round of `row` is due; None where it is due now, or where no such time is believed."""
    at, longest = row.next_due_at, row.waits
    if not isinstance(longest, int):
        longest = interval if row.failures == 0 else health.BACKOFF_REFUSED[-1]
    known = isinstance(at, int) and at > 0 and not is_ahead(at, min(longest, health.LONGEST))
    return at if known else None


def _found(here: Any = True) -> list[Waiting]:
    """All that are due where `here` is true: each kind is a range of an index."""
    come = Collection.next_due_at <= db.now()
    longest = fn.min(fn.coalesce(Collection.waits, _longest()), health.LONGEST)
    kinds = _known(come), _known(ahead(Collection.next_due_at, longest)), _new()
    first, *others = (kind.where(here) for kind in kinds)
    for other in others:
        first = first.union_all(other)
    rows = cast(Iterable[tuple[str, object, object, object, object]], first.tuples())
    return [
        Waiting(uuid, str(host), _whole(port), _whole(since), bool(worked))
        for uuid, host, port, since, worked in rows
        if host is not None
    ]


def _known(come: Any) -> Any:
    """Those whose time has `come`: it is over, or lies further ahead than any wait of theirs."""
    worked = Collection.last_success_at.is_null(False) & Collection.problem.is_null()
    return (
        Collection.select(Account.uuid, Endpoint.host, Endpoint.port, Collection.next_due_at, worked)
        .join(Account)
        .join(Endpoint, on=_incoming())
        .where(Account.paused_at.is_null(), come, lease.is_free())
    )


def _new() -> Any:
    """Those that nobody ever looked at."""
    seen = Collection.select(Collection.account).where(Collection.account == Account.uuid)
    return (
        Account.select(Account.uuid, Endpoint.host, Endpoint.port, 0, 0)
        .join(Endpoint, JOIN.LEFT_OUTER, on=_incoming())  # after the search, not before it
        .where(Account.paused_at.is_null(), ~fn.EXISTS(seen))
    )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _incoming() -> Any:
    return (Endpoint.account == Account.uuid) & (Endpoint.direction == "in")


def _longest() -> Any:
    """What a wait can have been at most where it was not written down."""
    return Case(None, ((Collection.failures == 0, Account.interval),), health.BACKOFF_REFUSED[-1])
