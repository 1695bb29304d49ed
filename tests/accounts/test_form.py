"""Promises of the account form: what is wrong is said where it is, and what was typed stays."""

from __future__ import annotations

import re
from typing import Any

import pytest
from werkzeug.test import TestResponse

from panel import db
from panel.accounts import removal, service
from panel.audit import Actor
from panel.models import Account, Activity, Session
from panel.vault import verification
from tests.accounts.conftest import form, stored
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser

NEW = "/accounts/new"


def shown(**over: str) -> dict[str, str]:
    """What the account's own form sends back with nothing but `over` typed into it."""
    row = stored()
    values = {
        "account": row.account.uuid, "rev": str(row.rev), "host": row.host, "port": str(row.port), "password": "",
        "security": row.security, "username": row.username, "folder": row.account.folder,
    }  # fmt: skip
    return form(**values | over)


def url() -> str:
    return f"/accounts/{stored().account.uuid}"


def edit_url() -> str:
    return f"{url()}/edit"


def value_of(name: str, response: TestResponse) -> str | None:
    """The value that the form of a page begins with."""
    found = re.search(rf'<input[^>]*\bname="{name}"[^>]*>', response.text)
    assert found, f"no field {name}"
    value = re.search(r'value="([^"]*)"', found[0])
    return value[1] if value else None


def add(admin: Browser, **over: str) -> None:
    assert admin.post(NEW, **form(**over)).status_code == 303


def raw(admin: Browser, path: str, fields: dict[str, str], encoded_password: bytes) -> TestResponse:
    """Send a password that no browser could type, byte for byte."""
    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get(NEW).text)
    assert token
    body = (
        "&".join(f"{k}={v}" for k, v in fields.items() if k != "password")
        + f"&csrf_token={token[1]}&password="
    )
    kind = "application/x-www-form-urlencoded"
    return admin.client.post(path, data=body.encode() + encoded_password, content_type=kind)


@pytest.mark.parametrize("half", [b"ab%ED%A0%BD", b"ab%FF", b"ab\xff", b"%C3%28"])
def test_a_password_without_utf_8_form_is_refused_and_never_stored_as_another(
    admin: Browser, half: bytes
) -> None:
    response = raw(admin, NEW, form(), half)
    assert response.status_code in (400, 422)
    assert "UTF-8" in response.text
    with db.database.connection_context():
        assert not Account.select().exists()


def test_a_percent_sign_in_a_password_is_no_escape(admin: Browser, house: House) -> None:
    assert raw(admin, NEW, form(), b"%25FF%25ED%2B+%26").status_code == 303
    with db.database.connection_context():
        assert house.opened(stored()) == "%FF%ED+ &"


def test_what_was_typed_stays_when_the_form_is_refused(admin: Browser) -> None:
    response = admin.post(
        NEW, **form(host="imap.example.org:993", folder="Tickets", username=" u ", begin="all")
    )
    kept = {
        name: value_of(name, response)
        for name in ("address", "host", "port", "username", "folder", "interval")
    }
    assert kept == {
        "address": "support@example.org", "host": "imap.example.org:993", "port": "993", "username": " u ",
        "folder": "Tickets", "interval": "60",
    }  # fmt: skip
    assert re.search(r'<input[^>]*checked[^>]*value="all"', response.text)
    assert value_of("password", response) in (None, "")


@pytest.mark.parametrize("number", ["", "abc", "1e3", "9" * 4000, "\u00b2"])
@pytest.mark.parametrize("name", ["port", "interval", "rev"])
def test_what_is_no_number_is_422_in_every_number_field(admin: Browser, name: str, number: str) -> None:
    add(admin)
    if name in ("rev", "port") and not number:
        return  # an empty port is the usual one
    response = admin.post(edit_url(), **shown(**{name: number}))
    assert response.status_code == (409 if name == "rev" and number.isdecimal() and number.isascii() else 422)
    assert "There is a problem" in response.text
    assert stored().account.interval == 60


def test_a_changed_server_without_its_password_is_said_at_the_password_field(admin: Browser) -> None:
    add(admin)
    response = admin.post(edit_url(), **shown(host="other.example.org", folder="Other"))
    assert response.status_code == 422
    assert 'id="password-error"' in response.text
    assert 'href="#password"' in response.text
    assert (value_of("host", response), value_of("folder", response)) == ("other.example.org", "Other")
    assert stored().account.folder == "INBOX", "nothing of it was saved, the folder neither"


def test_folder_and_interval_change_without_the_password(admin: Browser, house: House) -> None:
    add(admin)
    assert admin.post(edit_url(), **shown(folder="Tickets", interval="300")).status_code == 303
    account = stored().account
    assert (account.folder, account.interval) == ("Tickets", 300)
    with db.database.connection_context():
        assert house.opened(stored()) == "hunter2hunter2"


@pytest.mark.parametrize("typed", ["new@example.org", "Support@example.org", "support@example.org.", ""])
def test_the_address_of_a_mailbox_does_not_change(admin: Browser, house: House, typed: str) -> None:
    add(admin)
    response = admin.post(edit_url(), **shown(address=typed, password="new", folder="Tickets"))
    assert response.status_code == 422
    assert stored().account.folder == "INBOX"
    with db.database.connection_context():
        assert house.opened(stored()) == "hunter2hunter2"


