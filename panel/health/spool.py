"""How many messages wait in new/ of each mailbox for the helpdesk.

Counting a large folder takes seconds, so the worker counts, and pages read what it recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from panel import db
from panel.errors import SpoolError
from panel.models import Account, Waiting


@dataclass(frozen=True)
class Count:
    """One mailbox's new/: how many messages, when the oldest was delivered, and when they were counted."""

    account: str
    unread: int
    oldest_at: int | None
    counted_at: int


def count(spool: Path) -> list[Count]:
    """Count the messages of every mailbox now. Raises SpoolError where a folder cannot be read."""
    return [_count(account.uuid, spool / account.uuid / "new") for account in Account.select(Account.uuid)]


def store(counts: Iterable[Count]) -> None:
    """Record `counts` for the pages."""
    with db.transaction():
        existing = {account.uuid for account in Account.select(Account.uuid)}
        Waiting.delete().execute()
        for each in counts:
            if each.account in existing:
                Waiting.create(**vars(each))


def stored() -> list[Count]:
    """What the worker last counted."""
    return [Count(row.account_id, row.unread, row.oldest_at, row.counted_at) for row in Waiting.select()]


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
