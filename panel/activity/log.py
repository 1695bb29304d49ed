"""The recorded events: filtered, newest first, page by page, as CSV; and removing old ones.

A page costs the same for a million events: one condition is found by index, and where several meet, or a
part of a name is searched for, a page goes through SCANNED events at most and says how far it came.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any

from panel import db
from panel.audit import record
from panel.models.events import Activity
from panel.times import machine
from panel.wording import counted

PAGE = 50  # events
SCANNED = 50_000  # events that one page may go through
EXPORTED = 1_000  # events that an export reads at once, so that it holds no other writer up
MOST_CHOICES = 200  # of a filter
LAST = 2**62  # beyond the numbers of a database
# A spreadsheet would compute cells that begin like this (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
DAY = 24 * 3600
BATCH = 20_000  # events removed in one transaction, so that other writers wait a moment at most
NAMES = (Activity.who, Activity.subject, Activity.address)  # what `text` is searched for in
# The newest number, that of the first event since a time, and whether anything is called exactly `text`.
BOUNDS = """
SELECT (SELECT max(id) FROM activity),
  (SELECT id FROM activity WHERE at >= :since ORDER BY at, id LIMIT 1),
  EXISTS (SELECT 1 FROM activity WHERE who = :text) OR EXISTS (SELECT 1 FROM activity WHERE subject = :text)
    OR EXISTS (SELECT 1 FROM activity WHERE address = :text)
"""
# The different values of a column, each found by index: there are few, whatever the number of events.
DIFFERENT = """{name}(value) AS (
  SELECT min({name}) FROM activity
  UNION ALL SELECT (SELECT min({name}) FROM activity WHERE {name} > value) FROM {name} WHERE value IS NOT NULL
  LIMIT {most})"""
CHOICES = f"""
WITH RECURSIVE {DIFFERENT.format(name="what", most=MOST_CHOICES)},
  {DIFFERENT.format(name="who", most=MOST_CHOICES)}
