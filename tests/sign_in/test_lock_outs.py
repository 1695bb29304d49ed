"""Strangers lock nobody out: known browsers and sessions have budgets of their own, under keys that nothing typed can be."""

from __future__ import annotations

import pytest
from flask import Flask

from panel import create_app, db, install
from panel.config import Settings
from panel.models import Activity, Person, Session, SignInTry
from panel.people import service as people
from panel.secret import Secret
from panel.sign_in import throttle
from tests.sign_in.browser import COOKIE, PASSWORD, WRONG, Browser, add_person, later

DEVICE = f"{COOKIE}-device"
NEW = "another quite long phrase"


@pytest.fixture
def known(app: Flask) -> Browser:
    """A browser that ada signed in with and signed out of."""
    add_person()
    browser = Browser(app)
    browser.sign_in()
    browser.post("/logout", on="/confirm")
    return browser


def strangers_try(app: Flask, email: str = "ada@example.org", times: int = throttle.PER_ACCOUNT) -> None:
    for number in range(times):
        assert Browser(app, f"198.51.100.{number}").sign_in(email, WRONG).status_code == 422
    assert Browser(app, "198.51.100.99").sign_in(email, WRONG).status_code == 429


# -- keys -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    ["session 1", "session:1", "SESSION 1", "session:{token}", "person:1", "device:x", "address:127.0.0.1"],
)
def test_what_is_typed_as_an_address_is_never_the_key_of_something_else(app: Flask, kind: str) -> None:
    add_person()
    ada = Browser(app)
    ada.sign_in()
    strangers_try(app, kind.format(token=Session.get().form_token))
    assert ada.post("/confirm", password=PASSWORD).status_code == 303
    assert Browser(app).sign_in().status_code == 303


def test_a_session_does_not_inherit_what_another_of_its_number_did(app: Flask) -> None:
    add_person()
    ada = Browser(app)
    ada.sign_in()
    number = Session.get().id
    for _ in range(throttle.PER_SESSION):
        ada.post("/confirm", password=WRONG)
    ada.post("/logout", on="/profile")
    ada.sign_in()
    assert Session.get().id == number
    assert ada.post("/confirm", password=PASSWORD).status_code == 303


def test_confirming_is_throttled_for_all_sessions_of_a_person_together(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "PER_PERSON", 4)
    add_person()
    add_person("bo@example.org", "agent")
    one, two, bo = Browser(app), Browser(app), Browser(app)
    one.sign_in()
    two.sign_in()
    bo.sign_in("bo@example.org")
    for browser in (one, two, one, two):
        assert browser.post("/confirm", password=WRONG).status_code == 422
    assert two.post("/confirm", password=PASSWORD).status_code == 429
    assert bo.post("/confirm", password=PASSWORD).status_code == 303


def test_wrong_passwords_from_one_place_do_not_throttle_confirming_there(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "PER_ADDRESS", 3)
    add_person()
    ada = Browser(app, "192.0.2.1")
    ada.sign_in()
    for number in range(3):
        Browser(app, "192.0.2.1").sign_in(f"x{number}@example.org", WRONG)
    assert Browser(app, "192.0.2.1").sign_in().status_code == 429
    assert ada.post("/confirm", password=PASSWORD).status_code == 303


def test_the_own_password_on_the_profile_counts_as_confirming(app: Flask) -> None:
    add_person(role="user")
    ada = Browser(app)
    ada.sign_in()
    for _ in range(throttle.PER_SESSION):
        assert ada.post("/profile/password", on="/profile", old=WRONG, password=NEW).status_code == 422
    assert ada.post("/confirm", password=PASSWORD).status_code == 429


def test_new_passwords_that_are_refused_are_no_wrong_passwords(app: Flask) -> None:
    add_person(role="user")
    ada = Browser(app)
    ada.sign_in()
    for _ in range(throttle.PER_SESSION + 1):
        short = ada.post("/profile/password", on="/profile", old=PASSWORD, password="short")
        assert short.status_code == 422


# -- known browsers -------------------------------------------------------------------------


def test_strangers_do_not_lock_the_owners_browser_out(app: Flask, known: Browser) -> None:
    strangers_try(app)
    assert known.sign_in().status_code == 303
    assert Browser(app).sign_in().status_code == 429  # and the strangers' hour goes on


def test_nor_do_they_from_the_owners_own_address(
    app: Flask, known: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "PER_ADDRESS", 3)
    for number in range(3):
        Browser(app).sign_in(f"x{number}@example.org", WRONG)
    assert Browser(app).sign_in().status_code == 429
    assert known.sign_in().status_code == 303


