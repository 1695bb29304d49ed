"""The settings that a form fills in by itself: from whom is said, nothing is saved, nothing goes out with them."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from panel import db
from panel.accounts import suggest as suggestions
from panel.mail import autoconfig
from panel.mail.autoconfig import PublishedServer
from panel.models import Account, Activity
from tests.accounts.conftest import form
from tests.running import Environ
from tests.sign_in.browser import Browser, add_person


@pytest.fixture
def environ(environ: Environ) -> Environ:
    return environ | {"PANEL_MAIL_PORTS": "465,587,993,995"}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No domain publishes anything, unless a test says so."""
    monkeypatch.setattr(autoconfig, "published", lambda *arguments: [])
    monkeypatch.setattr(autoconfig, "announced", lambda *arguments: [])


def filled(admin: Browser, address: str, **over: str) -> tuple[dict[str, str], str]:
    response = admin.post("/accounts/suggest", on="/accounts/new", **form(address=address, host="", **over))
    assert response.status_code == 200
    values = dict(
        re.findall(
            r'<input[^>]*id="((?:sending-)?(?:host|port|username))"[^>]*value="([^"]*)"', response.text
        )
    )
    return values, response.text


def test_a_known_provider_is_filled_in_with_its_note(admin: Browser) -> None:
    values, page = filled(admin, "someone@gmail.com")
    assert values == {
        "host": "imap.gmail.com", "port": "", "username": "",
        "sending-host": "smtp.gmail.com", "sending-port": "", "sending-username": "",
    }  # fmt: skip
    assert "These are the servers of gmail.com." in page and "app password" in page
    with db.database.connection_context():
        assert not Account.select().exists()


def test_a_mailbox_that_no_password_opens_is_named_as_such(admin: Browser) -> None:
    values, page = filled(admin, "someone@outlook.com")
    assert values["host"] == "outlook.office365.com" and "accepts no password" in page
    assert re.search(r'checked[^>]*value="microsoft"', page)


def test_what_a_domain_publishes_is_filled_in_and_said(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        PublishedServer("pop3", "pop.example.org", 995, "tls"),
        PublishedServer("imap", "imap.example.org", 993, "tls", "%EMAILLOCALPART%"),
        PublishedServer("smtp", "smtp.example.org", 587, "starttls", "%EMAILDOMAIN%"),
    ]
    monkeypatch.setattr(autoconfig, "published", lambda *arguments: found)
    values, page = filled(admin, "jürgen@example.org")
    assert (values["host"], values["username"]) == ("imap.example.org", "jürgen")
    assert (values["sending-host"], values["sending-username"]) == ("smtp.example.org", "example.org")
    assert "example.org publishes these settings over HTTPS." in page
    assert 'value="starttls" selected' in page or 'selected value="starttls"' in page


def test_what_the_dns_says_is_marked_as_unproved(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        autoconfig, "announced", lambda *arguments: [PublishedServer("imap", "imap.evil.example", 993, "tls")]
    )
    values, page = filled(admin, "a@example.org")
    assert values["host"] == "imap.evil.example" and "not authenticated" in page


def test_ports_that_are_not_allowed_are_not_filled_in(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        autoconfig, "published", lambda *arguments: [PublishedServer("imap", "imap.example.org", 22, "tls")]
    )
    values, page = filled(admin, "a@example.org")
    assert values["host"] == "" and "No settings found" in page
    found = [
        PublishedServer("imap", "imap.example.org", 993, "tls"),
        PublishedServer("smtp", "s.example.org", 2525, "tls"),
    ]
    monkeypatch.setattr(autoconfig, "published", lambda *arguments: found)
    values, page = filled(admin, "a@example.org")
    assert values["sending-host"] == "" and "PANEL_MAIL_PORTS does not allow" in page


@pytest.mark.parametrize(
    "address",
    [
        "a@example.org",
        "a@ex ample",
        "no at sign",
        "a@127.1",
        "a@[::1]",
        "a@127.0.0.1",
        "a@localhost",
        "",
        "x" * 1024,
    ],
)
def test_what_nobody_knows_is_said_and_what_was_typed_stays(admin: Browser, address: str) -> None:
    _, page = filled(admin, address, folder="Größe")
    assert 'id="found" role="status"><span' in page
    assert 'value="Größe"' in page
    assert "hunter2hunter2" not in page


def test_look_ups_are_limited_for_the_whole_install(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestions, "PER_HOUR", 2)
    for _ in range(2):
        assert "No settings found" in filled(admin, "a@example.org")[1]
    assert "within an hour" in filled(admin, "a@example.org")[1]
    with db.database.connection_context():
        subjects = [e.subject for e in Activity.select().where(Activity.what == suggestions.LOOKED_UP)]
    assert subjects == ["example.org"] * 2


def test_htmx_gets_the_two_parts_that_change(admin: Browser) -> None:
    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get("/accounts/new").text)
    assert token
    response = admin.client.post(
        "/accounts/suggest", data=form(address="a@gmail.com") | {"csrf_token": token[1]},
        headers={"HX-Request": "true"},
    )  # fmt: skip
    assert response.text.lstrip().startswith('<div id="server">')
    assert 'id="sending" hx-swap-oob="true"' in response.text and "<html" not in response.text


def test_agents_may_not_look(app: Flask) -> None:
    add_person("agent@example.org", "agent")
    browser = Browser(app)
    browser.sign_in("agent@example.org")
    assert browser.post("/accounts/suggest", on="/profile", address="a@gmail.com").status_code == 403
