"""One collector per account at a time, across processes: a lease in the account's Collection row.

Taken and renewed by compare-and-set. It expires by itself, so that a killed collector blocks its account
for LEASE_SECONDS at most. A round that finds nothing need not take it: it reads, and writes one row at its
end, provided that nobody else took the lease meanwhile (docs/decisions/0047).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from panel import db, process
from panel.models import Collection
from panel.models.collection import LEASE_SECONDS
from panel.models.moment import ahead
from panel.models.prepared import Prepared, given


class LeaseLost(Exception):
    """Another collector has taken the account over; this one must write nothing more for it."""


def is_free(now: Any = None) -> Any:
    """The SQL condition that no living collector holds it. Further ahead than its length, a lease is void."""
    until, now = Collection.leased_until, db.now() if now is None else now
    return Collection.leased_by.is_null() | (until <= now) | ahead(until, LEASE_SECONDS, now)


def _held() -> Any:
    return Collection.select(Collection.leased_by).where(Collection.leased_until > given("now"))


_HELD = Prepared(_held)
_HELD_OF = Prepared(lambda: _held().where(Collection.account == given("account")))
_FREE = Prepared(
    lambda: Collection.select(Collection.leases, Collection.next_due_at).where(
        Collection.account == given("account"), is_free(given("now"))
    )
)


def release_dead(account: str | None = None) -> None:
    """Release what dead processes of this machine hold, for all accounts or for one."""
    now = db.now()
    for row in _HELD.all(now=now) if account is None else _HELD_OF.all(now=now, account=account):
        if process.is_dead(str(row.leased_by)):
            same = Collection.leased_by == row.leased_by
            Collection.update(leased_by=None, leased_until=0).where(same).execute()


class Lease:
    """The exclusive right of one round to collect one account."""

    def __init__(self, account: str) -> None:
        """A lease of the account with this uuid, not yet taken."""
        self.account = account
        self.holder = process.holder()
        self.asked = False  # whether a person waits for the round
        self._held = False
        self._seen: int | None = None

    def look(self) -> bool:
        """Whether it is free. Act on what is read from now on: `renew` fails where that may have changed."""
        release_dead(self.account)
        row = _FREE.first(account=self.account, now=db.now())
        self._seen = row.leases if row else None
        self.asked = row is not None and row.next_due_at == 0
        return row is not None

    def take(self) -> bool:
        """Take it if it is free or has expired; False where a living collector holds it."""
        return self.look() and self._take()

    def renew(self) -> None:
        """Extend it by LEASE_SECONDS; take it first where it was only looked at. Raises LeaseLost."""
        until = db.now() + LEASE_SECONDS
        if not (self._update(self._is_mine, leased_until=until) if self._held else self._take()):
            raise LeaseLost(self.account)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that can commit only while the lease is held. Raises LeaseLost at its start."""
        if not self._held:
            self.renew()  # by a commit of its own: it outlives a transaction that fails
        with db.transaction():
            self.renew()
            yield

    def is_ours(self) -> bool:
        """Whether nobody else has taken it: inside a transaction it stays so."""
        condition = self._is_mine if self._held else self._is_unchanged
        return bool(Collection.select().where(Collection.account == self.account, condition).exists())

    def release(self, **values: object) -> bool:
        """Give it back, if it is still ours, and write `values` into the row. Whether it was ours.

        One that was never taken counts as ours while nobody else has taken it.
        """
        if self._held:
            self._held = False
            return self._update(self._is_mine, leased_by=None, leased_until=0, **values)
        return not values or self._update(self._is_unchanged, **values)

    @property
    def _is_mine(self) -> Any:
        return Collection.leased_by == self.holder

    @property
    def _is_unchanged(self) -> Any:
        return (Collection.leases == self._seen) & is_free()

    def _take(self) -> bool:
        until = db.now() + LEASE_SECONDS
        values: dict[str, object] = {"leased_by": self.holder, "leased_until": until}
        if self.asked:
            values["waits"] = 0  # what is asked for from now on is another round's
        self._held = self._update(self._is_unchanged, leases=Collection.leases + 1, **values)
        return self._held

    def _update(self, condition: Any, **values: object) -> bool:
        row = Collection.account == self.account
        return cast(int, Collection.update(**values).where(row, condition).execute()) == 1
