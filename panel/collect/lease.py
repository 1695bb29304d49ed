"""One collector an account at a time, in whatever process: a lease in the account's Collection row.

Taken and kept by compare-and-set. It runs out by itself, so a killed collector
blocks nobody for longer than `SECONDS`.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import cast

from panel import db
from panel.models import Collection

SECONDS = 300  # longer than any time between two renewals of a living round
HOLDER_LENGTH = 64


class LeaseLost(Exception):  # noqa: N818 - not an error of anybody: somebody else goes on
    """Another collector has taken the account over. Nothing more may be written for it."""


class Lease:
    """The right to collect one account, held by this round."""

    def __init__(self, account: str) -> None:
        """A lease of the account with this uuid, not yet taken."""
        self.account = account
        self.holder = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(6)}"[-HOLDER_LENGTH:]

    def take(self) -> bool:
        """Take it where it is free or has run out; False where somebody holds it."""
        now = db.now()
        free = Collection.leased_by.is_null() | (Collection.leased_until <= now)
        return self._update(free, leased_by=self.holder, leased_until=now + SECONDS)

    def keep(self) -> None:
        """Hold it for another `SECONDS`. Inside the transaction of a commit it guards that commit.

        Raises LeaseLost where somebody else has it by now.
        """
        mine = Collection.leased_by == self.holder
        if not self._update(mine, leased_until=db.now() + SECONDS):
            raise LeaseLost(self.account)

    def release(self) -> None:
        """Give it back, if it is still ours."""
        self._update(Collection.leased_by == self.holder, leased_by=None, leased_until=0)

    def _update(self, condition: object, **values: object) -> bool:
        here = Collection.account == self.account
        return cast(int, Collection.update(**values).where(here, condition).execute()) == 1
