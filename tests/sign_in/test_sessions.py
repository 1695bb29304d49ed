"""Sessions: they live in the database, begin anew at every sign-in and end when they should."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from panel import db
from panel.models import Activity, Person, Session
from panel.sign_in import sessions
from tests.sign_in.browser import PASSWORD, Browser, add_person, later


@pytest.fixture
def browser(app: Flask) -> Browser:
    add_person()
    return Browser(app)


def token_in(cookie: str) -> str:
    """What anybody can read in a signed cookie."""
    packed = cookie.startswith(".")
    payload = cookie.lstrip(".").split(".")[0]
    data = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return str(json.loads(zlib.decompress(data) if packed else data)["token"])


def test_the_right_password_signs_in(browser: Browser) -> None:
    answer = browser.sign_in()
    assert (answer.status_code, answer.location) == (303, "/")
    assert browser.is_signed_in


def test_an_address_is_the_same_in_capitals_and_with_spaces_around_it(browser: Browser) -> None:
    assert browser.sign_in(" ADA@Example.ORG ").status_code == 303


def test_only_a_digest_of_the_token_is_stored(browser: Browser) -> None:
    browser.sign_in()
    token = token_in(browser.cookie)
    row = Session.get()
    assert bytes(row.token_hash) == hashlib.sha256(token.encode()).digest()
    assert len(base64.urlsafe_b64decode(token + "=")) == 32


def test_a_cookie_replayed_after_signing_out_is_worth_nothing(app: Flask, browser: Browser) -> None:
    browser.sign_in()
    stolen = browser.cookie
    assert browser.post("/logout", on="/confirm").status_code == 303
    thief = Browser(app)
    thief.cookie = stolen
    assert not thief.is_signed_in
    assert Session.select().count() == 0


def test_signing_out_ends_this_session_only(app: Flask, browser: Browser) -> None:
    elsewhere = Browser(app)
    elsewhere.sign_in()
    browser.sign_in()
    browser.post("/logout", on="/confirm")
    assert elsewhere.is_signed_in


def test_signing_out_by_a_link_or_without_a_csrf_token_does_nothing(browser: Browser) -> None:
    browser.sign_in()
    assert browser.get("/logout").status_code == 405
    assert browser.client.post("/logout").status_code == 400
    assert browser.is_signed_in


def test_a_session_fixed_before_signing_in_is_not_the_one_after(app: Flask, browser: Browser) -> None:
    browser.get("/login")
    planted = browser.cookie
    with browser.client.session_transaction() as content:
        content["planted"] = "by somebody else"
    browser.sign_in()
    with browser.client.session_transaction() as content:
        assert "planted" not in content
    thief = Browser(app)
    thief.cookie = planted
    assert not thief.is_signed_in


def test_every_sign_in_gets_a_token_of_its_own(app: Flask, browser: Browser) -> None:
    other = Browser(app)
    browser.sign_in()
    other.sign_in()
    assert token_in(browser.cookie) != token_in(other.cookie)


def test_a_cookie_that_this_server_did_not_sign_is_worth_nothing(app: Flask, browser: Browser) -> None:
    browser.sign_in()
    token = token_in(browser.cookie)
    other = Flask("other")
    other.secret_key = "not ours"
    serializer = SecureCookieSessionInterface().get_signing_serializer(other)
    assert serializer is not None
    thief = Browser(app)
    thief.cookie = str(serializer.dumps({"token": token}))
    assert not thief.is_signed_in


@pytest.mark.parametrize("token", [None, 7, "", "x" * 43, "\ud800"])
def test_a_cookie_with_another_token_is_worth_nothing(browser: Browser, token: object) -> None:
    browser.sign_in()
    with browser.client.session_transaction() as content:
        content["token"] = token
    assert not browser.is_signed_in


def test_a_session_ends_after_twelve_idle_hours(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    browser.sign_in()
    later(monkeypatch, sessions.IDLE_SECONDS - 5)
    assert browser.is_signed_in
    later(monkeypatch, sessions.IDLE_SECONDS - 5)  # it was used meanwhile
    assert browser.is_signed_in
    later(monkeypatch, sessions.IDLE_SECONDS)
    assert not browser.is_signed_in


def test_a_session_ends_after_seven_days_however_busy(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.sign_in()
    for _ in range(21):
        assert browser.is_signed_in
        later(monkeypatch, sessions.LONGEST_SECONDS // 21)
    assert not browser.is_signed_in


def test_sessions_that_are_over_leave_the_database_at_the_next_sign_in(
    app: Flask, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.sign_in()
    later(monkeypatch, sessions.IDLE_SECONDS)
    Browser(app).sign_in()
    assert Session.select().count() == 1


def test_a_disabled_person_is_out_at_the_next_request(browser: Browser) -> None:
    browser.sign_in()
    Person.update(disabled_at=db.now()).execute()
    assert not browser.is_signed_in


def test_a_request_a_minute_after_another_is_noted_and_one_at_once_is_not(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.sign_in()
    begun = Session.get().seen_at
    browser.get("/confirm")
    assert Session.get().seen_at == begun
    later(monkeypatch, sessions.SEEN_SECONDS + 2)
    browser.get("/confirm")
    assert Session.get().seen_at > begun


def test_the_cookie_is_hidden_from_scripts_and_ends_with_the_browser(browser: Browser) -> None:
    answer = browser.sign_in()
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Expires" not in cookie
    assert "Max-Age" not in cookie


def test_signing_in_and_out_stands_in_activity(app: Flask) -> None:
    add_person()
    browser = Browser(app, "192.0.2.7")
    browser.sign_in(password="wrong " + PASSWORD)
    browser.sign_in()
    browser.post("/logout", on="/confirm")
    events = [(e.who, e.what, e.subject, e.address) for e in Activity.select().order_by(Activity.id)][1:]
    assert events == [
        ("unknown", "sign-in failed", "ada@example.org", "192.0.2.7"),
        ("ada@example.org", "signed in", "ada@example.org", "192.0.2.7"),
        ("ada@example.org", "signed out", "ada@example.org", "192.0.2.7"),
    ]