def test_a_known_browser_has_a_small_budget_of_its_own(
    app: Flask, known: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(throttle.PER_DEVICE):
        assert known.sign_in(password=WRONG).status_code == 422
    refused = known.sign_in()
    assert (refused.status_code, "Wait 15 minutes" in refused.text) == (429, True)
    assert SignInTry.select().where(SignInTry.who.startswith("a")).count() == 0  # account:, address:
    assert Browser(app).sign_in().status_code == 303
    later(monkeypatch, throttle.KNOWN_WINDOW)
    assert known.sign_in().status_code == 303


def test_a_success_renews_the_budget(known: Browser) -> None:
    for _ in range(2):
        for _ in range(throttle.PER_DEVICE - 1):
            known.sign_in(password=WRONG)
        assert known.sign_in().status_code == 303
        known.post("/logout", on="/confirm")


def test_the_cookie_is_bound_to_its_person(app: Flask, known: Browser) -> None:
    add_person("bo@example.org", "agent")
    strangers_try(app, "bo@example.org")
    assert known.sign_in("bo@example.org").status_code == 429
    strangers_try(app, "nobody@example.org")
    assert known.sign_in("nobody@example.org").status_code == 429


@pytest.mark.parametrize("by", ["the owner", "an administrator"])
def test_the_cookie_is_void_after_a_change_of_password(app: Flask, known: Browser, by: str) -> None:
    thief = Browser(app)
    cookie = known.client.get_cookie(DEVICE)
    assert cookie is not None
    thief.client.set_cookie(DEVICE, cookie.value)
    if by == "the owner":
        known.sign_in()
        changed = known.post("/profile/password", on="/profile", old=PASSWORD, password=NEW)
        assert changed.status_code == 303
        known.post("/logout", on="/profile")
    else:
        with db.database.connection_context():
            people.set_password("ada@example.org", Secret(NEW))
    strangers_try(app)
    assert thief.sign_in(password=NEW).status_code == 429
    # Who changes the own password goes on in a browser that is known.
    assert known.sign_in(password=NEW).status_code == (303 if by == "the owner" else 429)


@pytest.mark.parametrize("value", ["", "x", "W10.x", "a" * 3000, "WzEsIngiXQ.AAAA", "\N{SNOWMAN}"])
def test_a_cookie_that_this_server_did_not_sign_is_no_cookie(app: Flask, known: Browser, value: str) -> None:
    strangers_try(app)
    known.client.set_cookie(DEVICE, value)
    assert known.sign_in().status_code == 429


def test_the_cookie_of_a_session_is_no_device_cookie_nor_the_other_way_round(
    app: Flask, known: Browser
) -> None:
    known.sign_in()
    device = known.client.get_cookie(DEVICE)
    assert device is not None
    other = Browser(app)
    other.cookie = device.value
    assert not other.is_signed_in
    strangers_try(app)
    other = Browser(app)
    other.client.set_cookie(DEVICE, known.cookie)
    assert other.sign_in().status_code == 429


def test_the_cookie_opens_nothing_and_is_hidden_from_scripts(app: Flask) -> None:
    add_person()
    browser = Browser(app)
    session, device = browser.sign_in().headers.getlist("Set-Cookie")
    assert session.startswith(f"{COOKIE}=") and device.startswith(f"{DEVICE}=")
    for flag in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="):
        assert flag in device
    assert Person.get().login_hash not in device
    browser.client.delete_cookie(COOKIE)
    assert not browser.is_signed_in


def test_under_https_the_cookie_is_sent_over_https_alone(environ: dict[str, str]) -> None:
    settings = Settings.load(environ | {"PANEL_URL": "https://mail.example.org"})
    install.prepare(settings)
    app = create_app(settings)
    app.config["WTF_CSRF_ENABLED"] = False
    add_person()
    answer = app.test_client().post(
        "/login", base_url="https://mail.example.org", data={"email": "ada@example.org", "password": PASSWORD}
    )
    session, device = answer.headers.getlist("Set-Cookie")
    assert session.startswith("__Host-mailkeep=") and device.startswith("__Host-mailkeep-device=")
    assert "Secure" in device


# -- clocks and rows -----------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [60, 3 * 24 * 3600, 10**9])
def test_tries_from_the_future_count_as_now_and_for_one_window(
    app: Flask, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    add_person()
    for _ in range(throttle.PER_ACCOUNT):
        Browser(app).sign_in(password=WRONG)
    SignInTry.update(at=db.now() + ahead).execute()
    refused = Browser(app).sign_in()
    assert (refused.status_code, "Wait 60 minutes" in refused.text) == (429, True)
    later(monkeypatch, throttle.WINDOW)
    assert Browser(app).sign_in().status_code == 303


def test_rows_are_capped(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST_ROWS", 10)
    for number in range(20):
        throttle.count_sign_in(f"x{number}@example.org", f"192.0.2.{number}")
    assert SignInTry.select().count() == 10


# -- what Activity says -------------------------------------------------------------------------------


def test_a_failed_confirmation_is_logged_under_the_name_of_the_session(app: Flask) -> None:
    add_person(role="user")
    ada = Browser(app, "192.0.2.7")
    ada.sign_in()
    ada.post("/confirm", password=WRONG)
    ada.post("/profile/password", on="/profile", old=WRONG, password=NEW)
    failed = [
        (e.who, e.subject, e.address) for e in Activity.select().where(Activity.what == "sign-in failed")
    ]
    assert failed == [("ada@example.org", "ada@example.org", "192.0.2.7")] * 2
