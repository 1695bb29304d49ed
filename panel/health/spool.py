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
from panel.deliver.spool import is_uuid
from panel.errors import SpoolError
from panel.models import LISTED, Account, SpoolCount
from panel.models.base import as_whole
from panel.wording import reason

MOST_LEFT = 20
# What the worker counted last: rows as those of `sign_ins.FACTS`, with which they are read.
FACTS = f"""
SELECT 'unread', NULL, NULL, NULL, (SELECT counted_at FROM waiting LIMIT 1), NULL, NULL,
  (SELECT sum(unread) FROM waiting WHERE unread > 0), NULL
UNION ALL
SELECT * FROM (SELECT 'left', CAST(w.account_id AS TEXT), CAST(a.address AS TEXT), NULL, w.counted_at,
    w.oldest_at, NULL, w.unread, NULL
  FROM waiting w JOIN account a ON a.uuid = w.account_id AND a.removed_at IS NULL
  WHERE w.unread > 0 AND (w.unread > :many OR w.oldest_at < :since) ORDER BY a.address LIMIT {MOST_LEFT})
"""  # noqa: S608 - a number of ours


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
        if is_uuid(account.uuid)  # never a path that SQL put there
    ]


def store(counts: Iterable[Count]) -> None:
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


def stored(rows: list[Any]) -> WaitingMail:
    """What the worker counted last, from the rows of FACTS."""
    _, _, _, _, counted_at, _, _, unread, _ = next(row for row in rows if row[0] == "unread")
    left = [
        (address, Count(account, as_whole(number) or 0, as_whole(oldest_at), as_whole(at) or 0))
        for kind, account, address, _, at, oldest_at, _, number, _ in rows
        if kind == "left"
    ]
    return WaitingMail(unread or 0, counted_at, left)


def counted(spool: Path, many: int, long: int) -> WaitingMail:
    """What waits now.

    `left` names the mailboxes where more than `many` messages wait, or one for longer than `long` seconds.
    """
    counts = count(spool)
    address = {row.uuid: row.address for row in Account.select(Account.uuid, Account.address).where(LISTED)}
    left = [(address[each.account], each) for each in counts if _is_left(each, many, long)]
    at = min((each.counted_at for each in counts), default=None)
    return WaitingMail(sum(each.unread for each in counts), at, left)


def _is_left(found: Count, many: int, long: int) -> bool:
    old = found.oldest_at is not None and db.now() - found.oldest_at > long
    return found.unread > many or (found.unread > 0 and old)


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
            f"The mail folder {new} cannot be read: {reason(error)}.", "Correct its owner and mode."
        ) from None
    return Count(account, unread, oldest, db.now())


def _delivered_at(name: str) -> int | None:
    """The time that a Maildir name begins with (https://cr.yp.to/proto/maildir.html)."""
    seconds = name.partition(".")[0]
    return int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 12 else None
