"""Reading what was recorded: filtered, newest first, page by page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from peewee import ModelSelect

from panel.models.events import Activity
from panel.times import machine

PAGE = 50  # events
RISKY = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "＝",
    "＋",
    "－",
    "＠",
)  # a spreadsheet would compute these (OWASP, CSV injection)


@dataclass(frozen=True)
class Event:
    """One event as pages, shell and CSV show it."""

    at: int
    who: str
    what: str
    subject: str
    address: str
    detail: str


LAST_PAGE = 1_000_000  # beyond it there is nothing, and the database's numbers end


@dataclass(frozen=True)
class Filter:
    """What to show: all where empty; text is looked for in who, subject and address."""

    what: str = ""
    text: str = ""


@dataclass(frozen=True)
class Page:
    """Some events, and whether older ones follow."""

    events: list[Event]
    number: int
    more: bool


def page(chosen: Filter, number: int = 1) -> Page:
    """Page `number`, from 1."""
    number = min(max(number, 1), LAST_PAGE)
    rows = list(_query(chosen).offset((number - 1) * PAGE).limit(PAGE + 1))
    return Page([_event(row) for row in rows[:PAGE]], number, len(rows) > PAGE)


def newest(chosen: Filter, count: int) -> list[Event]:
    """The newest `count` events."""
    return [_event(row) for row in _query(chosen).limit(count)]


def kinds() -> list[str]:
    """Every kind of event there is, for the filter."""
    return [row.what for row in Activity.select(Activity.what).distinct().order_by(Activity.what)]


def as_csv(chosen: Filter) -> Iterator[str]:
    """All events as CSV (RFC 4180), a line at a time, times in UTC."""
    yield _line(["at", "who", "what", "subject", "address", "detail"])
    for row in _query(chosen).iterator():
        event = _event(row)
        cells = [event.who, event.what, event.subject, event.address, event.detail]
        yield _line([machine(event.at), *(f"'{cell}" if cell.startswith(RISKY) else cell for cell in cells)])


def _line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


def _query(chosen: Filter) -> ModelSelect[Activity]:
    query = Activity.select().order_by(Activity.id.desc())
    if chosen.what:
        query = query.where(Activity.what == chosen.what)
    if chosen.text:
        found = (
            Activity.who.contains(chosen.text)
            | Activity.subject.contains(chosen.text)
            | Activity.address.contains(chosen.text)
        )
        query = query.where(found)
    return query


def _event(row: Activity) -> Event:
    return Event(row.at, row.who, row.what, row.subject, row.address, row.detail)
