"""Promises of the schema: migrations and models agree, and a newer database is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playhouse.migrations import Runner

from panel import db
from panel.config import ROOT, Settings
from panel.errors import DatabaseError
from panel.models import TABLES, Endpoint, schema
from tests.encryption.conftest import House, house, settings_in  # noqa: F401


def _schema(database: db.GuardedSqlite) -> set[object]:
    """Tables, columns, keys, indexes and checks; not their order, nor defaults that old rows needed."""
    found: set[object] = set()
    rows = database.execute_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    for table, sql in rows:
        if table in ("schema_migration", "sqlite_sequence"):
            continue
        found |= {(table, check) for check in re.findall(r"CHECK \(.*?\)+", sql)}
        for pragma, kept in (("table_info", slice(1, 4)), ("foreign_key_list", slice(2, 7))):
            rows = database.execute_sql(f"PRAGMA {pragma}({table})").fetchall()
            found |= {(table, pragma, *row[kept], row[5]) for row in rows}
        for _, index, unique, *_ in database.execute_sql(f"PRAGMA index_list({table})").fetchall():
            columns = database.execute_sql(f"PRAGMA index_info({index})").fetchall()
            found.add((table, index, unique, tuple(name for *_, name in columns)))
    return found


def test_the_migrations_make_exactly_the_tables_of_the_models(house: House, tmp_path: Path) -> None:
    migrated = _schema(db.database.obj)
    plain = db.connect(f"sqlite:///{tmp_path}/plain.db")
    with plain.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False), plain.connection_context():
        plain.create_tables(TABLES)
        assert _schema(plain) == migrated


def test_a_second_start_changes_nothing(house: House) -> None:
    before = house.sql("SELECT * FROM encryption")
    assert _prepared_elsewhere(house.settings) == "[]"
    assert house.sql("SELECT * FROM encryption") == before


def test_a_database_newer_than_the_code_is_refused_by_name(house: House) -> None:
    house.sql("INSERT INTO schema_migration (name, applied) VALUES ('9999_future', '2030-01-01')")
    with pytest.raises(DatabaseError, match=r"newer Mailkeep.*9999_future"):
        schema.check(db.database.obj)
    with pytest.raises(DatabaseError, match="newer"):
        schema.upgrade(db.database.obj)


def test_every_install_has_its_own_instance_id(house: House, tmp_path: Path) -> None:
    other = settings_in(tmp_path / "other")
    _prepared_elsewhere(other)
    database = db.connect(other.database_url)
    second = database.execute_sql("SELECT instance_id FROM encryption").fetchall()
    database.close()
    assert len(second) == 1
    assert house.sql("SELECT instance_id FROM encryption") != second


def _prepared_elsewhere(settings: Settings) -> str:
    """What another process says after preparing the install: the migrations it applied."""
    code = (
        "import sys; from panel import install; from panel.config import Settings;"
        "print(install.prepare(Settings.load({'PANEL_DATA_DIR': sys.argv[1], 'PANEL_ENV_FILE': '/dev/null'})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(settings.data_dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["0001_first", "0010_bound_address", "0011_session_tokens", "%"])
def test_a_migration_struck_from_the_list_is_named_and_none_is_made_twice(house: House, name: str) -> None:
    before = house.sql("SELECT * FROM encryption")
    house.sql("DELETE FROM schema_migration WHERE name LIKE ?", name)
    for step in (schema.check, schema.upgrade):
        with pytest.raises(DatabaseError, match=r"list of migrations was changed outside"):
            step(db.database.obj)
    assert house.sql("SELECT * FROM encryption") == before


def test_a_list_of_migrations_that_is_no_text_is_told_in_words(house: House) -> None:
    house.sql("INSERT INTO schema_migration (name, applied) VALUES (x'ff', x'ff')")
    with pytest.raises(DatabaseError, match="edited by hand"):
        schema.check(db.database.obj)


def test_an_older_database_keeps_its_passwords_and_what_was_set_aside(tmp_path: Path) -> None:
    """Its table of passwords is made anew, and so is that of records set aside (0021)."""
    database = db.connect(f"sqlite:///{tmp_path}/old.db")
    with database.connection_context():
        Runner(database, str(schema.MIGRATIONS)).up("0020_lean_messages")
        place = "'imap', 'imap.example.org', 993, 'tls', 'müller', 'plain', '', 'a@example.org'"
        database.execute_sql(
            "INSERT INTO account (uuid, address, folder, begin, interval, created_at, on_server, move_to)"
            " VALUES ('u', 'a@example.org', 'INBOX', 'now', 60, 1, 'keep', '')"
        )
        columns = "protocol, host, port, security, username, auth_method, token_url, address, kind"
        for number, (direction, clear, sealed, kind) in enumerate(OLD_ROWS, 1):
            database.execute_sql(
                f"INSERT INTO endpoint (id, rev, account_id, direction, clear, sealed, {columns})"
                f" VALUES (?, 7, 'u', ?, ?, ?, {place}, ?)",
                (number, direction, clear, sealed, kind),
            )
        database.execute_sql(
            f"INSERT INTO forgotten_secret (id, account_id, direction, {columns}, sealed, forgotten_at)"
            f" VALUES (3, 'u', 'in', {place}, 'password', x'0201', 9)"
        )
        indexes = "SELECT name FROM sqlite_master WHERE tbl_name = 'endpoint' AND type = 'index'"
        before = {name for (name,) in database.execute_sql(indexes)}
        Runner(database, str(schema.MIGRATIONS)).up("0021_secret_rows")
        assert before < {name for (name,) in database.execute_sql(indexes)}
        rows = database.execute_sql(
            "SELECT id, rev, direction, clear, sealed, username, kind FROM endpoint"
        ).fetchall()
        assert rows == [
            (1, 7, "in", " clear ", None, "müller", "password"), (2, 7, "out", None, b"\x02\x01", "müller", "password"),
            (3, 7, "other", None, None, "müller", "consent"),  # planted beside another kind: never a password
        ]  # fmt: skip
        (found,) = database.execute_sql("SELECT * FROM forgotten_secret").fetchall()
        assert found[:3] == (3, "endpoint", "u") and found[4:] == (b"\x02\x01", 9)
        bound = [
            "u",
            "in",
            "imap",
            "imap.example.org",
            "993",
            "tls",
            "müller",
            "plain",
            "",
            "a@example.org",
            "password",
        ]
        assert json.loads(found[3]) == bound
        assert len(bound) == len(Endpoint.BOUND)
        assert database.execute_sql("PRAGMA foreign_key_check").fetchall() == []


OLD_ROWS = [
    ("in", " clear ", None, "password"), ("out", None, b"\x02\x01", "password"), ("other", "planted", None, "consent"),
]  # fmt: skip
