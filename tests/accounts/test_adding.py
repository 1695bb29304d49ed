"""Promises of a new mailbox: what is saved works, or the person has read why it does not and saves it anyway."""

from __future__ import annotations

import re
import time
from html import unescape

import pytest
from werkzeug.test import TestResponse

from panel import audit, db
from panel.accounts import probe
from panel.accounts.forms import settings_digest
from panel.config import Settings
from panel.mail import autoconfig
from panel.models import Account, Activity, Endpoint
from tests.accounts.conftest import form, stored
from tests.encryption.conftest import House
from tests.running import shapes_of
from tests.servers.dovecot import DovecotServer
from tests.servers.hostile import ScriptedServer
from tests.sign_in.browser import Browser

NEW = "/accounts/new"
HTMX = {"HX-Request": "true"}


def typed(dovecot: DovecotServer, user: str, **over: str) -> dict[str, str]:
    """What a person fills in for a mailbox of the test's Dovecot, and nothing saved anyway."""
    dovecot.add_user(user, " right ")
    values = form(
        address=user, host="localhost", port=str(dovecot.tls_port), **{"password": " right ", **over}
    )
    return {name: value for name, value in values.items() if name != "force"}


def saved() -> int:
    with db.database.connection_context():
        return Account.select().count()


def offered(page: str) -> str:
    """The value of the button “Save anyway”."""
    found = re.search(r'<button[^>]*name="force"\s+value="(\w+)"', page)
    assert found, "nothing is offered to be saved"
    return found[1]


def by_htmx(admin: Browser, path: str, **fields: str) -> TestResponse:
    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get(NEW).text)
    assert token
    return admin.client.post(path, data=fields | {"csrf_token": token[1]}, headers=HTMX)


def test_what_works_is_saved_and_older_mail_is_counted_at_once(
    admin: Browser, dovecot: DovecotServer
) -> None:
    values = typed(dovecot, "works@example.org")
    dovecot.deliver("works@example.org", b"Subject: one\r\n\r\n")
    dovecot.deliver("works@example.org", b"Subject: two\r\n\r\n")
    answer = admin.post(NEW, **values)
    assert answer.status_code == 303
    page = admin.get(answer.location).text
    assert "works@example.org was added, and 2 older messages stay on its server." in page
    assert stored("works@example.org").port == dovecot.tls_port


def test_what_fails_is_not_saved_and_says_at_which_step_and_what_to_do(
    admin: Browser, dovecot: DovecotServer
) -> None:
    values = typed(dovecot, "fails@example.org", password="MARKER-wrong")
    answer = admin.post(NEW, **values)
    assert (answer.status_code, saved()) == (422, 0)
    assert re.search(r'<li class="bad">.*?<strong>\s*Sign in', answer.text, re.DOTALL)
    assert "refused the username or password" in answer.text and "Enter the new password" in answer.text
    assert "MARKER" not in answer.text
    assert f'value="{dovecot.tls_port}"' in answer.text, "the form is filled in as it was"


def test_save_anyway_saves_that_very_submission_untested(admin: Browser, dovecot: DovecotServer) -> None:
    values = typed(dovecot, "anyway@example.org", password="wrong")
    force = offered(admin.post(NEW, **values).text)
    answer = admin.post(NEW, **values, force=force)
    assert answer.status_code == 303
    assert "anyway@example.org was added, not tested." in admin.get(answer.location).text
    with db.database.connection_context():
        assert [e.what for e in Activity.select() if "test" in e.what] == [
            "connection tested",
            "connection test failed",
        ]


@pytest.mark.parametrize(
    "over",
    [{"host": "127.0.0.1"}, {"address": "other@example.org"}, {"username": "somebody"}, {"folder": "Other"},
     {"security": "starttls"}, {"sends": "y", "sending-host": "localhost", "same_password": "y"}],
    ids=lambda over: next(iter(over)),
)  # fmt: skip
def test_save_anyway_counts_for_no_other_settings(
    admin: Browser, dovecot: DovecotServer, over: dict[str, str]
) -> None:
    values = typed(dovecot, "other@example.com", password="wrong")
    force = offered(admin.post(NEW, **values).text)
    again = admin.post(NEW, **values | over, force=force)
    assert (again.status_code, saved()) == (422, 0)


def test_the_offer_holds_nothing_of_the_password() -> None:
    assert settings_digest(form(password="one")) == settings_digest(form(password="two"))


def test_invented_offers_save_nothing(admin: Browser, dovecot: DovecotServer) -> None:
    values = typed(dovecot, "forced@example.org", password="wrong")
    for force in ("", "y", "0" * 32, "x" * 1024, "<b>"):
        assert admin.post(NEW, **values, force=force).status_code == 422
    assert saved() == 0


