"""How much mail lies in new/ of each account and waits to be taken away.

To count a large folder takes seconds, so the worker counts and pages read what it noted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panel import db
from panel.errors import SpoolError
from panel.models import Account, SpoolCount
from panel.models.prepared import Prepared, given

MOST_LEFT = 20
NOTED = "SELECT (SELECT sum(unread) FROM waiting WHERE unread > 0), (SELECT counted_at FROM waiting LIMIT 1)"


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


@dataclass(frozen=True)
class Found:
    """What waits in all folders together, and where too much or too long: by address, the first of many."""

    unread: int
    counted_at: int | None
    left: list[tuple[str, Count]]


def waiting(spool: Path | None, many: int, long: int) -> Found:
    """What the worker counted last, or with `spool` what is counted now.

    Left behind is where more than `many` messages lie, or one for longer than `long` seconds.
    """
    if spool is None:
        unread, counted_at = db.database.execute_sql(NOTED).fetchone()
        rows = _LEFT.all(many=many, since=db.now() - long) if unread else []
        left = [(row.address, Count(row.account, row.unread, row.oldest_at, row.counted_at)) for row in rows]
        return Found(unread or 0, counted_at, left)
    counts = count(spool)
    address = {row.uuid: row.address for row in Account.select(Account.uuid, Account.address)}
    left = [(address[each.account], each) for each in counts if _is_left(each, many, long)]
    at = min((each.counted_at for each in counts), default=None)
    return Found(sum(each.unread for each in counts), at, left)


def _is_left(found: Count, many: int, long: int) -> bool:
    old = found.oldest_at is not None and db.now() - found.oldest_at > long
    return found.unread > many or (found.unread > 0 and old)


def _select_left() -> Any:
    old = SpoolCount.oldest_at < given("since")
    columns = (
        SpoolCount.account,
        SpoolCount.unread,
        SpoolCount.oldest_at,
        SpoolCount.counted_at,
        Account.address,
    )
    return (
        SpoolCount.select(*columns)
        .join(Account)
        .where((SpoolCount.unread > 0) & ((SpoolCount.unread > given("many")) | old))
        .order_by(Account.address)
        .limit(MOST_LEFT)
    )


_LEFT = Prepared(_select_left)


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
