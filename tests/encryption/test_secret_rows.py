"""Every kind of secret, by one registry: what holds for passwords holds for all, and only passwords may stand in
clear text (docs/decisions/0041-one-registry.md).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import permutations
from pathlib import Path
from typing import Any

import peewee
import pytest

from panel import db
from panel.audit import Actor
from panel.crypto import record
from panel.crypto.keyfile import KeyFile
from panel.errors import CannotOpen, CannotStore, PanelError, PasswordNeeded, Refused, Tampered
from panel.models import (
    SECRET_ROWS,
    Account,
    Activity,
    Consent,
    Endpoint,
    ForgottenSecret,
    Pending,
    SecretRow,
)
from panel.models.endpoint import UNATTESTED_LABEL
from panel.models.oauth import PENDING_SECONDS
from panel.secret import Secret
from panel.vault import (  # fmt: skip
    credential,
    forget,
    only_encrypted,
    owners,
    retired_keys,
    rotation,
    rows,
    scrub,
    turn_off,
    unfinished,
    verification,
)
from panel.vault.state import State
from tests.encryption.conftest import House, house, in_process  # noqa: F401
from tests.encryption.kinds import KINDS, OTHERS, TABLES, Stored, add, add_all, opened, secrets

ACTOR = Actor("admin@example.org")
UNCHECKED = "PRAGMA ignore_check_constraints = ON"


def each_column() -> list[Any]:
    """Every bound column of every kind of row."""
    return [
        pytest.param(name, column, id=f"{name}-{column}")
        for name, model in TABLES.items()
        for column in (model._meta.fields[field].column_name for field in model.BOUND)
    ]


# -- one registry --------------------------------------------------------------------------


def test_every_model_with_a_secret_is_registered_and_is_tried_here() -> None:
    assert set(SecretRow.__subclasses__()) == set(SECRET_ROWS)
    assert set(TABLES.values()) == set(SECRET_ROWS)


def test_every_table_with_a_sealed_column_is_registered(house: House) -> None:
    tables = [name for (name,) in house.sql("SELECT name FROM sqlite_master WHERE type = 'table'")]
    with_records = {
        t for t in tables if {"sealed", "clear"} & {c[1] for c in house.sql(f"PRAGMA table_info({t})")}
    }
    assert with_records - {"forgotten_secret", "pending_form"} == {m._meta.table_name for m in SECRET_ROWS}


@pytest.mark.parametrize("model", SECRET_ROWS)
def test_every_table_binds_what_it_is_and_its_kind_and_no_two_bind_alike(model: type[SecretRow]) -> None:
    assert model.BOUND[-1] == "kind"
    assert set(model.KEY) < set(model.BOUND)
    others = [each for each in SECRET_ROWS if each is not model]
    assert (model.LABEL, model.FIRST) not in [(each.LABEL, each.FIRST) for each in others]
    assert (model.CLEAR_KIND is not None) == (model is Endpoint)


def test_the_plain_rows_of_a_sweep_are_bound_as_the_models_are(house: House) -> None:
    house.enable()
    for stored in add_all().values():
        [row] = [each for each in rows.each(stored.model, rows.stored(stored.model)) if each.id == stored.id]
        assert row.binding(b"i") == stored.row.binding(b"i")
        assert row.may_be_clear == stored.row.may_be_clear
        assert (
            credential.unseal(row, house.vault.read().file, house.vault.read().row.instance_id)[0].reveal()
            == stored.secret
        )


# -- sealed, or not at all -------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_without_a_key_nothing_but_a_password_is_stored(house: House, name: str) -> None:
    with pytest.raises(CannotStore, match="Turn on encryption first"):
        add(name)
    assert all(not model.select().exists() for model in SECRET_ROWS)
    assert not Account.select().exists()


@pytest.mark.parametrize("name", OTHERS)
def test_while_encryption_is_turned_off_nothing_but_a_password_is_stored(house: House, name: str) -> None:
    house.add()
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    with pytest.raises(CannotStore, match="Turn on encryption first"):
        add(name)
    unfinished.resume(house.vault)
    assert house.state is State.OFF


@pytest.mark.parametrize("name", OTHERS)
def test_the_database_itself_refuses_another_secret_in_clear_text(house: House, name: str) -> None:
    house.enable()
    stored = add(name)
    with pytest.raises(peewee.IntegrityError):
        house.sql(f"UPDATE {stored.table} SET sealed = NULL, clear = 'planted' WHERE id = ?", stored.id)
    assert stored.opened(house) == stored.secret


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("beside", [False, True], ids=["in its place", "beside the record"])
def test_what_is_planted_in_clear_text_is_never_read_nor_encrypted_and_is_named(
    house: House, name: str, beside: bool
) -> None:
    house.enable()
    stored = add(name)
    house.sql(UNCHECKED)
    record = "sealed" if beside else "NULL"
    house.sql(f"UPDATE {stored.table} SET sealed = {record}, clear = 'planted' WHERE id = ?", stored.id)
    before = stored.columns(house)
    with pytest.raises(Tampered, match="outside Mailkeep"):
        stored.opened(house)
    unfinished.resume(house.vault)
    rotation_refused(house)
    assert stored.columns(house) == before
    now = house.vault.latest()
    assert (now.state, [each.reason for each in now.failures]) == (State.INCONSISTENT, [rows.PLANTED])
    [failure] = verification.run(house.vault).failures
    assert "planted" not in repr((now, failure))
    assert (failure.address, failure.what) == (owners.address(stored.row), stored.row.words.owner)


@pytest.mark.parametrize("name", OTHERS)
def test_what_was_planted_before_turning_on_is_not_encrypted_then(house: House, name: str) -> None:
    house.enable()
    stored = add(name)
    house.sql(UNCHECKED)
    house.sql(f"UPDATE {stored.table} SET sealed = NULL, clear = 'planted' WHERE id = ?", stored.id)
    lose_the_key(house)
    assert house.state is State.OFF
    with pytest.raises(Tampered):
        stored.opened(house)
    assert [each.reason for each in house.vault.latest().failures] == [rows.PLANTED]
    house.enable()
    assert stored.columns(house)[:2] == ("planted", None)
    assert house.state is State.INCONSISTENT


def rotation_refused(house: House) -> None:
    """With a row that does not open, the key is not changed, and the row is named."""
    names = {each.address for each in verification.run(house.vault).failures}
    with pytest.raises(Refused, match="cannot be decrypted") as caught:
        rotation.rotate(house.vault, ACTOR)
    assert all(name in caught.value.message for name in names)


def lose_the_key(house: House) -> KeyFile:
    """The key file is gone; what was under it is set aside."""
    file = KeyFile.from_bytes(house.key_file.read_bytes())
    house.key_file.unlink()
    if house.state is not State.OFF:
        forget.forget(house.vault, ACTOR)
    return file


# -- bound to where they are -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "column"), each_column())
def test_a_row_whose_bound_column_was_edited_does_not_open(house: House, name: str, column: str) -> None:
    house.enable()
    stored, untouched = add(name), add(name, "two")
    other = untouched.row.__data__["account"] if column == "account_id" else None
    if column == "account_id" and stored.model is not Consent:
        house.sql(f"DELETE FROM {stored.table} WHERE id = ?", untouched.id)  # one of each account
    value = other or (994 if column == "port" else "edited")
    house.sql(f"UPDATE {stored.table} SET {column} = ? WHERE id = ?", value, stored.id)
    with pytest.raises(Tampered):
        stored.opened(house)
    assert house.vault.latest().state is State.INCONSISTENT
    [failure] = verification.run(house.vault).failures
    assert failure.what == stored.row.words.owner
    rotation_refused(house)
    assert stored.columns(house)[1] is not None  # left as it was


def test_a_record_opens_in_no_other_row_of_any_table(house: House) -> None:
    house.enable()
    every = [*add_all().values(), *add_all("two").values()]
    for one, other in permutations(every, 2):
        record, before = one.columns(house)[1], other.columns(house)[1]
        house.sql(f"UPDATE {other.table} SET sealed = ? WHERE id = ?", record, other.id)
        with pytest.raises(Tampered if one.row.LABEL == other.row.LABEL else CannotOpen):
            other.opened(house)
        house.sql(f"UPDATE {other.table} SET sealed = ? WHERE id = ?", before, other.id)
        assert other.opened(house) == other.secret


@pytest.mark.parametrize("name", KINDS)
def test_a_record_of_another_install_does_not_open_here(house: House, name: str) -> None:
    house.enable()
    stored = add(name)
    file = house.vault.read().file
    assert file is not None
    binding = stored.row.binding(b"\0" * 16)
    foreign = record.seal(file.primary, stored.secret.encode(), binding)
    house.sql(f"UPDATE {stored.table} SET sealed = ? WHERE id = ?", foreign, stored.id)
    with pytest.raises(Tampered):
        stored.opened(house)


def test_an_unattested_record_of_a_password_is_no_record_of_anything_else(house: House) -> None:
    """What a sweep sealed from a value of unknown origin opens as a password alone."""
    house.enable()
    stored = add("a mailbox by reference")
    file, instance = house.vault.read().file, house.vault.read().row.instance_id
    assert file is not None
    planted = record.seal(file.primary, b"other_secret", stored.row.binding(instance, UNATTESTED_LABEL))
    house.sql("UPDATE endpoint SET sealed = ? WHERE id = ?", planted, stored.id)
    with pytest.raises(CannotOpen):
        stored.opened(house)


def test_a_password_that_sql_made_a_reference_opens_as_neither(house: House) -> None:
    """Who writes the database knows a password that he typed: it is no name of a file, and no id of a consent."""
    house.enable()
    stored = add("a password", secret="support")
    house.sql("UPDATE endpoint SET kind = 'reference' WHERE id = ?", stored.id)
    with pytest.raises(Tampered):
        credential.open_for(Endpoint.get_by_id(stored.id), house.vault)


@pytest.mark.parametrize("table", [model._meta.table_name for model in SECRET_ROWS])
def test_a_trigger_on_any_table_of_secrets_stops_opening_and_storing(house: House, table: str) -> None:
    house.enable()
    stored = add_all()
    house.sql(
        f"CREATE TRIGGER planted AFTER UPDATE ON {table} BEGIN UPDATE {table} SET kind = 'x' WHERE id = NEW.id; END"
    )
    for each in stored.values():
        with pytest.raises(CannotOpen, match="schema"):
            each.opened(house)
    with pytest.raises(CannotStore, match="schema"):
        add("an app", "three")


# -- the life of the key -----------------------------------------------------------------------


def test_all_live_through_a_change_of_the_key_and_pruning(house: House) -> None:
    house.enable()
    stored = add_all()
    first = KeyFile.from_bytes(house.key_file.read_bytes()).primary.id
    rotation.rotate(house.vault, ACTOR)
    assert house.vault.latest().moved == 0
    with pytest.raises(PanelError):
        retired_keys.prune(house.vault, ACTOR)  # they are under it
    unfinished.resume(house.vault)
    for each in stored.values():
        assert each.columns(house)[1][2:10] != first
    assert opened(house, stored) == secrets(stored)
    assert retired_keys.prune(house.vault, ACTOR)
    assert (house.state, opened(house, stored)) == (State.ON, secrets(stored))


@pytest.mark.parametrize("name", OTHERS)
def test_a_retired_key_stays_while_one_record_of_any_table_needs_it(house: House, name: str) -> None:
    house.enable()
    stored = add(name)
    old = stored.columns(house)[1]
    house.rotate()
    house.sql(f"UPDATE {stored.table} SET sealed = ? WHERE id = ?", old, stored.id)
    assert house.state is State.ROTATING
    with pytest.raises(Refused, match="retired key"):
        retired_keys.prune(house.vault, ACTOR)
    unfinished.resume(house.vault)
    retired_keys.prune(house.vault, ACTOR)
    assert stored.opened(house) == stored.secret


def test_all_are_counted_and_verified(house: House) -> None:
    house.enable()
    stored = add_all()
    now = house.vault.latest()
    assert (now.total, now.sealed, now.others, now.stored, now.tokens) == (1, 1, 6, 7, 1)
    verdict = verification.run(house.vault)
    assert (verdict.opened, verdict.others, verdict.failures) == (7, 6, ())
    house.sql("UPDATE consent SET subject = 'other'")
    house.sql("UPDATE oauth_app SET client_id = 'other'")
    assert [each.what for each in verification.run(house.vault).failures] == ["app", "consent"]
    now = house.vault.latest()
    assert (now.state, now.unreadable, now.others_unreadable) == (State.INCONSISTENT, 0, 2)
    with pytest.raises(CannotOpen, match="refresh token"):
        stored["a consent"].opened(house)


@pytest.mark.parametrize("name", KINDS)
def test_a_record_alone_makes_the_missing_key_missed(house: House, name: str) -> None:
    """Also where the state row was emptied and no trace is on the disk."""
    house.enable()
    add(name)
    house.key_file.unlink()
    (house.data / "encryption-expected").unlink()
    house.sql("UPDATE encryption SET active_key_id = NULL")
    assert house.state is State.KEY_MISSING
    with pytest.raises(CannotStore):
        house.add("not stored")


def test_what_a_lost_key_took_comes_back_with_it(house: House) -> None:
    house.enable()
    stored = add_all()
    file = lose_the_key(house)
    assert house.state is State.OFF
    kept = {name: each for name, each in stored.items() if name != "a flow"}
    assert not Pending.select().exists()  # nothing of ten minutes is set aside
    for each in kept.values():
        with pytest.raises(PasswordNeeded):
            each.opened(house)
    house.enable()
    retired_keys.add(house.vault, file.to_bytes(), ACTOR)
    assert len(forget.restorable(house.vault)) == len(kept)
    with pytest.raises(Refused, match="set aside"):
        retired_keys.prune(house.vault, ACTOR)
    forget.restore(house.vault, ACTOR)
    unfinished.resume(house.vault)
    assert opened(house, kept) == secrets(kept)
    assert (house.state, ForgottenSecret.select().count()) == (State.ON, 0)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "a flow"])
def test_what_was_set_aside_never_comes_back_over_what_is_newer(house: House, name: str) -> None:
    house.enable()
    stored = add(name)
    file = lose_the_key(house)
    house.enable()
    row = stored.row
    row.secret = Secret("the newer one")
    row.save()
    retired_keys.add(house.vault, file.to_bytes(), ACTOR)
    assert forget.restore(house.vault, ACTOR) == []
    assert stored.opened(house) == "the newer one"


def test_a_forgotten_consent_never_comes_back_beside_a_newer_one(house: House) -> None:
    """Connecting anew may make a row of its own."""
    house.enable()
    stored = add("a consent")
    file = lose_the_key(house)
    house.enable()
    newer = Consent(**{**vars(stored.row.place), "uid": "f" * 32}, created_at=db.now())  # type: ignore[attr-defined]
    newer.secret = Secret("newer token")
    newer.save()
    retired_keys.add(house.vault, file.to_bytes(), ACTOR)
    assert forget.restore(house.vault, ACTOR) == []
    with pytest.raises(PasswordNeeded):
        stored.opened(house)


@pytest.mark.parametrize(("name", "column"), [each for each in each_column() if each.values[0] != "a flow"])
def test_what_was_set_aside_and_edited_does_not_come_back(house: House, name: str, column: str) -> None:
    house.enable()
    stored = add(name)
    file = lose_the_key(house)
    at = [stored.model._meta.fields[field].column_name for field in stored.model.BOUND].index(column)
    house.sql(f"UPDATE forgotten_secret SET bound = json_replace(bound, '$[{at}]', 'edited')")
    house.enable()
    retired_keys.add(house.vault, file.to_bytes(), ACTOR)
    assert forget.restore(house.vault, ACTOR) == []


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE forgotten_secret SET bound = 'no list'", "UPDATE forgotten_secret SET bound = '[1]'",
        "UPDATE forgotten_secret SET bound = x'ff'", "UPDATE forgotten_secret SET table_name = 'account'",
        "UPDATE forgotten_secret SET table_name = 'pending'", "UPDATE forgotten_secret SET bound = '{}'",
        "UPDATE forgotten_secret SET sealed = 'text'", "UPDATE forgotten_secret SET bound = '" + "[" * 5000 + "'",
    ],
)  # fmt: skip
def test_a_record_set_aside_that_sql_made_nonsense_of_breaks_nothing(house: House, edit: str) -> None:
    house.enable()
    add("a consent")
    file = lose_the_key(house)
    house.sql(edit)
    house.enable()
    retired_keys.add(house.vault, file.to_bytes(), ACTOR)
    assert forget.restore(house.vault, ACTOR) == []


def test_a_record_set_aside_that_finds_its_name_taken_stays_where_it_is(house: House) -> None:
    house.enable()
    stored = add("an app")
    file = lose_the_key(house)
    house.enable()
    house.sql("UPDATE oauth_app SET name = 'renamed by SQL'")
    row = type(stored.row)(**{**vars(stored.row.place), "uid": "f" * 32, "name": "App one"}, created_at=1)  # type: ignore[attr-defined]
    row.secret = Secret("another app of that name")
    row.save()
    retired_keys.add(house.vault, file.to_bytes(), ACTOR)
    assert forget.restore(house.vault, ACTOR) == []
    assert ForgottenSecret.select().count() == 1


@pytest.mark.parametrize("name", ["a mailbox by consent", "a mailbox by reference"])
def test_a_planted_value_makes_no_server_authentic_while_encryption_is_off(house: House, name: str) -> None:
    house.enable()
    stored = add(name)
    lose_the_key(house)
    house.sql(UNCHECKED)
    house.sql("UPDATE endpoint SET clear = 'x', host = 'evil.example.org'")
    assert not credential.is_authentic(Endpoint.get_by_id(stored.id), house.vault)


def test_while_encryption_is_turned_off_only_passwords_come_back(house: House) -> None:
    house.enable()
    stored = add_all()
    file = lose_the_key(house)
    house.enable()
    retired_keys.add(house.vault, file.to_bytes(), ACTOR)
    waiting = {each.name for each in forget.restorable(house.vault)}
    assert len(waiting) == len(stored) - 1
    file_now = house.vault.read().file
    assert file_now is not None
    with db.transaction():
        house.sql("UPDATE encryption SET release_id = ?", b"d" * 16)
    house.keystore.replace(file_now, file_now.with_decrypting_flag(b"d" * 16))
    assert house.state is State.DISABLING
    assert [each.name for each in forget.restorable(house.vault)] == [
        owners.address(stored["a password"].row)
    ]


# -- turning off -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_turning_off_is_refused_while_anything_but_passwords_is_stored(house: House, name: str) -> None:
    house.add("kept")
    house.enable()
    stored = add(name)
    before = house.key_file.read_bytes()
    with pytest.raises(only_encrypted.OnlyEncrypted) as caught:
        turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    assert owners.address(stored.row) in caught.value.message
    assert [each.what for each in caught.value.blockers] == [stored.row.words.owner]
    assert house.key_file.read_bytes() == before
    assert (house.state, stored.opened(house)) == (State.ON, stored.secret)
    stored.row.delete_instance()
    house.disable()
    assert house.state is State.OFF


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_saved_just_before_the_flag_is_written_stops_it(
    house: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look is under the lock that the flag is written under: a save is before it, or is refused."""
    house.add("kept")
    house.enable()
    real: Callable[..., Any] = turn_off._choose_decrypt_id
    saved: list[Stored] = []

    def chosen(vault: Any) -> Any:
        result = real(vault)
        saved.append(add(name))
        return result

    monkeypatch.setattr(turn_off, "_choose_decrypt_id", chosen)
    with pytest.raises(only_encrypted.OnlyEncrypted):
        turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    unfinished.resume(house.vault)
    assert (house.state, saved[0].opened(house)) == (State.ON, saved[0].secret)
    assert saved[0].columns(house)[0] is None
    assert not house.sql("SELECT 1 FROM sweep_report WHERE kind = 'disable'")  # nothing was turned off


