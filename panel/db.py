"""The database: connection, transactions, error messages, and the guard of secret columns.

Times are whole UTC seconds; ids of our own are text or bytes.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any, Protocol
from weakref import WeakSet

import peewee
from peewee import DatabaseProxy, Field, Insert, Node, SqliteDatabase, Update

from panel.errors import DatabaseError

BUSY_SECONDS = 15
PRAGMAS = {
    "journal_mode": "wal",
    # Every commit is durable: the steps of keys and mail depend on it.
    "synchronous": "full",
    "foreign_keys": 1,
    # Overwritten passwords are zeroed, also by DROP TABLE (docs/encryption.md, 'Leftovers in clear text').
    "secure_delete": "on",
    # Pages. The commit that exceeds them copies them into the file; the default, 1,000, makes it slow.
    "wal_autocheckpoint": 250,
    # KiB. With the default, 2 MB, the indexes that count 100,000 mailboxes are read anew for each page.
    "cache_size": -8000,
    # No functions with side effects in views, triggers, indexes and defaults.
    "trusted_schema": 0,
}
WRITES = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}

# Peewee binds models to one database per process; create_app and tests rebind it.
database: Any = DatabaseProxy()


class Guarded(Protocol):
    """A field that decides which values a query may write to it."""

    def admit(self, value: object) -> None:
        """Raise TypeError for a value that must not be written this way."""


class Connection(sqlite3.Connection):
    """One that may be used for one request after the other."""

    file: tuple[int, int] | None = None  # that it was opened on
    read_only = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        """A cursor, which `reset` knows."""
        cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    def reset(self) -> bool:
        """End what is under way. Whether it may be used again.

        A query that was not read to its end would show the database as it was then, for ever.
        """
        for cursor in list(self._cursors):
            cursor.close()
        return not (self.read_only or self.in_transaction)


def _file(path: Any) -> tuple[int, int] | None:
    """Which file lies there: a backup may be put in its place."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class GuardedSqlite(SqliteDatabase):
    """SQLite, with every query object checked before it becomes SQL.

    Expressions, SQL(…), other columns and bulk CASE nodes bypass a field's `db_value`
    (docs/decisions/0003), but all query objects pass `execute`. Raw SQL strings are not checked.
    """

    def __init__(self, path: str, **options: Any) -> None:
        """As Peewee's. Connections are closed when they are left, until `pool_connections` was called."""
        self._idle: dict[int, Connection] = {}  # by thread
        self._pooling = False
        super().__init__(path, factory=Connection, check_same_thread=False, **options)

    def pool_connections(self) -> None:
        """Lay connections aside instead of closing them, and take them up again in the same thread.

        To open one and set it up takes longer than most pages. For a process that serves.
        """
        self._pooling = True

    def close_idle(self) -> None:
        """Close those that are laid aside: the last one of all processes moves SQLite's log into the file."""
        self._pooling = False
        while self._idle:
            self._idle.popitem()[1].close()

    def _connect(self) -> Connection:
        idle = self._idle.pop(get_ident(), None)
        if idle is not None and idle.file == _file(self.database):
            return idle
        if idle is not None:
            idle.close()
        opened: Connection = super()._connect()  # type: ignore[misc]
        opened.file = _file(self.database)
        return opened

    def _close(self, conn: Connection) -> None:
        if self._pooling and conn.reset():
            self._idle[get_ident()] = conn
        else:
            conn.close()

    def _add_conn_hooks(self, conn: Any) -> None:
        # Text that is not UTF-8, put there by SQL, must not break the page that lists it.
        conn.text_factory = partial(str, encoding="utf-8", errors="replace")
        conn.set_authorizer(_authorize)
        super()._add_conn_hooks(conn)  # type: ignore[misc]

    def execute(self, query: Any, **context_options: Any) -> Any:
        """Run `query`. Raises TypeError where a guarded field does not admit a value."""
        admit(query)
        return super().execute(query, **context_options)  # type: ignore[no-untyped-call]


def _authorize(action: int, _1: str | None, _2: str | None, _database: str | None, by: str | None) -> int:
    """Deny writes of triggers and views, which SQLite names in `by`: we have none, so any was planted.

    Cascades of foreign keys have no name and pass. A connection that has loaded a trigger fires it even
    after its row in the schema was deleted.
    """
    return sqlite3.SQLITE_DENY if by is not None and action in WRITES else sqlite3.SQLITE_OK


def connect(url: str) -> GuardedSqlite:
    """The database at `url` (sqlite:///path), not yet opened."""
    path = url.removeprefix("sqlite:///")
    logger = logging.getLogger("peewee")
    logger.setLevel(max(logger.level, logging.INFO))  # its debug lines contain parameters
    logging.getLogger("peewee.migrations").setLevel(logging.WARNING)  # the expected schema is made in memory
    return GuardedSqlite(path, pragmas=PRAGMAS, lock_type="IMMEDIATE", timeout=BUSY_SECONDS)


@contextmanager
def explained() -> Iterator[None]:
    """Turn the driver's errors into a DatabaseError for people."""
    try:
        yield
    except (peewee.OperationalError, peewee.DatabaseError) as error:
        if isinstance(error, peewee.IntegrityError):
            raise
        raise explain(error) from error
    except UnicodeDecodeError as error:  # in a table that Peewee reads by itself
        raise DatabaseError(
            "The database contains a value that is not text where text belongs: it was edited by hand.",
            "Restore the database from a backup.",
        ) from error


