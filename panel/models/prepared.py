"""Queries that are written as SQL once: that takes Peewee ten times as long as SQLite needs to answer.

A query is made with `given("name")` wherever a value changes from one time to the next, and asked with
those values. Each row is a named tuple of the selected columns, as their fields read them.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from peewee import Alias, Field, Value

from panel import db


@dataclass(frozen=True)
class _Given:
    name: str


def given(name: str) -> Any:
    """Stands in a query for a value that is known when it is asked, and is written as it is."""
    return Value(_Given(name), converter=False)


class Prepared:
    """One query, asked again and again. `make` builds it with Peewee, when it is first asked."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @cached_property
    def _written(self) -> tuple[str, list[Any], list[Callable[[Any], Any]], Any]:
        query = self._make()
        text, parameters = query.sql()
        columns = query._returning
        make: Any = namedtuple  # mypy wants to see the names
        row = make("row", [_name(column) for column in columns])
        return text, parameters, [_reader(column) for column in columns], row

    def all(self, **values: object) -> list[Any]:
        text, parameters, readers, row = self._written
        filled = [values[each.name] if isinstance(each, _Given) else each for each in parameters]
        found = db.database.execute_sql(text, filled).fetchall()
        return [row(*[read(value) for read, value in zip(readers, each, strict=True)]) for each in found]

    def first(self, **values: object) -> Any:
        return next(iter(self.all(**values)), None)


def _name(column: Any) -> str:
    return str(getattr(column, "_alias", None) or column.name)


def _reader(column: Any) -> Callable[[Any], Any]:
    field = column.node if isinstance(column, Alias) else column
    return field.python_value if isinstance(field, Field) else lambda value: value