SELECT 'what', CAST(value AS TEXT) FROM what WHERE value IS NOT NULL
UNION ALL SELECT 'who', CAST(value AS TEXT) FROM who WHERE value IS NOT NULL
"""  # noqa: S608 - names and numbers of ours


@dataclass(frozen=True)
class Event:
    at: int
    who: str
    what: str
    subject: str
    address: str
    detail: str


@dataclass(frozen=True)
class Filter:
    """Which events to show: all where empty. `text` is a name, a mailbox or an IP address, or a part of one:
    events that hold exactly that are found first, and alone.
    """

    what: str = ""
    text: str = ""
    who: str = ""
    days: int = 0  # how far back; 0: all

    @property
    def any(self) -> bool:
        """Whether it leaves events out."""
        return self != Filter()


@dataclass(frozen=True)
class EventPage:
    """Some events, and where the pages beside it begin.

    `searched_to`: the time of the oldest event that was looked at, where older ones may match too.
    """

    events: list[Event]
    newer: int | None = None  # for `after`
    older: int | None = None  # for `before`
    searched_to: int | None = None


@dataclass(frozen=True)
class _Bounds:
    """Which numbers events have that are asked for: from `low` to below `high`."""

    low: int
    high: int
    exact: bool


def page(chosen: Filter, before: int | None = None, after: int | None = None) -> EventPage:
    """The newest events; those older than the event `before`; or those next newer than the event `after`."""
    bounds = _bounds(chosen)
    if after is not None:
        low = max(min(after, LAST) + 1, bounds.low)
        high = min(bounds.high, low + SCANNED if _scans(chosen, bounds) else bounds.high)
        found = _rows(chosen, _Bounds(low, high, bounds.exact), PAGE, newest_first=False)
        if len(found) == PAGE:
            return _page(found[::-1], newer=found[-1].id, older=found[0].id)
        before = None  # there is less than a page: the newest one
    high = bounds.high if before is None else max(min(before, bounds.high), 0)
    low = max(bounds.low, high - SCANNED) if _scans(chosen, bounds) else bounds.low
    found = _rows(chosen, _Bounds(low, high, bounds.exact), PAGE + 1)
    newer = high - 1 if before is not None and high < bounds.high else None
    if len(found) > PAGE:
        return _page(found[:PAGE], newer=newer, older=found[PAGE - 1].id)
    if low > bounds.low:
        last = Activity.select(Activity.at).where(Activity.id >= low).order_by(Activity.id).limit(1).scalar()
        return _page(found, newer=newer, older=low, searched_to=last)
    return _page(found, newer=newer)


def newest(chosen: Filter, count: int) -> list[Event]:
    return list(islice(_all(chosen, min(count, EXPORTED)), count))


def choices() -> tuple[list[str], list[str]]:
    """Kinds of events and who caused them, for the filters: the first ones of many."""
    found = db.database.execute_sql(CHOICES).fetchall()
    kinds, people = ([value for name, value in found if name == each] for each in ("what", "who"))
    return kinds, people


def as_csv(chosen: Filter) -> Iterator[str]:
    """All events as CSV (RFC 4180), a line at a time, times in UTC."""
    yield _line(["at", "who", "what", "subject", "address", "detail"])
    for event in _all(chosen, EXPORTED):
        cells = [event.who, event.what, event.subject, event.address, event.detail]
        yield _line(
            [machine(event.at), *(f"'{cell}" if cell.startswith(FORMULA) else cell for cell in cells)]
        )


def _all(chosen: Filter, at_once: int) -> Iterator[Event]:
    """Every event, newest first. Nothing is kept open between two parts: whoever reads may take hours."""
    bounds = _bounds(chosen)
    high = bounds.high
    while high > bounds.low:
        low = max(bounds.low, high - SCANNED) if _scans(chosen, bounds) else bounds.low
        found = _rows(chosen, _Bounds(low, high, bounds.exact), at_once)
        yield from map(_event, found)
        high = found[-1].id if len(found) == at_once else low


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
            detail = f"{counted(count, 'event')} from before {date}."
            record("old activity removed", detail=detail, who="worker")
    return count


def _line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


# -- which rows -----------------------------------------------------------------------------------


def _bounds(chosen: Filter) -> _Bounds:
    since = db.now() - chosen.days * DAY if chosen.days else 0
    values = {"since": since, "text": chosen.text}
    newest_id, first, exact = db.database.execute_sql(BOUNDS, values).fetchone()
    high = (newest_id or 0) + 1
    return _Bounds(
        (high if first is None else first) if chosen.days else 0, high, bool(exact and chosen.text)
    )


def _scans(chosen: Filter, bounds: _Bounds) -> bool:
    """Whether no single index finds these events."""
    parts = bool(chosen.text) and not bounds.exact
    conditions = sum(map(bool, (chosen.text, chosen.what, chosen.who)))
    # Times alone ascend with the numbers, unless a clock was set back.
    return parts or conditions > 1 or bool(chosen.days and not conditions)


def _rows(chosen: Filter, bounds: _Bounds, count: int, *, newest_first: bool = True) -> list[Activity]:
    order = Activity.id.desc() if newest_first else Activity.id
    where = [Activity.id >= bounds.low, Activity.id < bounds.high]
    equal = ((Activity.what, chosen.what), (Activity.who, chosen.who))
    where += [column == value for column, value in equal if value]
    if chosen.days:
        where.append(Activity.at >= db.now() - chosen.days * DAY)
    if bounds.exact:  # each column by its own index, the newest of each
        named = (Activity.select(Activity.id).where(*where, name == chosen.text) for name in NAMES)
        where = [_any(Activity.id.in_(one.order_by(order).limit(count)) for one in named)]
    elif chosen.text:
        where.append(_any(name.contains(chosen.text) for name in NAMES))
    return list(Activity.select().where(*where).order_by(order).limit(count))


def _any(conditions: Iterable[Any]) -> Any:
    return reduce(or_, conditions)


def _page(rows: list[Activity], **where: int | None) -> EventPage:
    return EventPage([_event(row) for row in rows], **where)


def _event(row: Activity) -> Event:
    return Event(row.at, row.who, row.what, row.subject, row.address, row.detail)