def test_a_flow_that_is_over_is_deleted_and_one_under_way_is_named(house: House) -> None:
    house.enable()
    add("a flow", "old")
    under_way = add("a flow", "new")
    house.sql("UPDATE pending SET created_at = ? WHERE id <> ?", db.now() - PENDING_SECONDS - 1, under_way.id)
    with pytest.raises(only_encrypted.OnlyEncrypted, match="ten minutes"):
        turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    house.sql("UPDATE pending SET created_at = ? WHERE id = ?", 2**40, under_way.id)  # ahead of any clock
    house.disable()
    assert (house.state, Pending.select().count()) == (State.OFF, 0)


def test_the_worker_deletes_flows_that_are_over(house: House) -> None:
    house.enable()
    add("a flow", "old")
    under_way = add("a flow", "new")
    house.sql("UPDATE pending SET created_at = ? WHERE id <> ?", db.now() - PENDING_SECONDS - 1, under_way.id)
    unfinished.resume(house.vault)
    assert [row.id for row in Pending.select()] == [under_way.id]


def test_a_record_put_back_while_encryption_is_turned_off_is_not_written_in_clear_text(house: House) -> None:
    """As by a restored table: turning off waits for it, and can be cancelled."""
    house.enable()
    password, stored = add("a password"), add("a consent")
    values = house.sql("SELECT * FROM consent")
    house.sql("DELETE FROM consent")
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    house.sql(f"INSERT INTO consent VALUES ({', '.join('?' * len(values[0]))})", *values[0])
    report = unfinished.resume(house.vault)
    assert [each.what for each in report.failures] == ["consent"]
    assert stored.columns(house)[0] is None
    assert house.state is State.DISABLING
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)
    assert (stored.opened(house), password.opened(house)) == (stored.secret, password.secret)
    assert house.state is State.ON