@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_a_form_shown_before_sql_changed_the_server_stores_nothing(
    admin: Browser, house: House, on: bool
) -> None:
    add(admin)
    if on:
        with db.database.connection_context():
            house.enable()
    seen = value_of("seen", admin.get(edit_url()))
    with db.database.connection_context():
        house.sql("UPDATE endpoint SET host = 'evil.example.org'")
    fields = shown(seen=seen or "", host="imap.example.org", password="TYPED-FOR-WHAT-WAS-SHOWN")
    assert admin.post(edit_url(), **fields).status_code == 409
    with db.database.connection_context():
        assert not house.times_stored("TYPED-FOR-WHAT-WAS-SHOWN")
        assert stored().host == "evil.example.org"


def test_activity_names_what_changed_and_no_value(admin: Browser) -> None:
    add(admin)
    admin.post(edit_url(), **shown(host="other.example.org", password="MARKER"))
    with db.database.connection_context():
        last = Activity.select().order_by(Activity.id.desc()).get()
    assert (last.who, last.what, last.subject) == (
        "ada@example.org",
        "mailbox changed",
        "support@example.org",
    )
    assert last.detail == "New: host, password."


def test_a_stale_form_keeps_what_was_typed_and_leads_to_the_account_as_it_is(admin: Browser) -> None:
    add(admin)
    stale = shown(folder="Mine", password="mine")
    admin.post(edit_url(), **shown(password="theirs"))
    response = admin.post(edit_url(), **stale)
    assert response.status_code == 409
    assert value_of("folder", response) == "Mine"
    assert "Show the current settings" in response.text
    assert stored().account.folder == "INBOX"


def test_an_account_that_is_gone_is_404_for_every_step(admin: Browser) -> None:
    add(admin)
    page, fields = url(), shown()
    admin.post(f"{page}/remove")
    for path in (page, f"{page}/edit", f"{page}/remove"):
        assert admin.get(path).status_code == 404, path
    assert admin.post("/accounts/test", on=NEW, **fields).status_code == 404
    for end in ("edit", "pause", "resume", "remove", "collect", "older", "retry", "test"):
        path = f"{page}/{end}"
        assert admin.post(path, on=NEW, **fields).status_code == 404, path


def test_html_in_every_value_is_text_on_every_page(admin: Browser) -> None:
    evil = '"><img/src=x>@example.org'
    add(admin, address=evil, username="<b>'&user", folder="</title><script>")
    page_ = f"/accounts/{stored(evil).account.uuid}"
    paths = ("/accounts", page_, f"{page_}/edit", f"{page_}/remove")
    pages = [admin.get(path).text for path in paths]
    pages.append(admin.post(NEW, **form(host='"><img src=x>')).text)
    for page in pages:
        assert "<img src=x" not in page and "<img/" not in page
        assert "<b>" not in page
        assert "<script>" not in page
    assert "&gt;&lt;img/src=x&gt;@example.org" in pages[0]


def test_none_is_taken_for_this_machine_only(admin: Browser) -> None:
    for number, host in enumerate(("localhost", "127.0.0.1", "[::1]")):
        add(admin, address=f"{number}@example.org", host=host, security="none", port="143")
        assert stored(f"{number}@example.org").security == "none"


def test_without_the_key_nothing_is_stored_and_the_form_keeps_what_was_typed(
    admin: Browser, house: House
) -> None:
    add(admin)
    with db.database.connection_context():
        house.enable()
    house.key_file.rename(house.data / "away.bin")
    response = admin.post(NEW, **form(address="other@example.org"))
    assert response.status_code == 503
    assert value_of("address", response) == "other@example.org"
    with db.database.connection_context():
        assert Account.select().count() == 1
    assert "Key missing" in admin.get("/accounts").text


def test_a_record_found_changed_shows_the_stored_server_only_as_found(admin: Browser, house: House) -> None:
    add(admin)
    with db.database.connection_context():
        house.enable()
        house.sql("UPDATE endpoint SET host = 'evil.example.org', username = 'mallory', port = 143")
        verification.run_and_note(house.vault)
    page = admin.get(edit_url())
    assert "The database holds this server, which may have been changed" in re.sub(r"\s+", " ", page.text)
    assert [value_of(name, page) or "" for name in ("host", "port", "username")] == ["", "", ""]
    assert not re.search(r"<option[^>]*selected", page.text)


def test_the_remove_button_asks_for_the_own_password_after_five_minutes(admin: Browser) -> None:
    add(admin)
    with db.database.connection_context():
        Session.update(confirmed_at=db.now() - 301).execute()
    assert admin.post(f"{url()}/remove").location.startswith("/confirm")
    assert stored().account.address == "support@example.org"


def test_an_address_names_its_account_as_well_as_the_uuid_does(admin: Browser) -> None:
    add(admin)
    page = "/accounts/support@example.org"
    assert value_of("account", admin.get(f"{page}/edit")) == stored().account.uuid
    admin.post(f"{page}/pause", on="/accounts")
    assert stored().account.paused_at is not None
    admin.post(f"{page}/resume", on="/accounts")
    assert stored().account.paused_at is None
    assert admin.post(f"{page}/edit", **shown(folder="Tickets")).status_code == 303
    assert stored().account.folder == "Tickets"


def test_an_account_that_goes_while_its_form_is_sent_is_404(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(admin)
    path, fields = edit_url(), shown(folder="Tickets")
    real = service.edit

    def late(*arguments: Any) -> None:
        removal.remove(arguments[1], Actor())
        real(*arguments)

    monkeypatch.setattr(service, "edit", late)
    response = admin.post(path, **fields)
    assert response.status_code == 404
    assert "It may have been removed" in response.text
