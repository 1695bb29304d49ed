"""Times in the database, and when one of them is not believed.

A clock that was wrong for a while, or somebody with SQL, leaves times ahead of now behind. What has
happened cannot lie ahead of now, and what is to come lies no further ahead than its own maximum: an
interval, a back-off, a lease. Whatever does is read as if it was not there, and is never written
over for that: it may be this clock that is wrong. docs/decisions/0025 says which table is under which rule.
"""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField

from panel import db

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


class Past(BigIntegerField):
    """UTC seconds of what has happened; reads as None where it lies ahead of now, or is no time at all.

    Only for what may be unknown. In a condition of SQL say `ahead` too: the column is what it is there.
    """

    def python_value(self, value: object) -> int | None:
        """The seconds, or None."""
        known = isinstance(value, int) and value >= 0 and not is_ahead(value)
        return int(value) if known else None  # type: ignore[call-overload, no-any-return]
