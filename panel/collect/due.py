"""Which accounts are due. The table says it; the queue only carries it."""

from __future__ import annotations

from peewee import JOIN

from panel import db
from panel.collect import lease
from panel.models import Account, Collection, Endpoint


def accounts() -> list[str]:
    """The uuids of the accounts to collect now, the longest waiting first.

    Not those that are paused, that back off after an error, or that somebody living is collecting.
    """
    lease.free_dead()
    now = db.now()
    free = Collection.leased_by.is_null() | (Collection.leased_until <= now)
    waiting = Collection.account.is_null() | ((Collection.next_due_at <= now) & free)
    query = (
        Account.select(Account.uuid)
        .join(Endpoint, on=(Endpoint.account == Account.uuid) & (Endpoint.direction == "in"))
        .switch(Account)
        .join(Collection, JOIN.LEFT_OUTER, on=(Collection.account == Account.uuid))
        .where(Account.paused_at.is_null(), waiting)
        .order_by(Collection.next_due_at, Account.uuid)
    )
    return [account.uuid for account in query]


def is_due(uuid: str) -> bool:
    """Whether one account is due, so that what was enqueued twice is not collected twice."""
    return uuid in accounts()


def at_once(uuid: str) -> None:
    """Make an account due now, whatever it backs off from: somebody has mended or asked for it."""
    Collection.update(next_due_at=0).where(Collection.account == uuid).execute()
