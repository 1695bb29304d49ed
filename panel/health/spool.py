"""How much mail lies in new/ of each account and waits to be taken away.

To count a large folder takes seconds, so the worker counts and pages read what it noted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from panel import db
from panel.errors import SpoolError
from panel.models import Account, SpoolCount


@dataclass(frozen=True)
class Count:
    """One account's new/: how many messages, since when the oldest lies there, and when it was counted."""

    account: str
    unread: int
    oldest_at: int | None
    counted_at: int


def count(spool: Path) -> list[Count]:
    """Count now, every account's folder. Raises SpoolError where one cannot be read."""
    return [_count(account.uuid, spool / account.uuid / "new") for account in Account.select(Account.uuid)]


def note(counts: Iterable[Count]) -> None:
    """Keep `counts` for the pages."""
    with db.transaction():
        there = {account.uuid for account in Account.select(Account.uuid)}
        SpoolCount.delete().execute()
        for each in counts:
            if each.account in there:
                SpoolCount.create(**vars(each))


def noted() -> list[Count]:
    """What the worker counted last."""
    return [
        Count(row.account_id, row.unread, row.oldest_at, row.counted_at)
        for row in SpoolCount.select()
    ]  # fmt: skip


def _count(account: str, new: Path) -> Count:
    unread, oldest = 0, None
    try:
        with os.scandir(new) as entries:
            for entry in entries:
                unread += 1
                at = _delivered_at(entry.name)
                oldest = at if oldest is None else min(oldest, at or oldest)
    except FileNotFoundError:
        pass  # nothing was delivered yet
    except OSError as error:
        raise SpoolError(
            f"The mail folder {new} cannot be read: {(error.strerror or 'unknown reason').lower()}.",
            "Check its owner and mode.",
        ) from None
    return Count(account, unread, oldest, db.now())


def _delivered_at(name: str) -> int | None:
    """The moment that a Maildir name begins with (https://cr.yp.to/proto/maildir.html)."""
    seconds = name.partition(".")[0]
    return int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 12 else None
