"""One collector an account at a time, in whatever process: a lease in the account's Collection row.

Taken and kept by compare-and-set. It runs out by itself, so a killed collector
blocks nobody for longer than `SECONDS`.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import Any, cast

from panel import db
from panel.models import Collection
from panel.models.moment import ahead

SECONDS = 300  # longer than any time between two renewals of a living round


class LeaseLost(Exception):
    """Another collector has taken the account over. Nothing more may be written for it."""


def is_free() -> Any:
    """The condition that nobody living holds it: a lease ahead of its own length is none."""
    until = Collection.leased_until
    return Collection.leased_by.is_null() | (until <= db.now()) | ahead(until, SECONDS)


def free_dead(account: str | None = None) -> None:
    """Free what processes of this machine hold that are alive no more: killed, or ended by a restart.

    Of all accounts, or of one.
    """
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
    """The right to collect one account, held by this round."""

    def __init__(self, account: str) -> None:
        """A lease of the account with this uuid, not yet taken."""
        self.account = account
        self.holder = f"{_host()}:{os.getpid()}:{secrets.token_hex(6)}"

    def take(self) -> bool:
        """Take it where it is free or has run out; False where somebody living holds it."""
        free_dead(self.account)
        return self._update(is_free(), leased_by=self.holder, leased_until=db.now() + SECONDS)

    def keep(self) -> None:
        """Hold it for another `SECONDS`. Inside the transaction of a commit it guards that commit.

        Raises LeaseLost where somebody else has it by now.
        """
        mine = Collection.leased_by == self.holder
        if not self._update(mine, leased_until=db.now() + SECONDS):
            raise LeaseLost(self.account)

    def release(self, **noted: object) -> bool:
        """Give it back, if it is still ours, and write `noted` into the row with it. Whether it was."""
        mine = Collection.leased_by == self.holder
        return self._update(mine, leased_by=None, leased_until=0, **noted)

    def _update(self, condition: object, **values: object) -> bool:
        here = Collection.account == self.account
        return cast(int, Collection.update(**values).where(here, condition).execute()) == 1