@pytest.mark.reliability
def test_a_consent_that_races_with_turning_off_never_ends_in_clear_text(house: House) -> None:
    house.enable()
    house.add("kept")
    turning = in_process(house, TURN, "12")
    connecting = in_process(house, CONNECT, "60")
    for process in (turning, connecting):
        output, _ = process.communicate(timeout=250)
        assert process.returncode == 0, output
    assert house.sql("SELECT count(*) FROM consent WHERE clear IS NOT NULL") == [(0,)]
    assert not house.files_with("refresh token of a race")


TURN = """
from panel.errors import PanelError
for _ in range(int(sys.argv[2])):
    for step in (lambda: turn_off.turn_off(vault, actor, in_shell=True), lambda: turn_on.turn_on(vault, BOTH, actor)):
        try:
            step(); unfinished.resume(vault)
        except PanelError:
            pass
"""
CONNECT = """
from panel.errors import PanelError
account = Account.get()
for n in range(int(sys.argv[2])):
    row = Consent(uid=f"{n:032x}", app="a" * 32, account=account, signs_in_as="", subject="s", kind="refresh-token", created_at=1)
    row.secret = Secret(f"refresh token of a race {n}")
    try:
        row.save()
    except PanelError:
        continue
    row.delete_instance()
"""


# -- nothing in clear text, anywhere ------------------------------------------------------------


