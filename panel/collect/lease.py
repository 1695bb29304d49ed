"""One collector per account at a time, across processes: a lease in the account's Collection row.

Taken and renewed by compare-and-set. It expires by itself, so that a killed collector blocks its account
for LEASE_SECONDS at most.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from panel import db
from panel.models import Collection
from panel.models.collection import LEASE_SECONDS
from panel.models.moment import ahead


class LeaseLost(Exception):
    """Another collector has taken the account over; this one must write nothing more for it."""


def is_free() -> Any:
    """The SQL condition that no living collector holds it. Further ahead than its length, a lease is void."""
    until = Collection.leased_until
    return Collection.leased_by.is_null() | (until <= db.now()) | ahead(until, LEASE_SECONDS)


def release_dead(account: str | None = None) -> None:
    """Release what dead processes of this machine hold, for all accounts or for one."""
    held = Collection.leased_until > db.now()
    if account is not None:
        held &= Collection.account == account
    for row in Collection.select(Collection.leased_by).where(held):
        host, _, rest = str(row.leased_by).partition(":")
        if host == _host() and not _alive(rest.partition(":")[0]):
            same = Collection.leased_by == row.leased_by
            Collection.update(leased_by=None, leased_until=0).where(same).execute()


def _host() -> str:
    return socket.gethostname().replace(":", "")[:32]


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


class Lease:
    """The exclusive right of one round to collect one account."""

    def __init__(self, account: str) -> None:
        """A lease of the account with this uuid, not yet taken."""
        self.account = account
        self.holder = f"{_host()}:{os.getpid()}:{secrets.token_hex(6)}"

    def take(self) -> bool:
        """Take it if it is free or has expired; False where a living collector holds it."""
        release_dead(self.account)
        return self._update(is_free(), leased_by=self.holder, leased_until=db.now() + LEASE_SECONDS)

    def renew(self) -> None:
        """Extend it by LEASE_SECONDS. Raises LeaseLost."""
        if not self._update(self._is_mine, leased_until=db.now() + LEASE_SECONDS):
            raise LeaseLost(self.account)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that can commit only while the lease is held. Raises LeaseLost at its start."""
        with db.transaction():
            self.renew()
            yield

    def release(self, **values: object) -> bool:
        """Give it back, if it is still ours, and write `values` into the row. Whether it was ours."""
        return self._update(self._is_mine, leased_by=None, leased_until=0, **values)

    @property
    def _is_mine(self) -> Any:
        return Collection.leased_by == self.holder

    def _update(self, condition: Any, **values: object) -> bool:
        row = Collection.account == self.account
        return cast(int, Collection.update(**values).where(row, condition).execute()) == 1
