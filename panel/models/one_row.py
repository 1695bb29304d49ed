"""The tables that hold one row each, read in one statement: every page looks at several of them.

With them, how many alerts are open and not muted: every page shows that number too.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

from panel import db
from panel.models.base import BaseModel
from panel.models.events import DAY, AlertChannels
from panel.models.install import Heartbeat, InstallCopy, SetupState
from panel.models.moment import SLACK

TABLES: tuple[type[BaseModel], ...] = (SetupState, InstallCopy, Heartbeat, AlertChannels)

OPEN = f"""
SELECT count(*), total(severity = 'bad') FROM alert
WHERE resolved_at IS NULL AND NOT coalesce(muted_until BETWEEN :now + 1 AND :now + {DAY + SLACK}, 0)
"""  # noqa: S608 - numbers of ours

Row = TypeVar("Row", bound=BaseModel)


class OneRows:
    """The row of each table, as it was when they were read; None where it was not made yet."""

    def __init__(self) -> None:
        values = iter(db.database.execute_sql(_statement(), {"now": db.now()}).fetchone())
        self.open_alerts = int(next(values))
        self.grave_alerts = int(next(values))  # of these
        self._rows = {table: _row(table, values) for table in TABLES}

    def of(self, table: type[Row]) -> Row | None:
        return cast("Row | None", self._rows[table])


def _row(table: type[BaseModel], values: Any) -> BaseModel | None:
    read = {field.name: field.python_value(next(values)) for field in table._meta.sorted_fields}
    return table(**read) if read["id"] is not None else None


@cache
def _statement() -> str:
    names = [table._meta.table_name for table in TABLES]
    columns = [
        f'"{table._meta.table_name}"."{field.column_name}"'
        for table in TABLES
        for field in table._meta.sorted_fields
    ]
    joins = " ".join(f'LEFT JOIN "{name}" ON "{name}".id = 1' for name in names)
    return f"SELECT o.*, {', '.join(columns)} FROM ({OPEN}) o {joins}"  # noqa: S608 - names of ours
