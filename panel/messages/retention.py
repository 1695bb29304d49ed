"""Folds and removes what the log and the counts keep too long: work of the worker.

Each step is a small transaction that may be repeated: collecting waits for none of them, and a kill in
between leaves the rest to the next day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from peewee import chunked

from panel import db
from panel.messages.chart import noon_of, start_of
from panel.messages.rows import is_waiting

DAY = 24 * 3600
HOURLY_DAYS = 60  # then there is one count for each day,
COUNT_DAYS = 400  # and after these none
ROUND_DAYS = 90
BATCH = 2_000  # rows of one transaction
MAILBOXES = 200

WAITING = """
SELECT l.id, l.account_id, m.name, m.ready FROM message_log l JOIN message m ON m.id = l.fetched_id
WHERE l.waiting AND l.id > ? ORDER BY l.id LIMIT ?
"""
OLD = "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {column} < ? LIMIT ?)"
SEVERAL = "SELECT account_id FROM mail_count WHERE at >= ? AND at < ? GROUP BY account_id HAVING count(*) > 1"
TOTAL = "SELECT CAST(total(delivered) AS INTEGER) FROM mail_total WHERE at >= ? AND at < ?"
SUM = "SELECT CAST(total(delivered) AS INTEGER) FROM mail_count WHERE account_id = ? AND at >= ? AND at < ?"


def note_taken(spool: Path) -> None:
    """Note which messages the helpdesk has taken since the last time."""
    last = 0
    while found := db.read(WAITING, (last, BATCH)):
        last = found[-1][0]
        taken = [number for number, *which in found if is_waiting(spool, *which) is False]
        if taken:
            with db.transaction():
                marks = ", ".join("?" * len(taken))
                db.write(f"UPDATE message_log SET waiting = 0 WHERE id IN ({marks})", *taken)  # noqa: S608


def prune(days: int, zone: ZoneInfo) -> None:
    """Remove lines older than `days` days, and old rounds and counts; fold counts of long ago by day."""
    now = db.now()
    _remove_old("message_log", "at", now - days * DAY)
    _remove_old("round_log", "started_at", now - ROUND_DAYS * DAY)
    today = datetime.fromtimestamp(now, zone).date()
    _remove_old_counts(start_of(today - timedelta(days=COUNT_DAYS), zone))
    for day in _unfolded(start_of(today - timedelta(days=HOURLY_DAYS), zone), zone):
        _fold(day, zone)


def _remove_old(table: str, column: str, before: int) -> None:
    statement = OLD.format(table=table, column=column)
    while db.write(statement, before, BATCH):
        pass


def _remove_old_counts(before: int) -> None:
    db.write("DELETE FROM mail_total WHERE at < ?", before)
    old = [row[0] for row in db.read("SELECT DISTINCT account_id FROM mail_count WHERE at < ?", (before,))]
    _each(old, lambda uuid: db.write("DELETE FROM mail_count WHERE account_id = ? AND at < ?", uuid, before))


def _unfolded(before: int, zone: ZoneInfo) -> list[date]:
    """The days before `before` of which more than one hour is counted."""
    times = [row[0] for row in db.read("SELECT at FROM mail_total WHERE at >= 0 AND at < ?", (before,))]
    days = Counter(datetime.fromtimestamp(at, zone).date() for at in times)
    return [day for day, hours in days.items() if hours > 1]


def _fold(day: date, zone: ZoneInfo) -> None:
    """Make one row of each mailbox's hours of `day`; that of all together last, by which the day is found."""
    begin, noon, end = start_of(day, zone), noon_of(day, zone), start_of(day + timedelta(days=1), zone)

    def fold(uuid: str) -> None:
        [(total,)] = db.read(SUM, (uuid, begin, end))
        db.write("DELETE FROM mail_count WHERE account_id = ? AND at >= ? AND at < ?", uuid, begin, end)
        db.write("INSERT INTO mail_count SELECT uuid, ?, ? FROM account WHERE uuid = ?", noon, total, uuid)

    _each([row[0] for row in db.read(SEVERAL, (begin, end))], fold)
    with db.transaction():
        [(total,)] = db.read(TOTAL, (begin, end))
        db.write("DELETE FROM mail_total WHERE at >= ? AND at < ?", begin, end)
        db.write("INSERT INTO mail_total (at, delivered) VALUES (?, ?)", noon, total)


def _each(mailboxes: list[str], change: Callable[[str], object]) -> None:
    for some in chunked(mailboxes, MAILBOXES):
        with db.transaction():
            for uuid in some:
                change(uuid)
