"""How many messages wait in new/ of each mailbox for the helpdesk.

Counting a large folder takes seconds, so the worker counts, and pages read what it recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panel import db
from panel.errors import SpoolError
from panel.models import LISTED, Account, SpoolCount
from panel.models.prepared import Prepared, given

MOST_LEFT = 20
STORED = "SELECT (SELECT sum(unread) FROM waiting WHERE unread > 0), (SELECT counted_at FROM waiting LIMIT 1)"


@dataclass(frozen=True)
class Count:
    """One mailbox's new/: how many messages, when the oldest was delivered, and when they were counted."""

    account: str
    unread: int
    oldest_at: int | None
    counted_at: int


def count(spool: Path) -> list[Count]:
    """Count the messages of every mailbox now. Raises SpoolError where a folder cannot be read."""
    return [
        _count(account.uuid, spool / account.uuid / "new")
        for account in Account.select(Account.uuid).where(LISTED)
    ]


def store(counts: Iterable[Count]) -> None:
    """Record `counts` for the pages."""
    with db.transaction():
        existing = {account.uuid for account in Account.select(Account.uuid).where(LISTED)}
        SpoolCount.delete().execute()
        for each in counts:
            if each.account in existing:
                SpoolCount.create(**vars(each))


@dataclass(frozen=True)
class WaitingMail:
    """What waits in all folders together, and where too much or too long: by address, the first of many."""

    unread: int
    counted_at: int | None
    left: list[tuple[str, Count]]


def waiting(spool: Path | None, many: int, long: int) -> WaitingMail:
    """What the worker counted last, or with `spool` what is counted now.

    `left` names the mailboxes where more than `many` messages wait, or one for longer than `long` seconds.
    """
    if spool is None:
        unread, counted_at = db.database.execute_sql(STORED).fetchone()
        rows = _LEFT.all(many=many, since=db.now() - long) if unread else []
        left = [(row.address, Count(row.account, row.unread, row.oldest_at, row.counted_at)) for row in rows]
        return WaitingMail(unread or 0, counted_at, left)
    counts = count(spool)
    address = {row.uuid: row.address for row in Account.select(Account.uuid, Account.address).where(LISTED)}
    left = [(address[each.account], each) for each in counts if _is_left(each, many, long)]
    at = min((each.counted_at for each in counts), default=None)
    return WaitingMail(sum(each.unread for each in counts), at, left)


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
        .where(LISTED & (SpoolCount.unread > 0) & ((SpoolCount.unread > given("many")) | old))
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
        pass  # nothing delivered yet
    except OSError as error:
        raise SpoolError(
            f"The mail folder {new} cannot be read: {(error.strerror or 'unknown reason').lower()}.",
            "Correct its owner and mode.",
        ) from None
    return Count(account, unread, oldest, db.now())


def _delivered_at(name: str) -> int | None:
    """The time that a Maildir name begins with (https://cr.yp.to/proto/maildir.html)."""
    seconds = name.partition(".")[0]
    return int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 12 else None
