"""What the worker does besides collecting: counting the spool, and removing old activity."""

from __future__ import annotations

from panel import db
from panel.activity import retention
from panel.config import Settings
from panel.health import heartbeat, spool

COUNT_SECONDS = 300
DAY = 24 * 3600


def is_due() -> bool:
    """Whether there is something to do."""
    return heartbeat.is_due("counted_at", COUNT_SECONDS)


def run(settings: Settings) -> None:
    """Do what is due; several at once do it once. Raises SpoolError where a folder cannot be read."""
    if not heartbeat.claim("counted_at", COUNT_SECONDS):
        return
    if not clock_was_moved() and heartbeat.claim("pruned_at", DAY):
        retention.prune(settings.activity_days)
    spool.note(spool.count(settings.mail_spool))


def clock_was_moved() -> bool:
    """Whether it was within a day: a clock that is years ahead must not make all activity look old."""
    jumped_at = heartbeat.read().jumped_at
    return jumped_at is not None and abs(db.now() - jumped_at) < DAY