def test_no_secret_stands_in_any_file_before_or_after_any_step(house: House) -> None:
    house.enable()
    stored = add_all("marker")
    names = {"a mailbox by consent", "a mailbox by reference"}  # an id and a name, which are no secrets
    searched = [each.secret[:20] for name, each in stored.items() if name not in names]

    def nowhere() -> bool:
        return not any(house.files_with(text) for text in searched)

    assert nowhere()
    house.rotate()
    assert nowhere()
    with pytest.raises(only_encrypted.OnlyEncrypted):
        house.disable()
    assert nowhere()
    for name in OTHERS:
        stored[name].row.delete_instance()
    house.disable()
    assert house.files_with(stored["a password"].secret)
    house.enable()
    assert scrub.scrub(house.vault)
    assert nowhere()


# -- accounts that go -------------------------------------------------------------------------


def test_a_deleted_mailbox_takes_all_its_secrets_along(house: House) -> None:
    house.enable()
    stored = add_all()
    lose_the_key(house)
    Account.delete().execute()
    left = {each.table for each in stored.values() if each.model.select().exists()}
    assert left == {"oauth_app"}
    assert [each.table_name for each in ForgottenSecret.select()] == ["oauth_app"]


@pytest.mark.parametrize("name", ["a password", "a consent", "a submission password"])
def test_a_row_whose_account_sql_removed_is_named_and_can_be_given_up(house: House, name: str) -> None:
    house.enable()
    stored = add(name)
    house.sql("PRAGMA foreign_keys = OFF")
    house.sql("DELETE FROM account")
    house.sql("PRAGMA foreign_keys = ON")
    assert "(no account" in owners.address(stored.row)
    house.sql(f"UPDATE {stored.table} SET kind = 'x'")
    [failure] = verification.run(house.vault).failures
    assert owners.NO_ACCOUNT in failure.reason
    house.key_file.unlink()
    done = forget.forget(house.vault, ACTOR)
    assert [each.what for each in done.removed] == [stored.model.WORDS.owner]
    assert not stored.model.select().exists()


