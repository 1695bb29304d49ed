"""Promises to whoever enters a password: it is stored for the server that was shown, of the mailbox that was named."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import pytest

from panel import db
from panel.accounts import service
from panel.audit import Actor
from panel.errors import PasswordNeeded, Tampered
from panel.models import Endpoint
from panel.secret import Secret
from panel.vault import credential, verification
from panel.vault.state import State
from tests import running
from tests.encryption.conftest import House, house  # noqa: F401
from tests.terminal import Terminal


def swap(house: House, table: str, column: str, *, key: str = "id") -> None:
    """Exchange one column of the two mailboxes, as an attacker who writes the database does."""
    (one, a), (two, b) = house.sql(f"SELECT {key}, {column} FROM {table} ORDER BY {key}")
    house.sql("PRAGMA foreign_keys = 0")
    for value, where in (("-", one), (a, two), (b, one)):  # a unique column allows no direct exchange
        house.sql(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", value, where)
    house.sql("PRAGMA foreign_keys = 1")


SWAPS: dict[str, Callable[[House], object]] = {
    "the addresses of the accounts": lambda house: swap(house, "account", "address", key="uuid"),
    "the accounts of the servers": lambda house: swap(house, "endpoint", "account_id"),
    "the addresses of the servers": lambda house: swap(house, "endpoint", "address"),
    "both addresses": lambda house: (
        swap(house, "account", "address", key="uuid"), swap(house, "endpoint", "address"),
    ),
    "the uuids": lambda house: swap(house, "account", "uuid", key="address"),
    "another kind": lambda house: house.sql("UPDATE endpoint SET kind = 'consent'"),
    "one address by another": lambda house: house.sql("UPDATE account SET address = address || '.example'"),
}  # fmt: skip


@pytest.fixture
def two(house: House) -> House:
    house.add("of zero", host="imap.zero.example", username="zero")
    house.add("of one", host="imap.one.example", username="one")
    house.enable()
    return house


@pytest.mark.parametrize("change", SWAPS.values(), ids=SWAPS)
def test_what_was_swapped_opens_for_nobody_and_takes_no_password(
    two: House, change: Callable[[House], object]
) -> None:
    change(two)
    for row in Endpoint.select():
        with pytest.raises(Tampered):
            credential.open_for(row, two.vault)
        assert not credential.is_authentic(row, two.vault)
        if row.account_address is None:
            continue
        with pytest.raises(PasswordNeeded, match="may have been changed"):
            service.set_password(two.vault, row.account_id, Secret("NEWLY TYPED"), service.Seen(), Actor())
    assert not two.times_stored("NEWLY TYPED")
    verdict = verification.run_and_note(two.vault)
    assert len(verdict.failures) == 2
    assert two.state is State.INCONSISTENT


def test_a_clear_value_of_an_account_with_another_address_is_sealed_all_the_same(house: House) -> None:
    house.add("of zero", host="imap.zero.example")
    SWAPS["one address by another"](house)
    house.enable()
    assert not house.times_stored("of zero")
    assert not credential.is_authentic(Endpoint.get(), house.vault)


def test_a_sweep_neither_moves_nor_vouches_for_what_was_swapped(two: House) -> None:
    SWAPS["the addresses of the accounts"](two)
    before = two.sql("SELECT sealed FROM endpoint")
    with suppress(Exception):
        two.rotate()
    assert two.sql("SELECT sealed FROM endpoint") == before


def test_with_encryption_off_too_swapped_addresses_take_no_password(house: House) -> None:
    house.add("of zero", host="imap.zero.example")
    house.add("of one", host="imap.one.example")
    swap(house, "account", "address", key="uuid")
    for row in Endpoint.select():
        with pytest.raises(PasswordNeeded):
            service.set_password(house.vault, row.account_id, Secret("NEWLY TYPED"), service.Seen(), Actor())
    assert not house.times_stored("NEWLY TYPED")


# -- in the shell ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "status"),
    [
        ("--expect-host", "imap.example.org", 0),
        ("--expect-host", "IMAP.example.org.", 0),
        ("--expect-host", "imap.other.example", 3),
        ("--expect-host", "", 2),
        ("--expect-username", "0@example.org", 0),
        ("--expect-username", "0@Example.org", 3),
        ("--expect-username", "", 2),
    ],
)
def test_unattended_the_server_that_is_expected_can_be_named(
    house: House, option: str, value: str, status: int
) -> None:
    endpoint = house.add("first")
    environ = running.environ_for(house.data.parent)
    done = running.flask(environ, "accounts", "set-password", "0@example.org", "--password-file", "-", option, value, stdin="second")  # fmt: skip
    assert done.returncode == status, done.stderr
    assert house.opened(endpoint) == ("second" if status == 0 else "first")


def test_on_a_terminal_the_server_is_shown_before_the_password_is_asked_for(house: House) -> None:
    endpoint = house.add("first")
    environ = running.environ_for(house.data.parent)
    command = [".venv/bin/python", "-m", "flask", "accounts", "set-password", "0@example.org"]
    with Terminal(command, os.environ | environ) as shown:
        shown.wait_for("imap imap.example.org:993 tls as 0@example.org")
        for question in ("Password of 0@example.org:", "Again:"):
            shown.wait_for(question)
            shown.enter("typed on a terminal")
        assert shown.end() == 0
        assert "typed on a terminal" not in shown.text
    with db.database.connection_context():
        assert house.opened(endpoint) == "typed on a terminal"


def test_an_account_whose_id_is_another_one_s_address_is_not_taken_for_it(two: House) -> None:
    two.sql("PRAGMA foreign_keys = 0")
    two.sql("UPDATE account SET uuid = '0@example.org' WHERE address = '1@example.org'")
    two.sql("UPDATE endpoint SET account_id = '0@example.org' WHERE address = '1@example.org'")
    two.sql("PRAGMA foreign_keys = 1")
    assert service.find("0@example.org")[1].host == "imap.zero.example"
    assert service.find_account("0@example.org").address == "0@example.org"
