"""Times in the database, and which of them are implausible.

A clock that was wrong for a while, or a hand with SQL, leaves times in the future. A past event cannot
lie ahead of now, and a planned one no further ahead than its maximum: an interval, a back-off, a lease.
What does is read as absent, and never overwritten: this clock may be the wrong one (docs/decisions/0025).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from peewee import Model

from panel import db
from panel.models.base import BigIntegerField

SLACK = 60  # seconds by which the clocks of two machines may differ


def is_ahead(at: object, longest: int = 0) -> bool:
    """Whether the time `at` lies further ahead of now than `longest` seconds."""
    return isinstance(at, int) and at > db.now() + longest + SLACK


def ahead(column: Any, longest: Any = 0) -> Any:
    """The same as an SQL condition that an index on `column` serves; `longest` may be an expression."""
    limit = db.now() + SLACK
    return (column > limit) & (column > limit + longest)


class UtcTime(BigIntegerField):
    """UTC seconds of a past event, read unchanged.

    For marks whose presence counts, whatever their time (paused, disabled, closed), and for display.
    Code that computes with one asks `is_ahead` or `ahead`.
    """


class PastTime(UtcTime):
    """The same, read as None where it is implausible. In SQL the column is raw: add `ahead` there."""

    def python_value(self, value: object) -> int | None:
        """The seconds, or None."""
        known = isinstance(value, int) and value >= 0 and not is_ahead(value)
        return int(value) if known else None  # type: ignore[call-overload]


class FutureTime(BigIntegerField):
    """UTC seconds of a planned event, at most `longest` seconds ahead; beyond that it counts as due."""

    def __init__(self, longest: int, **options: Any) -> None:
        """A column with the given Peewee `options`."""
        super().__init__(**options)
        self.longest = longest


def furthest(tables: Iterable[type[Model]]) -> tuple[int, str]:
    """The most implausible time and its column; 0 and an empty text where there is none."""
    found = 0, ""
    for table in tables:
        query, times = _latest(table)
        latest = db.database.execute_sql(query).fetchone() if times else ()
        for (name, longest), at in zip(times, latest, strict=True):
            if is_ahead(at, longest):
                found = max(found, (at, name))
    return found


@cache
def _latest(table: type[Model]) -> tuple[str, tuple[tuple[str, int], ...]]:
    """The SQL for the latest of each time in `table`, and each one's name and maximum.

    Cached: each overview asks, and Peewee takes longer to build it than SQLite to answer.
    """
    name = table._meta.table_name
    times = [column for column in table._meta.sorted_fields if isinstance(column, UtcTime | FutureTime)]
    latest = ", ".join(f'max("{column.column_name}")' for column in times)
    longest = [column.longest if isinstance(column, FutureTime) else 0 for column in times]
    names = [f"{name}.{column.name}" for column in times]
    return f'SELECT {latest} FROM "{name}"', tuple(zip(names, longest, strict=True))  # noqa: S608
