"""Activity is kept for PANEL_ACTIVITY_DAYS and then removed, and that is an event of its own."""

from __future__ import annotations

from datetime import UTC, datetime

from panel import db
from panel.audit import record
from panel.models.events import Activity

DAY = 24 * 3600
BATCH = 20_000  # events to one transaction: other writers wait no longer than a moment


def prune(days: int) -> int:
    """Remove all events older than `days` days; how many there were.

    Each batch is removed together with the event that says so, or not at all.
    """
    before, removed = db.now() - days * DAY, 0
    while count := _remove(before):
        removed += count
    return removed


def _remove(before: int) -> int:
    with db.transaction():
        oldest = Activity.select(Activity.id).where(Activity.at < before).limit(BATCH)
        count = Activity.delete().where(Activity.id.in_(oldest)).execute()
        if count:
            date = datetime.fromtimestamp(max(before, 0), UTC).date()
            record("old activity removed", detail=f"{count} events from before {date}.", who="worker")
    return int(count)
