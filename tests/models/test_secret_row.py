"""Promises of rows that hold a secret: one way in, nothing lost, nothing stored by the side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import peewee
import pytest
from peewee import SQL, Case, Table, Value, fn

from panel import db
from panel.errors import BadInput, EditedMeanwhile, PasswordNeeded
from panel.models import Account, Endpoint
from panel.models.endpoint import Place
from panel.models.secret_fields import Clear, Sealed
from panel.secret import Secret
from tests.encryption.conftest import House, house, new_endpoint  # noqa: F401

VALUES: dict[str, Any] = {
    "a string": "planted", "bytes": b"planted", "None": None, "a Secret": Secret("planted"),
    "SQL": SQL("'planted'"), "another column": Endpoint.username, "a function": fn.upper("planted"),
    "an expression": Endpoint.username + "x", "a bare Value": Value("planted", converter=False),
    "a case": Case(None, [(Endpoint.id == 1, "planted")]), "a sub-query": Account.select(Account.address),
}  # fmt: skip

WRITES: dict[str, Callable[[str, Any], Any]] = {
    "update by keyword": lambda c, v: Endpoint.update(**{c: v}),
    "update by name": lambda c, v: Endpoint.update({c: v}),
    "update by field": lambda c, v: Endpoint.update({getattr(Endpoint, c): v}),
    "insert": lambda c, v: Endpoint.insert(**{c: v}),
    "insert_many of dicts": lambda c, v: Endpoint.insert_many([{c: v}]),
    "insert_many of tuples": lambda c, v: Endpoint.insert_many([(v,)], fields=[getattr(Endpoint, c)]),
    "insert_many of an iterator": lambda c, v: Endpoint.insert_many(iter([{c: v}])),
    "replace": lambda c, v: Endpoint.replace(**{c: v}),
    "replace_many": lambda c, v: Endpoint.replace_many([{c: v}]),
    "upsert": lambda c, v: Endpoint.insert(failure="x").on_conflict(conflict_target=[Endpoint.id], update={c: v}),
    "upsert that preserves": lambda c, v: Endpoint.insert(failure="x").on_conflict(
        conflict_target=[Endpoint.id], preserve=[getattr(Endpoint, c)]
    ),
    "a bare query": lambda c, v: peewee.Update(Endpoint, {c: v}).bind(db.database),
    "a bare table": lambda c, v: Table("endpoint").bind(db.database).update({c: v}),
    "a bare table in capitals": lambda c, v: Table("ENDPOINT").bind(db.database).update({c: v}),
    "an insert into a bare table": lambda c, v: Table("endpoint").bind(db.database).insert({c: v}),
    "a bare table with columns": lambda c, v: Table("endpoint", ("id", c)).bind(db.database).update(**{c: v}),
}  # fmt: skip


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_no_query_writes_a_secret_or_a_bound_column(house: House, write: Callable[[str, Any], Any]) -> None:
    endpoint = house.add()
    before = house.sql("SELECT * FROM endpoint")
    for column in ("clear", "sealed", "rev", *Endpoint.BOUND):
        for value in VALUES.values():
            with pytest.raises(TypeError):
                write(column, value).execute()
    assert house.sql("SELECT * FROM endpoint") == before
    assert house.opened(endpoint) == "hunter2hunter2"


@pytest.mark.parametrize(
    "write",
    [
        lambda e: Endpoint.bulk_create([new_endpoint(Account.get())]),
        lambda e: Endpoint.bulk_update([e], fields=[Endpoint.clear]),
        lambda e: Endpoint.bulk_update([e], fields=["host"]),
        lambda e: Endpoint.set_by_id(e.id, {"clear": "planted"}),
        lambda e: Endpoint.insert_from(Endpoint.select(Endpoint.clear), [Endpoint.clear]).execute(),
        lambda e: e.save(only=["clear"]),
        lambda e: e.save(only=[Endpoint.host]),
        lambda e: setattr(e, "clear", "planted") or e.save(),
        lambda e: setattr(e, "sealed", Sealed(b"planted")) or e.save(),
        lambda e: setattr(e, "clear", Clear(Secret("planted"))) or e.save(),
        lambda e: setattr(e, "secret", "planted"),
        lambda e: Endpoint.update(failure="x").where(Endpoint.clear == "hunter2hunter2").execute(),
    ],
)  # fmt: skip
def test_the_bulk_calls_and_the_attributes_refuse_too(house: House, write: Callable[[Endpoint], Any]) -> None:
    endpoint = house.add()
    before = house.sql("SELECT * FROM endpoint")
    with pytest.raises(TypeError):
        write(endpoint)
    assert house.sql("SELECT * FROM endpoint") == before


def test_what_was_read_from_one_row_cannot_be_written_to_another(house: House) -> None:
    house.enable()
    one, two = house.add("first"), house.add("second")
    with pytest.raises(TypeError):
        Endpoint.update(sealed=one.sealed).where(Endpoint.id == two.id).execute()
    two.sealed = one.sealed
    with pytest.raises(TypeError):
        two.save()
    assert house.opened(two) == "second"


def test_the_database_itself_refuses_both_columns_at_once(house: House) -> None:
    house.add()
    with pytest.raises(peewee.IntegrityError):
        house.sql("UPDATE endpoint SET sealed = x'00'")


def test_a_row_that_was_read_in_part_stores_no_secret_but_for_a_whole_place(house: House) -> None:
    house.enable()
    endpoint = house.add("first")
    partial = Endpoint.select(Endpoint.id, Endpoint.host).where(Endpoint.id == endpoint.id).get()
    partial.secret = Secret("second")
    with pytest.raises(TypeError, match="whole"):
        partial.save()
    assert house.opened(endpoint) == "first"
    partial.save(place=replace(endpoint.place, host="other.example.org"))
    assert house.opened(endpoint) == "second"
    assert Endpoint.get_by_id(endpoint.id).place == replace(endpoint.place, host="other.example.org")


@pytest.mark.parametrize("name", [f.name for f in fields(Place) if f.name != "account"])
def test_a_row_that_sql_changed_since_it_was_read_stores_nothing(house: House, name: str) -> None:
    endpoint = house.add("first")
    house.sql("PRAGMA ignore_check_constraints = ON")
    house.sql(f"UPDATE endpoint SET {name} = ?", 99 if name == "port" else "x.example.org")
    before = house.sql("SELECT * FROM endpoint")
    endpoint.secret = Secret("second")
    with pytest.raises(EditedMeanwhile):
        endpoint.save()
    assert house.sql("SELECT * FROM endpoint") == before


def test_what_is_written_after_the_seal_in_the_same_transaction_is_noticed(house: House) -> None:
    endpoint = house.add("first")
    endpoint.secret = Secret("second")
    with pytest.raises(EditedMeanwhile), Endpoint.storing():
        endpoint.save()
        house.sql("UPDATE endpoint SET host = 'evil.example.org'")
    with pytest.raises(EditedMeanwhile), Endpoint.storing():
        endpoint.save()
        house.sql("UPDATE account SET address = 'other@example.org'")
    assert house.opened(endpoint) == "first"
    with Endpoint.storing():  # twice in one transaction is no edit by others
        endpoint.save()
        again = Endpoint.get_by_id(endpoint.id)
        again.secret = Secret("third")
        again.save()
    assert house.opened(endpoint) == "third"


@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_after_a_rollback_the_password_still_waits_and_the_next_save_stores_it(
    house: House, on: bool
) -> None:
    if on:
        house.enable()
    endpoint = house.add("first")
    endpoint.host, endpoint.secret = "other.example.org", Secret("second")
    with pytest.raises(RuntimeError), db.transaction():
        endpoint.save()
        raise RuntimeError
    assert house.opened(endpoint) == "first"
    endpoint.save()
    assert house.opened(endpoint) == "second"
    assert Endpoint.get_by_id(endpoint.id).host == "other.example.org"


def test_a_stale_instance_is_refused_and_changes_nothing(house: House) -> None:
    house.enable()
    one = house.add("first")
    stale = Endpoint.get_by_id(one.id)
    one.secret = Secret("second")
    one.save()
    stale.host, stale.secret = "evil.example.org", Secret("third")
    with pytest.raises(EditedMeanwhile):
        stale.save()
    assert house.opened(one) == "second"
    assert Endpoint.get_by_id(one.id).host == "imap.example.org"


def test_a_row_removed_meanwhile_is_named(house: House) -> None:
    endpoint = house.add()
    house.sql("DELETE FROM endpoint")
    endpoint.secret = Secret("second")
    with pytest.raises(EditedMeanwhile, match="removed"):
        endpoint.save()


@pytest.mark.parametrize("name", [name for name in Endpoint.BOUND if name != "account"])
def test_a_bound_column_changes_only_together_with_a_password(house: House, name: str) -> None:
    endpoint = house.add()
    setattr(endpoint, name, 994 if name == "port" else "changed")
    with pytest.raises(PasswordNeeded):
        endpoint.save()
    assert house.opened(endpoint) == "hunter2hunter2"


def test_a_save_that_touches_no_secret_writes_only_what_was_set(house: House) -> None:
    endpoint, other = house.add(), None
    other = Endpoint.get_by_id(endpoint.id)
    endpoint.secret = Secret("newer password")
    endpoint.save()
    other.failure = "noted"
    other.save()
    row = Endpoint.get_by_id(endpoint.id)
    assert (row.failure, row.rev) == ("noted", 2)
    assert house.opened(endpoint) == "newer password"


def test_a_new_row_needs_a_password(house: House) -> None:
    account = Account.create(address="x@example.org", created_at=0)
    with pytest.raises(PasswordNeeded):
        new_endpoint(account).save()
    assert not Endpoint.select().exists()


def test_a_savepoint_that_is_rolled_back_alone_leaves_the_password_waiting(house: House) -> None:
    endpoint = house.add("first")
    endpoint.secret = Secret("second")
    with db.transaction():
        with pytest.raises(RuntimeError), db.transaction():
            endpoint.save()
            raise RuntimeError
    assert house.opened(endpoint) == "first"
    endpoint.save()
    assert house.opened(endpoint) == "second"


def test_a_list_of_accounts_needs_no_key_and_survives_whatever_sql_put_there(house: House) -> None:
    house.enable()
    house.add()
    broken = house.add()
    house.sql("UPDATE endpoint SET sealed = 'text', port = 'abc', host = x'ff00' WHERE id = ?", broken.id)
    house.sql("UPDATE endpoint SET sealed = NULL, clear = CAST(x'ff0041' AS TEXT) WHERE id <> ?", broken.id)
    house.key_file.unlink()
    assert len(list(Endpoint.select())) == 2


TYPED = [
    "x", " leading", "trailing ", "  both  ", "Grüße", "пароль", "🗝️🔑", "\"double\"", "'single'", "back\\slash\\",
    "100%", "%s %d %(x)s", "$argon2id$v=19$m=64", "\x01\x01looks like a record", "AQGfPEHSB6rlsQ==", "x'0101'", "mailkeep/seal/1", "{}{{}}", "--leading", "a\r\nb", "\n",
    "\t", "0", "None", "null", "true", "b'bytes'", "x" * 1024, "ü" * 1024,
]  # fmt: skip


@pytest.mark.parametrize("typed", TYPED, ids=lambda t: ascii(t[:20]))
def test_a_password_is_stored_exactly_as_typed_before_enabling_after_it_and_after_disabling(
    house: House, typed: str
) -> None:
    endpoint = house.add(typed)
    assert house.opened(endpoint) == typed
    house.enable()
    assert house.opened(endpoint) == typed
    house.disable()
    assert house.opened(endpoint) == typed


@pytest.mark.parametrize(("typed", "named"), [("a\0b", "NUL"), ("\ud800", "surrogate")])
def test_only_nul_and_what_has_no_utf8_form_are_refused_by_name(typed: str, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        Secret(typed)


def test_a_password_too_long_for_a_record_is_refused_before_anything_is_written(house: House) -> None:
    with pytest.raises(BadInput, match="longer than"):
        house.add("x" * 16_383)
    assert not Endpoint.select().exists()


@pytest.mark.parametrize("rev", ["abc", b"\xff", 2**63 - 1, -1, 1.5])
def test_a_revision_that_sql_put_there_keeps_no_password_from_being_stored(house: House, rev: object) -> None:
    endpoint = house.add("first")
    house.sql("UPDATE endpoint SET rev = ?", rev)
    row = Endpoint.get_by_id(endpoint.id)
    row.secret = Secret("second")
    row.save(place=row.place)
    assert (house.opened(endpoint), house.row(endpoint)[2]) == ("second", 1)
