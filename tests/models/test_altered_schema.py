"""Promises to whoever types a password: nothing that was planted in the schema gets it to another server."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import peewee
import pytest

from panel import audit, db
from panel.audit import Actor
from panel.errors import CannotStore, EditedMeanwhile, KeyAbsent, PanelError, Refused
from panel.models import Account, Endpoint, Person, schema
from panel.secret import Secret
from panel.vault import credential, forget, unfinished
from panel.vault.state import State
from tests import running
from tests.encryption.conftest import House, house  # noqa: F401

EVIL = "UPDATE endpoint SET host = '127.0.0.1', port = 9993"
INTO_SCHEMA = (
    "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('{}', '{}', '{}', 0, '{}')"
)
TRIGGER = f"CREATE TRIGGER planted AFTER UPDATE ON account BEGIN {EVIL}; END"
QUOTED = TRIGGER.replace("'", "''")


def _columns(old: str, new: str) -> str:
    """SQL that rewrites the definition of `endpoint` as `writable_schema` allows."""
    return f"UPDATE sqlite_master SET sql = replace(sql, '{old}', '{new}') WHERE name = 'endpoint'"


PLANTED: dict[str, tuple[str, ...]] = {
    "a trigger on account": (TRIGGER,),
    "a trigger on endpoint": (TRIGGER.replace("ON account", "ON endpoint").replace("UPDATE ON", "INSERT ON"),),
    "a trigger on what is written last": (TRIGGER.replace("UPDATE ON account", "INSERT ON activity"),),
    "a trigger that runs before": (TRIGGER.replace("AFTER", "BEFORE"),),
    "a quoted name": (TRIGGER.replace("ON account", 'ON "ACCOUNT"'),),
    "a row in the schema": ("PRAGMA writable_schema = 1", INTO_SCHEMA.format("trigger", "x", "account", QUOTED)),
    "a view in the place of a table": (
        "ALTER TABLE account RENAME TO kept", "CREATE VIEW account AS SELECT * FROM kept",
        "CREATE TRIGGER t INSTEAD OF UPDATE ON account BEGIN " + EVIL + "; END",
    ),
    "a default with a reference": (
        "PRAGMA writable_schema = 1",
        _columns('"host" TEXT NOT NULL',
                 "\"host\" TEXT NOT NULL DEFAULT ''evil.example.org'' REFERENCES person(email) ON UPDATE SET DEFAULT"),
    ),
    "a check that is gone": (
        "PRAGMA writable_schema = 1", _columns("CHECK (clear IS NULL OR sealed IS NULL)", "CHECK (1)"),
    ),
    "an index more": ("CREATE UNIQUE INDEX more ON endpoint (host)",),
    "an index less": ("DROP INDEX endpoint_account_id",),
    "a column more": ("ALTER TABLE endpoint ADD COLUMN more TEXT",),
    "an index on the schema, without the trigger in it": (
        "CREATE TABLE kept AS SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name > ''", TRIGGER,
        "CREATE INDEX hiding ON kept (type, name, tbl_name, sql)", "PRAGMA writable_schema = 1",
        "UPDATE sqlite_master SET name = 'x', tbl_name = 'sqlite_master',"
        " sql = 'CREATE INDEX x ON sqlite_master (type, name, tbl_name, sql)' WHERE name = 'hiding'",
    ),
    "a blob as definition, on a table of others": (
        "CREATE TABLE other (id)", "PRAGMA writable_schema = 1",
        INTO_SCHEMA.format("trigger", "planted", "other", QUOTED.replace("ON account", "ON other").replace(
            "UPDATE endpoint", "UPDATE\nendpoint")).replace(", 0, ", ", 0, CAST(").replace("END')", "END' AS BLOB))"),
    ),
    "a reference that keeps sessions from ending": (
        "CREATE TABLE other (token_hash BLOB REFERENCES session (token_hash))",
        "INSERT INTO other SELECT token_hash FROM session",
    ),
}  # fmt: skip
HARMLESS = (
    "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)",
    "CREATE INDEX litestream_index ON _litestream_seq (seq)",
    "CREATE VIEW report AS SELECT count(*) FROM account",
    "CREATE TABLE theirs (id INTEGER PRIMARY KEY, seq REFERENCES _litestream_seq (id))",
    "ANALYZE",
)


def plant(house: House, *statements: str) -> None:
    """Write to the database as another program does."""
    with closing(sqlite3.connect(house.data / "panel.db", isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)


def change_password(endpoint: Endpoint, password: str) -> None:
    """As the form does it: the account is written, then the server with the password that was typed."""
    with Endpoint.storing():
        Account.update(interval=120).where(Account.uuid == endpoint.account_id).execute()
        row = Endpoint.get_by_id(endpoint.id)
        row.secret = Secret(password)
        row.save(place=endpoint.place)
        audit.record("mailbox changed", "x", who="x")


@pytest.fixture(params=[False, True], ids=["encryption off", "encryption on"])
def endpoint(house: House, request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    if request.param:
        house.enable()
    yield house.add("first")


@pytest.mark.parametrize("statements", PLANTED.values(), ids=PLANTED)
def test_nothing_is_stored_or_opened_and_the_object_is_named(
    house: House, endpoint: Endpoint, statements: tuple[str, ...]
) -> None:
    plant(house, *statements)
    with pytest.raises((CannotStore, peewee.DatabaseError)):
        change_password(endpoint, "typed by an administrator")
    assert not house.times_stored("typed by an administrator")
    now = house.vault.latest()
    assert now.state is State.KEY_WRONG
    assert "schema was changed" in now.reason
    with pytest.raises(KeyAbsent):
        credential.open_for(endpoint, house.vault)
    assert not credential.is_authentic(endpoint, house.vault)
    with pytest.raises(Refused, match="schema"):
        forget.forget(house.vault, Actor())
    with suppress(PanelError, peewee.DatabaseError):
        unfinished.resume(house.vault)
    assert not house.times_stored("typed by an administrator")


def test_all_goes_on_once_the_trigger_is_gone(house: House, endpoint: Endpoint) -> None:
    before = house.state
    plant(house, TRIGGER)
    assert house.state is State.KEY_WRONG
    plant(house, "DROP TRIGGER planted")
    assert house.state is before
    change_password(endpoint, "second")
    assert house.opened(endpoint) == "second"


def test_a_trigger_deleted_after_it_was_loaded_writes_nothing(house: House, endpoint: Endpoint) -> None:
    plant(house, TRIGGER)
    house.sql("SELECT count(*) FROM account")  # this connection has loaded it
    with pytest.raises(peewee.DatabaseError, match="not authorized"):
        house.sql("UPDATE account SET interval = 61")
    plant(house, "PRAGMA writable_schema = 1", "DELETE FROM sqlite_master WHERE name = 'planted'")
    assert not schema.altered(db.database)
    with pytest.raises(peewee.DatabaseError, match="not authorized"):
        change_password(endpoint, "second")
    assert Endpoint.get().place == endpoint.place
    assert house.opened(endpoint) == "first"


def test_a_reference_loaded_and_put_back_redirects_nothing(house: House, endpoint: Endpoint) -> None:
    """The cascade of a foreign key has no name that an authorizer could see: reading back finds it."""
    definition = house.sql("SELECT sql FROM sqlite_master WHERE name = 'endpoint'")[0][0]
    for address in (endpoint.host, "evil.example.org"):  # what the reference points to, and will
        Person.create(email=address, name="x", role="user", login_hash="x", created_at=0)
    plant(house, *PLANTED["a default with a reference"], "PRAGMA schema_version = 9999")
    house.sql("SELECT count(*) FROM endpoint")  # this connection has loaded it
    with closing(sqlite3.connect(house.data / "panel.db", isolation_level=None)) as other:
        other.execute("PRAGMA writable_schema = 1")
        other.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'endpoint'", (definition,))
    assert not schema.altered(db.database)
    endpoint.secret = Secret("typed by an administrator")
    with pytest.raises(EditedMeanwhile), Endpoint.storing():
        endpoint.save()
        house.sql("UPDATE person SET email = 'moved@example.org' WHERE email = ?", endpoint.host)
        assert house.sql("SELECT host FROM endpoint") == [("evil.example.org",)]  # so it did fire
    assert not house.times_stored("typed by an administrator")


def test_a_row_under_another_table_s_name_stores_nothing(house: House, endpoint: Endpoint) -> None:
    lying = INTO_SCHEMA.format("trigger", "x", "other", QUOTED)  # SQLite itself calls this malformed
    plant(house, "CREATE TABLE other (id)", "PRAGMA writable_schema = 1", lying)
    with pytest.raises((CannotStore, peewee.DatabaseError)):
        change_password(endpoint, "typed by an administrator")
    assert not house.times_stored("typed by an administrator")
    assert schema.altered_in([("trigger", "x", "other", TRIGGER)], ["0001_first"])[0] == "trigger x on other"


def test_a_temporary_trigger_counts_too(house: House, endpoint: Endpoint) -> None:
    house.sql(TRIGGER.replace("CREATE", "CREATE TEMP"))
    with pytest.raises(CannotStore, match="planted"):
        change_password(endpoint, "second")
    house.sql("DROP TRIGGER planted")
    change_password(endpoint, "second")


def test_tables_of_others_may_stand_beside_ours(house: House, endpoint: Endpoint) -> None:
    before = house.state
    plant(house, *HARMLESS)
    assert house.state is before
    change_password(endpoint, "second")
    assert house.opened(endpoint) == "second"


def test_cascades_of_our_own_tables_still_work(house: House, endpoint: Endpoint) -> None:
    Account.delete().execute()
    assert not Endpoint.select().exists()


@pytest.mark.parametrize("over", [{"address": "other@example.org"}, {"account": "nobody"}])
def test_a_place_that_is_not_its_account_s_is_refused(house: House, over: dict[str, Any]) -> None:
    endpoint = house.add("first")
    endpoint.secret = Secret("second")
    with pytest.raises((EditedMeanwhile, peewee.IntegrityError)):
        endpoint.save(place=replace(endpoint.place, **over))
    assert house.opened(endpoint) == "first"


def test_doctor_and_backup_check_name_the_object(house: House, endpoint: Endpoint) -> None:
    environ = running.environ_for(house.data.parent)
    plant(house, TRIGGER)
    done = running.flask(environ, "doctor", "--json")
    found = [each for each in json.loads(done.stdout) if "planted" in each.get("message", "")]
    assert done.returncode == 1 and {each["check"] for each in found} >= {"database", "encryption"}
    assert not any(each["ok"] for each in found)
    target = house.data.parent / "copy.db"
    plant(house, f"VACUUM INTO '{target}'")
    done = running.flask(environ, "backup", "check", str(target))
    assert done.returncode == 1
    assert "trigger planted on account" in done.stdout


def test_another_peewee_words_the_schema_as_the_one_that_made_it_did() -> None:
    """Where this fails, every install that is upgraded would be refused: freeze the SQL in the migrations."""
    made = sorted(map(str, schema.expected("0011_session_tokens")))
    digest = hashlib.sha256("\n".join(made).encode()).hexdigest()
    assert digest[:16] == "02f8b1684861df5e"


def test_what_a_dump_was_restored_into_is_not_altered(house: House, endpoint: Endpoint) -> None:
    plant(house, *HARMLESS)
    done = subprocess.run(
        ["sqlite3", str(house.data / "panel.db"), ".dump"], capture_output=True, text=True, check=True
    )
    with closing(sqlite3.connect(":memory:")) as other:
        other.executescript(done.stdout)
        found = other.execute(schema.ENTRIES).fetchall()
    applied = [name for (name,) in house.sql("SELECT name FROM schema_migration")]
    assert schema.altered_in(found, applied) == ()
