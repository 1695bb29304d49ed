"""Promise of `panel.db`: a connection that is used again shows the database as it is, and writes where it may."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import peewee
import pytest

from panel import db
from panel.db import GuardedSqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
def database(path: Path) -> Iterator[GuardedSqlite]:
    database = db.connect(f"sqlite:///{path}")
    database.pool_connections()
    with database.connection_context():
        database.execute_sql("CREATE TABLE one (value)")
        database.execute_sql("INSERT INTO one VALUES (1), (1)")
    yield database
    database.close_idle()


def value(database: GuardedSqlite) -> int:
    return int(database.execute_sql("SELECT sum(value) FROM one").fetchone()[0])


def used(database: GuardedSqlite) -> sqlite3.Connection:
    with database.connection_context():
        connection: sqlite3.Connection = database.connection()
        return connection


def test_the_same_connection_serves_again(database: GuardedSqlite) -> None:
    assert used(database) is used(database)


def test_a_query_that_was_not_read_to_its_end_does_not_freeze_what_the_next_one_sees(
    database: GuardedSqlite, path: Path
) -> None:
    with database.connection_context():
        unfinished = database.execute_sql("SELECT value FROM one")
        unfinished.fetchone()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE one SET value = 5")
    with database.connection_context():
        assert value(database) == 10


def test_a_connection_that_may_only_read_is_not_used_again(
    database: GuardedSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "database", database)
    with database.connection_context():
        db.refuse_writes()
        with pytest.raises(peewee.OperationalError):
            database.execute_sql("DELETE FROM one")
    with database.connection_context():
        database.execute_sql("DELETE FROM one")


def test_a_database_that_was_put_in_the_place_of_another_is_opened(
    database: GuardedSqlite, path: Path
) -> None:
    with sqlite3.connect(path.with_name("restored.db")) as restored:
        restored.execute("CREATE TABLE one (value)")
        restored.execute("INSERT INTO one VALUES (9)")
    restored.close()
    os.replace(path.with_name("restored.db"), path)
    path.with_name("some.db-wal").unlink(missing_ok=True)
    path.with_name("some.db-shm").unlink(missing_ok=True)
    with database.connection_context():
        assert value(database) == 9


def test_the_last_one_that_is_closed_leaves_one_file_with_everything(
    database: GuardedSqlite, path: Path
) -> None:
    assert len(list(path.parent.iterdir())) > 1  # SQLite's log
    database.close_idle()
    assert list(path.parent.iterdir()) == [path]
    used(database)
    assert list(path.parent.iterdir()) == [path]  # nothing is kept any more
