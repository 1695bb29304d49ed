"""What the worker does besides collecting: counting the spool, and removing what is old."""

from __future__ import annotations

from panel import db
from panel.activity import log
from panel.config import Settings
from panel.health import heartbeat, spool
from panel.messages import retention

COUNT_SECONDS = 300
DAY = 24 * 3600


def is_due() -> bool:
    return heartbeat.is_due("counted_at", COUNT_SECONDS)


def run(settings: Settings) -> None:
    """Do what is due, once among all processes. Raises SpoolError where a folder cannot be read."""
    if not heartbeat.claim("counted_at", COUNT_SECONDS):
        return
    if not _clock_jumped() and heartbeat.claim("pruned_at", DAY):
        log.prune(settings.activity_days)
        retention.prune(settings.message_log_days, settings.timezone)
    retention.note_taken(settings.mail_spool)
    spool.store(spool.count(settings.mail_spool))


def _clock_jumped() -> bool:
    """Whether it did within a day: a clock that is years ahead must not make all activity look old."""
    jumped_at = heartbeat.read().jumped_at
    return jumped_at is not None and abs(db.now() - jumped_at) < DAY
