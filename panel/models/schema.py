"""Upgrading the database to this code's schema, refusing a newer one, and finding foreign changes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from peewee import SqliteDatabase
from playhouse.migrations import Runner

from panel.db import explained
from panel.errors import DatabaseError, NoInstall, OtherVersion
from panel.models.encryption import Encryption
from panel.models.install import SetupState

MIGRATIONS = Path(__file__).with_name("migrations")
WORDS = re.compile(r"\w+")


def _runner(database: Any) -> Runner:
    return Runner(database, str(MIGRATIONS))


def upgrade(database: Any) -> list[str]:
    """Apply the pending migrations and return their names. Call it under the install's lock.

    Raises DatabaseError where a newer Mailkeep wrote the database.
    """
    with explained():
        refuse_newer(database)
        _refuse_forgotten(database)
        applied: list[str] = _runner(database).up()
        with database.atomic():
            SetupState.insert(id=1).on_conflict_ignore().execute()
            if not Encryption.select().exists() and "0001_first" in applied:
                Encryption.begin()
    return applied


def check(database: Any) -> None:
    """Raise NoInstall, or DatabaseError where the schema is not that of this code."""
    with explained():
        refuse_newer(database)
        _refuse_forgotten(database)
        pending = [m.name for m in _runner(database).status() if not m.applied]
    if len(pending) == len(_runner(database).migrations()):
        raise NoInstall(
            "Mailkeep is not set up here yet.", "Start it once with script/server, or run: flask setup"
        )
    if pending:
        raise OtherVersion(
            "An older Mailkeep wrote the database.", "Start script/server once: it upgrades the database."
        )


# -- changes from outside ------------------------------------------------------------

Entry = tuple[str, str, str, str | None]  # type, name, table, SQL
LONGEST_SQL = 10_000  # characters; ours are far shorter
# NOT INDEXED: a row of the schema may declare an index on the schema itself, with whatever content.
ENTRIES = " UNION ALL ".join(
    f"SELECT type, name, tbl_name, substr(sql, 1, {LONGEST_SQL}) FROM {table} NOT INDEXED"  # noqa: S608
    for table in ("main.sqlite_master", "temp.sqlite_temp_master")
)


def altered(database: Any) -> tuple[str, ...]:
    """Names of what differs from the schema that the migrations make, for people; empty where nothing does.

    Compares the full SQL of our tables, indexes, triggers and views, since `schema_version` does not
    change with a row that `writable_schema` inserts. Foreign tables beside ours are allowed.
    """
    found = _entries(database)
    return () if found == expected() else _differences(found, expected())


def altered_in(found: Iterable[Entry], applied: Iterable[str]) -> tuple[str, ...]:
    """The same for another database file: its entries as `ENTRIES` selects them.

    `applied`: the names of its migrations, fewer where an older Mailkeep made it.
    """
    known = [migration.name for migration in _runner(SqliteDatabase(None)).migrations()]
    last = max(set(applied) & set(known), default=None)
    return _differences(frozenset(found), expected(last))


@cache
def expected(last: str | None = None) -> frozenset[Entry]:
    """The schema that the migrations up to `last` make; cached."""
    database = SqliteDatabase(":memory:")
    with database.connection_context():
        _runner(database).up(last)
        return _entries(database)


def _entries(database: Any) -> frozenset[Entry]:
    return frozenset(database.execute_sql(ENTRIES).fetchall())


def _differences(found: frozenset[Entry], wanted: frozenset[Entry]) -> tuple[str, ...]:
    ours = {str(name).lower() for entry in wanted for name in entry[1:3]} | {"sqlite_master", "sqlite_schema"}
    odd = [entry for entry in found - wanted if _concerns(entry, ours)]
    named = {(entry[0], entry[1]) for entry in odd}
    missing = [entry for entry in wanted - found if (entry[0], entry[1]) not in named]
    return (*sorted(map(_named, odd)), *sorted(f"{kind} {name} is missing" for kind, name, *_ in missing))


def _concerns(entry: Entry, ours: set[str]) -> bool:
    """Whether the entry may act on a table of ours. For a trigger its SQL decides, not `tbl_name`.

    A foreign table with a reference to ours counts: it could keep rows, such as sessions, from being deleted.
    """
    if not all(isinstance(part, str | None) for part in entry):
        return True  # SQLite reads a blob as text too
    kind, name, table, sql = (str(part or "").lower() for part in entry)
    if {name, table} & ours or kind not in ("table", "index", "trigger", "view"):
        return True
    words = set(WORDS.findall(sql))
    if kind == "view" or (kind == "table" and "references" not in words):
        return False
    return len(sql) >= LONGEST_SQL or not ours.isdisjoint(words)


def _named(entry: Entry) -> str:
    kind, name, table, _ = (str(part or "") for part in entry)
    return f"{kind} {name[:80]}" if kind in ("table", "view") else f"{kind} {name[:80]} on {table[:80]}"


def refuse_newer(database: Any) -> None:
    """Raise DatabaseError where the database has migrations that this code does not know."""
    unknown = [m.name for m in _runner(database).status() if m.path is None]
    if unknown:
        raise OtherVersion(
            f"A newer Mailkeep wrote the database ({unknown[-1]} is not known here).",
            "Run that version or a newer one, or restore a database backup from before the upgrade.",
        )


def _refuse_forgotten(database: Any) -> None:
    """Raise DatabaseError where the schema is complete but its list of migrations is not."""
    missing = [m.name for m in _runner(database).status() if not m.applied]
    if missing and not altered(database):
        raise DatabaseError(
            f"The database's list of migrations was changed outside Mailkeep: {missing[0]} is missing.",
            "Restore the database from a backup.",
        )
