"""Whoever writes to the database gets no password that is typed afterwards: a forged server is never filled in."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from panel import db
from panel.accounts import service
from panel.accounts.rules import Mailbox
from panel.audit import Actor
from panel.errors import PasswordNeeded
from panel.mail.server import MailServer
from panel.models import Activity
from panel.secret import Secret
from panel.vault import unfinished, verification
from panel.vault.state import State
from tests.accounts.conftest import form, stored
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser

NEW = "/accounts/new"
FORGE = "UPDATE endpoint SET host = 'evil.example.org', username = 'mallory'"

FORGERIES: dict[str, Callable[[House], object]] = {
    "that nothing has opened since": lambda house: house.sql(FORGE),
    "of a paused account": lambda house: (house.sql(FORGE), house.sql("UPDATE account SET paused_at = 1")),
    "whose finding was wiped": lambda house: (
        house.sql(FORGE), verification.run_and_note(house.vault),
        house.sql("UPDATE endpoint SET failed_rev = NULL, failed_generation = NULL, failure = NULL"),
    ),
    "with a clear value planted and swept": lambda house: (
        house.sql(FORGE + ", clear = 'x', sealed = NULL"), unfinished.resume(house.vault),
    ),
    "with a clear value planted as if encryption were being turned on": lambda house: (
        house.sql(FORGE + ", clear = 'x', sealed = NULL"),
        house.sql("UPDATE encryption SET scrub_owed = x'00', active_key_id = NULL"), unfinished.resume(house.vault),
    ),
    "under another instance id": lambda house: (
        house.sql(FORGE), house.sql("UPDATE encryption SET instance_id = x'00112233445566778899aabbccddeeff'"),
    ),
}  # fmt: skip


@pytest.fixture
def forged(admin: Browser, house: House, request: pytest.FixtureRequest) -> str:
    """The page of a mailbox whose server was replaced by SQL."""
    admin.post(NEW, **form())
    uuid = str(stored().account.uuid)
    with db.database.connection_context():
        house.enable()
        FORGERIES[request.param](house)
    return f"/accounts/{uuid}/edit"


@pytest.mark.parametrize("forged", FORGERIES, indirect=True)
def test_the_form_fills_in_no_forged_server(admin: Browser, forged: str) -> None:
    page = admin.get(forged).text
    assert "Enter the server and its password again" in page
    assert "keep the stored password" not in page and 'placeholder="993"' in page
    values = dict(re.findall(r'<input[^>]*name="(host|username|port)"[^>]*value="([^"]*)"', page))
    assert set(values.values()) <= {""}
    assert "evil.example.org" in page  # shown as found, that is all


@pytest.mark.parametrize("forged", FORGERIES, indirect=True)
def test_a_password_alone_is_stored_for_no_forged_server(forged: str, app: Flask, house: House) -> None:
    uuid = forged.split("/")[2]
    with db.database.connection_context(), pytest.raises(PasswordNeeded, match="may have been changed"):
        service.set_password(house.vault, uuid, Secret("THE-NEW-PASSWORD"), service.Seen(), Actor())


@pytest.mark.parametrize("forged", ["that nothing has opened since"], indirect=True)
def test_with_the_whole_server_typed_it_is_good_again(admin: Browser, house: House, forged: str) -> None:
    with db.database.connection_context():
        account, _ = service.find(forged.split("/")[2])
        where = MailServer("imap", "imap.example.org", 993, "tls", "me")
        box = Mailbox(account.address)
        service.edit(house.vault, account.uuid, box, where, Secret("new"), service.Seen(), Actor())
        assert house.vault.latest().state is State.ON
        assert house.opened(stored()) == "new"
    assert "Enter the server and its password again" not in admin.get(forged).text


def test_a_planted_value_is_sealed_and_named_once(admin: Browser, house: House) -> None:
    admin.post(NEW, **form())
    with db.database.connection_context():
        house.enable()
        house.sql("UPDATE endpoint SET clear = char(97, 0, 98), sealed = NULL")
        for _ in range(5):
            unfinished.resume(house.vault)
        assert Activity.select().where(Activity.what == "unattested password found").count() == 1
        assert [failure.address for failure in house.vault.latest().failures] == ["support@example.org"]
        assert house.vault.read().row.scrub_pending is None  # old copies of the others do not wait for it


def test_an_account_of_the_time_before_encryption_is_filled_in_as_ever(admin: Browser, house: House) -> None:
    admin.post(NEW, **form())
    uuid = stored().account.uuid
    assert 'value="imap.example.org"' in admin.get(f"/accounts/{uuid}/edit").text
    with db.database.connection_context():
        house.enable()
    assert 'value="imap.example.org"' in admin.get(f"/accounts/{uuid}/edit").text
    with db.database.connection_context():
        house.disable()
    assert 'value="imap.example.org"' in admin.get(f"/accounts/{uuid}/edit").text
    with db.database.connection_context():
        house.enable()
    assert 'value="imap.example.org"' in admin.get(f"/accounts/{uuid}/edit").text
