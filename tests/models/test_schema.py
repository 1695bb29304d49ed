"""Promises of the schema: migrations and models agree, and a newer database is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from panel import db
from panel.config import ROOT, Settings
from panel.errors import DatabaseError
from panel.models import TABLES, schema
from tests.encryption.conftest import House, house, settings_in  # noqa: F401


def _schema(database: db.GuardedSqlite) -> set[str]:
    found = database.execute_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {re.sub(r" DEFAULT \S+", "", sql) for (sql,) in found if "schema_migration" not in sql}


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
