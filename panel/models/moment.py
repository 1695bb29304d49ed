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


def ahead(column: Any, longest: Any = 0, now: Any = None) -> Any:
    """The same as an SQL condition that an index on `column` serves; `longest` may be an expression.

    `now`: a time, or one that is given when a prepared query is asked.
    """
    limit = (db.now() if now is None else now) + SLACK
    return (column > limit) & (column > limit + longest)


class UtcTime(BigIntegerField):
    """UTC seconds of a past event, read unchanged.

    For marks whose presence counts, whatever their time (paused, disabled, closed), and for display.
    Code that computes with one asks `is_ahead` or `ahead`.
    """


class PastTime(UtcTime):
    """The same, read as None where it is implausible. In SQL the column is raw: add `ahead` there."""

    def python_value(self, value: object) -> int | None:
        known = isinstance(value, int) and value >= 0 and not is_ahead(value)
        return int(value) if known else None  # type: ignore[call-overload]


class FutureTime(BigIntegerField):
    """UTC seconds of a planned event, at most `longest` seconds ahead; beyond that it counts as due."""

    def __init__(self, longest: int, **options: Any) -> None:
        super().__init__(**options)
        self.longest = longest


def furthest(tables: Iterable[type[Model]], small: Iterable[type[Model]] = ()) -> tuple[int, str]:
    """The most implausible time and its column; 0 and an empty text where there is none.

    With `small`, other tables, which may be large, are asked only for what an index finds.
    """
    query, times = _latest(tuple(tables), tuple(small))
    found = 0, ""
    for (name, longest), at in zip(times, db.database.execute_sql(query).fetchone(), strict=True):
        if is_ahead(at, longest):
            found = max(found, (at, name))
    return found


@cache
def _latest(
    tables: tuple[type[Model], ...], small: tuple[type[Model], ...]
) -> tuple[str, tuple[tuple[str, int], ...]]:
    """The SQL for the latest of each time, and each one's name and maximum.

    Cached: each overview asks, and Peewee takes longer to build it than SQLite to answer.
    """
    times = [
        (table._meta.table_name, field)
        for table in tables
        for field in table._meta.sorted_fields
        if isinstance(field, UtcTime | FutureTime) and (not small or table in small or field.index)
    ]
    asked = ", ".join(f'(SELECT max("{field.column_name}") FROM "{name}")' for name, field in times)  # noqa: S608
    longest = [field.longest if isinstance(field, FutureTime) else 0 for _, field in times]
    names = [f"{name}.{field.name}" for name, field in times]
    return f"SELECT {asked}", tuple(zip(names, longest, strict=True))
