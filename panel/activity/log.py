"""The recorded events: filtered, newest first, page by page, as CSV; and removing old ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from peewee import ModelSelect

from panel import db
from panel.audit import record
from panel.models.events import Activity
from panel.times import machine

PAGE = 50  # events
LAST_PAGE = 1_000_000  # beyond the numbers of a database
# A spreadsheet would compute cells that begin like this (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
DAY = 24 * 3600
BATCH = 20_000  # events removed in one transaction, so that other writers wait a moment at most


@dataclass(frozen=True)
class Event:
    """One event as pages, shell and CSV show it."""

    at: int
    who: str
    what: str
    subject: str
    address: str
    detail: str


@dataclass(frozen=True)
class Filter:
    """Which events to show: all where empty; `text` is searched for in who, subject and address."""

    what: str = ""
    text: str = ""


@dataclass(frozen=True)
class EventPage:
    """Some events, and whether older ones follow."""

    events: list[Event]
    number: int
    more: bool


def page(chosen: Filter, number: int = 1) -> EventPage:
    """EventPage `number`, from 1."""
    number = min(max(number, 1), LAST_PAGE)
    rows = list(_query(chosen).offset((number - 1) * PAGE).limit(PAGE + 1))
    return EventPage([_event(row) for row in rows[:PAGE]], number, len(rows) > PAGE)


def newest(chosen: Filter, count: int) -> list[Event]:
    """The newest `count` events."""
    return [_event(row) for row in _query(chosen).limit(count)]


def kinds() -> list[str]:
    """Every kind of event that was recorded, for the filter."""
    return [row.what for row in Activity.select(Activity.what).distinct().order_by(Activity.what)]


def as_csv(chosen: Filter) -> Iterator[str]:
    """All events as CSV (RFC 4180), a line at a time, times in UTC."""
    yield _line(["at", "who", "what", "subject", "address", "detail"])
    for row in _query(chosen).iterator():
        cells = [row.who, row.what, row.subject, row.address, row.detail]
        yield _line([machine(row.at), *(f"'{cell}" if cell.startswith(FORMULA) else cell for cell in cells)])


def prune(days: int) -> int:
    """Remove all events older than `days` days; how many there were.

    Each batch is removed together with the event that records its removal, or not at all.
    """
    before, removed = db.now() - days * DAY, 0
    while count := _remove_batch(before):
        removed += count
    return removed


def _remove_batch(before: int) -> int:
    with db.transaction():
        oldest = Activity.select(Activity.id).where(Activity.at < before).limit(BATCH)
        count = int(Activity.delete().where(Activity.id.in_(oldest)).execute())
        if count:
            date = datetime.fromtimestamp(max(before, 0), UTC).date()
            events = "1 event" if count == 1 else f"{count} events"
            record("old activity removed", detail=f"{events} from before {date}.", who="worker")
    return count


def _line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


def _query(chosen: Filter) -> ModelSelect[Activity]:
    query = Activity.select().order_by(Activity.id.desc())
    if chosen.what:
        query = query.where(Activity.what == chosen.what)
    if chosen.text:
        fields = (Activity.who, Activity.subject, Activity.address)
        who, subject, address = (field.contains(chosen.text) for field in fields)
        query = query.where(who | subject | address)
    return query


def _event(row: Activity) -> Event:
    return Event(row.at, row.who, row.what, row.subject, row.address, row.detail)
