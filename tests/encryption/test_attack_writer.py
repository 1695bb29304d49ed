"""Attacks by somebody who can write the database and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from panel.audit import Actor
from panel.crypto.keyfile import KeyFile
from panel.encryption.advice import advise
from panel.errors import PanelError
from panel.models import Endpoint
from panel.vault import credential, forget, retired_keys, turn_on, unfinished, verification
from panel.vault.state import State
from tests.encryption.conftest import House
from tests.installs import BOTH

ACTOR = Actor("admin@example.org", "192.0.2.1")


def write(house: House, statement: str, *values: object) -> None:
    """As `sqlite3 panel.db` does it: foreign keys are not enforced there."""
    connection = sqlite3.connect(house.data / "panel.db")
    connection.execute(statement, values)
    connection.commit()
    connection.close()


ORPHAN = (
    "INSERT INTO endpoint (id, account_id, direction, protocol, host, port, security, username, auth_method,"
    " token_url, address, kind, sealed, rev) VALUES (99, 'nobody', 'in', 'imap', 'h', 993, 'tls', 'u', 'plain', '',"
    " 'a', 'password', zeroblob(40), 1)"
)


def test_a_row_without_an_account_keeps_no_password_in_clear(house: House) -> None:
    house.add("secret")
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    write(house, ORPHAN)
    unfinished.resume(house.vault)
    assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("number", [0, -1, -(2**63)])
def test_a_row_numbered_below_one_is_encrypted_too(house: House, number: int) -> None:
    house.add("secret")
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    write(house, "UPDATE endpoint SET id = ?", number)
    unfinished.resume(house.vault)
    assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL") == [(0,)]


def test_a_record_too_short_to_name_a_key_is_named_by_its_account(house: House) -> None:
    house.add("secret")
    house.enable()
    write(house, "UPDATE endpoint SET sealed = x'01'")
    now = house.vault.latest()
    assert now.state is State.INCONSISTENT
    assert [failure.address for failure in now.failures] == ["0@example.org"]


def test_an_endless_planted_value_keeps_no_other_password_in_clear(house: House) -> None:
    house.add("planted")
    house.add("secret")
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    write(house, "UPDATE endpoint SET clear = ? WHERE id = 1", "x" * 20_000)
    unfinished.resume(house.vault)
    assert house.sql("SELECT clear FROM endpoint WHERE id = 2") == [(None,)]


COLUMNS = [
    ("encryption", name)
    for name in ("key_created_at", "enabled_at", "verified_at", "backup_proved_at", "trouble_since")
] + [("endpoint", name) for name in ("secret_set_at", "failed_rev", "failed_generation")]


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=lambda each: str(each))
def test_no_nonsense_in_a_column_keeps_passwords_in_clear(house: House, table: str, column: str) -> None:
    house.add("secret")
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    write(house, f"UPDATE {table} SET {column} = 'nonsense'")
    unfinished.resume(house.vault)
    assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL") == [(0,)]
    assert house.vault.latest().state is State.ON


@pytest.mark.parametrize("trouble", ["missing", "closed", "another time's flag"])
def test_while_the_key_is_in_trouble_nothing_vouches_for_a_planted_server(house: House, trouble: str) -> None:
    endpoint = house.add("secret")
    house.enable()
    if trouble == "missing":
        house.key_file.rename(house.data / "away")
    elif trouble == "closed":
        house.key_file.chmod(0o644)
    else:
        file = KeyFile.from_bytes(house.key_file.read_bytes())
        house.key_file.write_bytes(file.with_decrypting_flag(b"r" * 16).to_bytes())
    write(house, "UPDATE endpoint SET sealed = NULL, clear = 'x', host = 'evil.example.org'")
    assert house.state.no_key
    assert not credential.is_authentic(Endpoint.get_by_id(endpoint.id), house.vault)


EDITS = {
    "the key in use": ("UPDATE encryption SET active_key_id = ?", b"x" * 8),
    "the instance id": ("UPDATE encryption SET instance_id = ?", b"x" * 16),
    "no row": ("DELETE FROM encryption WHERE id = ?", 1),
    "two rows": ("INSERT INTO encryption (id, instance_id) VALUES (2, ?)", b"x" * 16),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_row_is_named_as_what_is_wrong_and_is_not_believed(
    house: House, edit: tuple[str, object]
) -> None:
    endpoint = house.add("secret")
    house.enable()
    before = house.key_file.read_bytes(), house.row(endpoint)
    write(house, *edit)
    now = house.vault.latest()
    assert now.state is State.KEY_WRONG
    assert now.database_wrong
    assert "restore the database" in now.remedy
    assert "Put the right key file back" not in now.remedy
    for step in (lambda: house.opened(endpoint), house.add):
        with pytest.raises(PanelError) as refused:
            step()
        assert "restore the database" in refused.value.remedy
    unfinished.settle(house.vault)
    with suppress(PanelError):
        unfinished.resume(house.vault)
    assert (house.key_file.read_bytes(), house.row(endpoint)) == before


def older(house: House) -> None:
    copy = house.key_file.read_bytes()
    house.rotate()
    house.key_file.write_bytes(copy)


def foreign(house: House) -> None:
    house.key_file.write_bytes(KeyFile.generate(b"x" * 16).to_bytes())


def no_witness(house: House) -> None:
    (house.data / "encryption-expected").write_text("nothing")
    write(house, "UPDATE encryption SET active_key_id = ?", b"x" * 8)


@pytest.mark.parametrize("swap", [older, foreign, no_witness])
def test_unless_the_witness_vouches_for_the_key_file_it_is_the_file_that_is_to_be_put_back(
    house: House, swap: Callable[[House], None]
) -> None:
    house.add("secret")
    house.enable()
    swap(house)
    now = house.vault.latest()
    assert now.state is State.KEY_WRONG
    assert not now.database_wrong
    assert now.remedy.startswith("Put the right key file back")


def test_a_real_older_database_is_told_how_its_key_comes_in(house: House) -> None:
    house.add("secret")
    house.enable()
    (row,) = house.sql("SELECT active_key_id FROM encryption")
    house.rotate()
    retired_keys.prune(house.vault, ACTOR)
    write(house, "UPDATE encryption SET active_key_id = ?", *row)
    assert "flask encryption key add FILE" in advise(house.vault.latest(), house.vault).remedy


EVERY: list[tuple[str, str, Any]] = [
    ("encryption", column, value)
    for column in ("instance_id", "active_key_id", "release_id", "scrub_owed")
    for value in (None, b"", b"\x00" * 16, "text", 7, b"\xff" * 100)
    if not (column == "instance_id" and value is None)
]


@pytest.mark.parametrize(("table", "column", "value"), EVERY)
def test_no_value_in_the_state_row_has_a_password_stored_in_clear_or_the_key_file_changed(
    house: House, table: str, column: str, value: Any
) -> None:
    house.add("secret")
    house.enable()
    before = house.key_file.read_bytes()
    write(house, f"UPDATE {table} SET {column} = ?", value)
    for step in (
        lambda: unfinished.start(house.vault),
        lambda: unfinished.resume(house.vault),
        lambda: house.add("another"),
        lambda: turn_on.turn_on(house.vault, BOTH, ACTOR),
    ):
        with suppress(PanelError):
            step()
    assert house.key_file.read_bytes() == before
    assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL") == [(0,)]


ODD = ["'text'", "12345678901234", "-1", "1.5", "9e999", "''", "x''"]


@pytest.mark.parametrize("value", ODD)
def test_no_odd_value_in_place_of_a_record_breaks_a_page_or_a_command(house: House, value: str) -> None:
    house.add("odd")
    kept = house.add("kept")
    house.enable()
    write(house, f"UPDATE endpoint SET sealed = {value} WHERE id = 1")
    now = house.vault.latest()
    assert (now.state, [f.address for f in now.failures]) == (State.INCONSISTENT, ["0@example.org"])
    assert len(verification.run_and_note(house.vault).failures) == 1
    assert house.opened(kept) == "kept"


@pytest.mark.parametrize("value", ODD)
def test_no_odd_value_among_the_records_set_aside_keeps_the_others_from_coming_back(
    house: House, value: str
) -> None:
    house.add("odd")
    kept = house.add("kept")
    house.enable()
    copy = house.key_file.read_bytes()
    house.key_file.unlink()
    forget.forget(house.vault, ACTOR)
    write(house, f"UPDATE forgotten_secret SET sealed = {value} WHERE id = 1")
    house.enable()
    retired_keys.add(house.vault, copy, ACTOR)
    assert forget.restore(house.vault, ACTOR) == ["1@example.org"]
    unfinished.resume(house.vault)
    retired_keys.prune(house.vault, ACTOR)
    assert house.opened(kept) == "kept"


def test_a_record_of_no_account_that_does_not_open_is_named_with_its_mend(house: House) -> None:
    house.add("kept")
    house.enable()
    house.orphan(98, "in", b"\x01\x01" + bytes(80))
    house.orphan(99, "out", house.row(Endpoint.get_by_id(1))[1])
    for failures in (verification.run_and_note(house.vault).failures, house.vault.latest().failures):
        assert [(f.account, f.address) for f in failures] == [("", "(no account nobody)")] * 2
        assert all("It belongs to no account" in f.reason and "'Inconsistent'" in f.reason for f in failures)
    assert house.state is State.INCONSISTENT
    write(house, "DELETE FROM endpoint WHERE account_id NOT IN (SELECT uuid FROM account)")
    assert house.state is State.ON