@pytest.mark.parametrize(
    ("name", "collecting", "sending"),
    [
        ("a password", True, False), ("a mailbox by consent", True, False), ("a consent", True, True),
        ("an app", False, False), ("a submission password", False, False), ("a flow", False, False),
    ],
)  # fmt: skip
def test_a_failure_says_what_it_stops(house: House, name: str, collecting: bool, sending: bool) -> None:
    house.enable()
    stored = add(name)
    house.sql(f"UPDATE {stored.table} SET kind = 'x'")
    [failure] = verification.run(house.vault).failures
    assert (failure.stops_collecting, failure.stops_sending) == (collecting, sending)


# -- a copy of the install ------------------------------------------------------------------------


def test_a_restored_database_opens_with_its_key(house: House, tmp_path: Path) -> None:
    house.enable()
    stored = add_all()
    house.sql("VACUUM INTO ?", str(tmp_path / "copy.db"))
    house.rotate()
    for each in stored.values():
        each.row.delete_instance()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        copy.backup(db.database.connection())
    unfinished.start(house.vault)
    unfinished.resume(house.vault)
    assert (house.state, opened(house, stored)) == (State.ON, secrets(stored))


def test_activity_never_names_a_secret(house: House) -> None:
    house.enable()
    stored = add_all("marker")
    house.rotate()
    lose_the_key(house)
    said = "\n".join(f"{each.what} {each.subject} {each.detail}" for each in Activity.select())
    assert not [each for each in stored.values() if each.secret in said]