def test_htmx_shows_each_step_saves_and_leads_to_the_page_of_the_mailbox(
    admin: Browser, dovecot: DovecotServer
) -> None:
    answer = by_htmx(admin, NEW, **typed(dovecot, "events@example.org", password="MARKER of the save"))
    assert answer.mimetype == "text/event-stream"
    assert "Test failed" in answer.text and offered(answer.text) and saved() == 0
    answer = by_htmx(admin, NEW, **typed(dovecot, "events@example.org"))
    events = [event for event in answer.text.split("\n\n") if event]
    assert len(events) == 7
    assert "data-go" in events[-1] and "data-go" not in events[-2]
    path = unescape(re.findall(r'href="([^"]+)"[^>]*data-go', events[-1])[0])
    assert path.startswith(f"/accounts/{stored('events@example.org').account.uuid}?collecting=")
    assert admin.get(path).status_code == 200
    assert not [shape for shape in shapes_of("MARKER of the save") if shape in answer.data]


def test_htmx_lists_what_is_wrong_beside_the_form_which_stays(admin: Browser) -> None:
    answer = by_htmx(admin, NEW, **form(host="", port="many", password=""))
    assert answer.status_code == 422 and "<html" not in answer.text and "<input" not in answer.text
    assert re.findall(r'href="#(\w+)"', answer.text) == ["port", "host", "password"]


def test_htmx_may_save_anyway_too(admin: Browser, dovecot: DovecotServer) -> None:
    values = typed(dovecot, "forced@example.org", password="wrong")
    force = offered(by_htmx(admin, NEW, **values).text)
    answer = by_htmx(admin, NEW, **values, force=force)
    assert answer.status_code == 204 and answer.headers["HX-Redirect"].startswith("/accounts/")
    assert saved() == 1


def test_an_address_that_is_taken_meanwhile_is_said_in_the_stream(
    admin: Browser, dovecot: DovecotServer
) -> None:
    values = typed(dovecot, "twice@example.org")
    assert admin.post(NEW, **values).status_code == 303
    for address in ("twice@example.org", "TWICE@example.org"):
        answer = by_htmx(admin, NEW, **values | {"address": address, "username": "twice@example.org"})
        assert "has been added already" in answer.text
    assert saved() == 1


