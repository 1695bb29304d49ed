"""Times in the database, and when one of them is not believed.

A clock that was wrong for a while, or somebody with SQL, leaves times ahead of now behind. What has
happened cannot lie ahead of now, and what is to come lies no further ahead than its own maximum: an
interval, a back-off, a lease. Whatever does is read as if it was not there, and is never written
over for that: it may be this clock that is wrong. docs/decisions/0025 says which table is under which rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from peewee import Model

from panel import db
from panel.models.base import BigIntegerField

SLACK = 60  # seconds that the clocks of two machines may be apart, or one clock be set back by


def is_ahead(at: object, longest: int = 0) -> bool:
    """Whether the time `at` lies further ahead of now than `longest` seconds."""
    return isinstance(at, int) and at > db.now() + longest + SLACK


def ahead(column: Any, longest: Any = 0) -> Any:
    """The same as a condition of SQL; `longest` may be an expression. False for an empty column.

    Written so that an index on `column` finds the few rows there are.
    """
    limit = db.now() + SLACK
    return (column > limit) & (column > limit + longest)


class At(BigIntegerField):
    """UTC seconds of what has happened, read as they stand.

    For what says by being there that something is so (paused, disabled, over), whatever its time, and
    for what people look up. Who reckons with it asks `is_ahead` or `ahead`.
    """


class Past(At):
    """The same, read as None where it lies ahead of now, or is no time at all: for what may be unknown.

    In a condition of SQL say `ahead` too: there the column is what it is.
    """

    def python_value(self, value: object) -> int | None:
        """The seconds, or None."""
        known = isinstance(value, int) and value >= 0 and not is_ahead(value)
        return int(value) if known else None  # type: ignore[call-overload]


class Next(BigIntegerField):
    """UTC seconds of what is to come, `longest` seconds ahead at most; further ahead it is taken as now."""

    def __init__(self, longest: int, **options: Any) -> None:
        """`options` are those of the column."""
        super().__init__(**options)
        self.longest = longest


def furthest(tables: Iterable[type[Model]], small: Iterable[type[Model]] = ()) -> tuple[int, str]:
    """The time that lies furthest ahead of what it may, and its column; or 0 and an empty text.

    With `small`, only what an index finds is asked of the other tables, which may be large.
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
    """The statement that asks for the latest of each time, and of each its name and maximum.

    As text, made once: each overview asks it, and Peewee takes longer to write it than SQLite to answer.
    """
    times = [
        (table._meta.table_name, field)
        for table in tables
        for field in table._meta.sorted_fields
        if isinstance(field, At | Next) and (not small or table in small or field.index)
    ]
    asked = ", ".join(f'(SELECT max("{field.column_name}") FROM "{name}")' for name, field in times)  # noqa: S608
    longest = [field.longest if isinstance(field, Next) else 0 for _, field in times]
    names = [f"{name}.{field.name}" for name, field in times]
    return f"SELECT {asked}", tuple(zip(names, longest, strict=True))