RESTORE = "Stop Mailkeep and restore the database from a backup."
# By parts of SQLite's text: the message, in which {text} stands for all of it, and the remedy.
EXPLANATIONS = (
    (
        ("locked", "busy"),
        f"The database was busy for more than {BUSY_SECONDS} seconds; nothing was changed.",
        "Try again.",
    ),
    (("full",), "The disk is full; nothing was changed.", "Free some space, then try again."),
    (
        ("readonly", "read-only", "unable to open"),
        "The database cannot be written ({text}).",
        "Check the owner and permissions of the data directory, and whether its disk is writable.",
    ),
    (
        ("disk I/O",),
        "The disk that the database is on is full or broken ({text}).",
        "Check it with df and in the system log, free some space, then try again.",
    ),
    (
        ("not authorized",),
        "The database has a trigger that is not Mailkeep's; Mailkeep stopped it.",
        "Run flask doctor, which names it and how to remove it. Then restart Mailkeep.",
    ),
    (("not a database", "malformed", "corrupt"), "The database file is damaged ({text}).", RESTORE),
)


def explain(error: peewee.DatabaseError) -> DatabaseError:
    """A driver's error for people. SQLite's own text contains no values."""
    text = str(error)
    for parts, message, remedy in EXPLANATIONS:
        if any(part in text for part in parts):
            return DatabaseError(message.format(text=text), remedy)
    return DatabaseError(f"The database reported: {text}.", "Check the server's log, or run: flask doctor")


@contextmanager
def transaction() -> Iterator[None]:
    """One transaction, or a savepoint inside another. It holds SQLite's write lock from its start.

    That lock also guards the state row: see `panel.models.encryption`.
    """
    with database.atomic():
        yield


def read(statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
    """All rows that a statement of SQL finds."""
    return list(database.execute_sql(statement, values))


def write(statement: str, *values: object) -> int:
    """How many rows a statement of SQL has changed."""
    changed: int = database.execute_sql(statement, values).rowcount
    return changed


def refuse_writes() -> None:
    """Make this connection read-only until it is closed; writing raises peewee.OperationalError."""
    database.execute_sql("PRAGMA query_only = 1")
    database.connection().read_only = True


def now() -> int:
    return int(time.time())


# -- guarded columns -------------------------------------------------------------


def admit(query: Any) -> None:
    """Check `query` with every guarded field that it writes. Raises TypeError if one refuses."""
    if isinstance(query, Update):
        _admit_row(query.table, query._update)  # type: ignore[attr-defined]
    elif isinstance(query, Insert):
        _admit_insert(query)
    for cte in getattr(query, "_cte_list", None) or ():
        admit(cte._query)


def _admit_insert(query: Any) -> None:
    guarded = _guarded_fields(query.table)
    if not guarded:
        return
    conflict = query._on_conflict
    if conflict is not None:
        if (conflict._action or "").upper() == "REPLACE" or conflict._preserve:
            raise TypeError(f"{_name(query.table)} rows are never replaced or merged: use save()")
        _admit_row(query.table, conflict._update or {})
    rows = query._insert
    if isinstance(rows, Node):
        raise TypeError(f"{_name(query.table)} rows are not inserted from a query: use save()")
    rows = [rows] if isinstance(rows, Mapping) else list(rows or ())
    query._insert = rows[0] if isinstance(query._insert, Mapping) else rows  # iterators are used up
    for row in rows:
        pairs = row if isinstance(row, Mapping) else dict(zip(_columns(query), row, strict=False))
        _admit_row(query.table, pairs)


def _columns(query: Any) -> list[Any]:
    return list(query._columns or query.get_default_columns() or ())


def _admit_row(table: Any, values: Mapping[Any, object]) -> None:
    guarded = _guarded_fields(table)
    if not guarded:
        return
    for column, value in values.items():
        name = column if isinstance(column, str) else getattr(column, "name", None)
        if not isinstance(name, str):
            raise TypeError(f"{_name(table)} is written by field, not by expression")
        if name in guarded:
            guarded[name].admit(value)


def _guarded_fields(table: Any) -> dict[str, Any]:
    """Guarded fields by field name and by column name; also for a bare Table with a guarded model's name."""
    fields: dict[str, Any] = {}
    for model in _models_of(table):
        for field in model._meta.sorted_fields:
            if isinstance(field, Field) and hasattr(field, "admit"):
                fields[field.name] = fields[field.column_name] = field
    return fields


def _models_of(table: Any) -> list[Any]:
    if isinstance(table, type) and issubclass(table, peewee.Model):
        return [table]
    if isinstance(table, peewee.ModelAlias):
        return [table.model]
    return [m for m in _subclasses(peewee.Model) if m._meta.table_name == _name(table).casefold()]


def _subclasses(model: type) -> list[Any]:
    children: list[Any] = model.__subclasses__()
    return [m for child in children for m in (child, *_subclasses(child))]


def _name(table: Any) -> str:
    meta = getattr(table, "_meta", None)
    return meta.table_name if meta is not None else getattr(table, "__name__", str(table))