def test_too_many_tests_leave_the_choice_to_save_untested(
    admin: Browser, dovecot: DovecotServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PER_HOUR", 1)
    with db.database.connection_context():
        audit.record(probe.TESTED, "x@example.org")
    values = typed(dovecot, "many@example.org")
    answer = admin.post(NEW, **values)
    assert (answer.status_code, saved()) == (429, 0)
    assert admin.post(NEW, **values, force=offered(answer.text)).status_code == 303


def test_a_server_that_hangs_holds_the_answer_for_a_bounded_time(
    admin: Browser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SECONDS", 1.0)
    monkeypatch.setattr(probe, "LEAST_SECONDS", 1.0)
    with ScriptedServer(lambda talk: time.sleep(60)) as silent:
        object.__setattr__(settings, "mail_ports", frozenset({silent.port}))
        values = form(host="localhost", port=str(silent.port), security="starttls")
        began = time.monotonic()
        answer = admin.post(NEW, **{name: value for name, value in values.items() if name != "force"})
    assert time.monotonic() - began < 30
    assert (answer.status_code, saved(), silent.connections) == (422, 0, 1)
    assert offered(answer.text)


# -- ports, protocols, providers -----------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "security", "port"),
    [("imap", "tls", 993), ("imap", "starttls", 143), ("pop3", "tls", 995), ("pop3", "starttls", 110)],
)
def test_an_empty_port_is_the_usual_one(admin: Browser, protocol: str, security: str, port: int) -> None:
    for empty in ("", "  "):
        values = form(protocol=protocol, security=security, port=empty, address=f"{len(empty)}@example.org")
        assert admin.post(NEW, **values).status_code == 303
    with db.database.connection_context():
        assert {endpoint.port for endpoint in Endpoint.select()} == {port}


def test_pop3_has_one_folder_whatever_was_chosen_before(admin: Browser) -> None:
    assert admin.post(NEW, **form(protocol="pop3", port="", folder="Tickets")).status_code == 303
    assert stored().account.folder == "INBOX"


@pytest.mark.parametrize(
    "over", [{"begin": "unread"}, {"on_server": "seen"}, {"on_server": "move", "move_to": "X"}]
)
def test_what_pop3_cannot_do_is_refused(admin: Browser, over: dict[str, str]) -> None:
    answer = admin.post(NEW, **form(protocol="pop3", port="", **over))
    assert (answer.status_code, saved()) == (422, 0)
    assert "POP3" in answer.text


def test_microsoft_takes_no_password_but_an_app_and_encryption(admin: Browser, house: House) -> None:
    answer = admin.post(NEW, **form(provider="microsoft", host=""))
    assert (answer.status_code, saved()) == (409, 0)
    assert "Turn on encryption first" in answer.text
    with db.database.connection_context():
        house.enable()
    answer = admin.post(NEW, **form(provider="microsoft", host=""))
    assert (answer.status_code, saved()) == (422, 0)
    assert "No app is registered at Microsoft yet." in answer.text


def test_google_needs_no_server_and_gets_the_password_of_no_other(admin: Browser) -> None:
    values = form(
        provider="google", host="evil.example.org", port="143", security="starttls", sends="y", same_password="y",
        **{"sending-host": "evil.example.org"},
    )  # fmt: skip
    assert admin.post(NEW, **values).status_code == 303
    with db.database.connection_context():
        hosts = {(endpoint.direction, endpoint.host, endpoint.port) for endpoint in Endpoint.select()}
    assert hosts == {("in", "imap.gmail.com", 993), ("out", "smtp.gmail.com", 465)}


@pytest.mark.parametrize("provider", ["", "other", "evil", "x" * 1024, "<b>"])
def test_any_other_provider_is_one_with_a_server_of_its_own(admin: Browser, provider: str) -> None:
    assert admin.post(NEW, **form(provider=provider)).status_code == 303
    assert stored().host == "imap.example.org"


@pytest.mark.parametrize(
    ("exchange", "provider"),
    [("example-org.mail.protection.outlook.com", "microsoft"), ("aspmx.l.google.com", "google"),
     ("mx.notgoogle.com", "other"), ("google.com.evil.example", "other")],
)  # fmt: skip
def test_a_domain_whose_mail_a_provider_receives_is_recognised(
    admin: Browser, monkeypatch: pytest.MonkeyPatch, exchange: str, provider: str
) -> None:
    monkeypatch.setattr(autoconfig, "mail_hosts", lambda *_: [exchange])
    monkeypatch.setattr(autoconfig, "published", lambda *_: [])
    monkeypatch.setattr(autoconfig, "announced", lambda *_: [])
    page = admin.post("/accounts/suggest", on=NEW, **form(address="a@example.org", host="")).text
    checked = re.search(r'<input checked[^>]*name="provider"[^>]*value="(\w+)"', page)
    assert checked and checked[1] == provider


def test_settings_of_another_address_count_only_once_they_were_looked_at(admin: Browser) -> None:
    found = admin.post("/accounts/suggest", on=NEW, **form(address="a@gmx.de", host="")).text
    assert re.search(r'name="found_for"[^>]*value="a@gmx.de"', found)
    values = form(address="b@example.org", host="imap.gmx.net", found_for="a@gmx.de")
    answer = admin.post(NEW, **values)
    assert (answer.status_code, saved()) == (422, 0)
    assert "are those of a@gmx.de" in answer.text
    assert re.search(r'name="found_for"[^>]*value=""', answer.text)
    assert admin.post(NEW, **values | {"found_for": ""}).status_code == 303


def test_looking_again_takes_out_what_was_found_before(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoconfig, "mail_hosts", lambda *_: [])
    monkeypatch.setattr(autoconfig, "published", lambda *_: [])
    monkeypatch.setattr(autoconfig, "announced", lambda *_: [])
    values = form(address="b@example.org", host="imap.gmx.net", found_for="a@gmx.de", username="a")
    page = admin.post("/accounts/suggest", on=NEW, **values).text
    for name in ("host", "port", "username"):
        assert re.search(rf'id="{name}"[^>]*value=""', page), name


def test_every_value_may_be_a_thousand_characters_long(admin: Browser) -> None:
    for name in (
        "address",
        "host",
        "port",
        "security",
        "protocol",
        "username",
        "folder",
        "begin",
        "found_for",
    ):
        answer = admin.post(NEW, **form(**{name: "x" * 1024}))
        assert answer.status_code == 422, name
    assert saved() == 0


def test_without_the_key_the_form_says_first_that_nothing_can_be_saved(admin: Browser, house: House) -> None:
    assert "No mailbox can be added now." not in admin.get("/accounts/new").text
    with db.database.connection_context():
        house.enable()
    house.key_file.unlink()
    assert "No mailbox can be added now." in admin.get("/accounts/new").text
