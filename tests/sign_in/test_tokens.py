"""The token of a session: new whenever the password was typed or the role changed, and the old one worth nothing."""

from __future__ import annotations

import pytest
from flask import Flask, session

from panel import db
from panel.models import Session
from panel.people import service as people
from panel.sign_in import login, sessions
from panel.web.access import REAUTH_SECONDS
from tests.sign_in.browser import COOKIE, PASSWORD, Browser, add_person, asked, confirm, later

NEW = "another quite long phrase"
DAY = 24 * 3600


@pytest.fixture
def ada(app: Flask) -> Browser:
    add_person()
    browser = Browser(app)
    browser.sign_in()
    return browser


def copy_of(browser: Browser, app: Flask, *names: str) -> Browser:
    """A thief: another browser with the same cookies (by default the session's alone)."""
    thief = Browser(app, "192.0.2.66")
    for name in names or (COOKIE,):
        cookie = browser.client.get_cookie(name)
        assert cookie is not None
        thief.client.set_cookie(name, cookie.value)
    return thief


def expire_reauth() -> None:
    with db.database.connection_context():
        Session.update(confirmed_at=db.now() - REAUTH_SECONDS - 1).execute()


RENEWALS = {
    "confirmed on its page": lambda b: b.post("/confirm", password=PASSWORD),
    "confirmed for a form": lambda b: confirm(b, asked(b.post("/server/alerts", webhook="bad"))),
    "own password changed": lambda b: b.post("/profile/password", on="/profile", old=PASSWORD, password=NEW),
}


@pytest.mark.parametrize("how", RENEWALS)
def test_a_copied_cookie_is_worth_nothing_once_its_owner_has_typed_the_password(
    app: Flask, ada: Browser, how: str
) -> None:
    thief = copy_of(ada, app, COOKIE, f"{COOKIE}-device")
    expire_reauth()
    assert thief.is_signed_in
    RENEWALS[how](ada)
    assert ada.is_signed_in
    assert not thief.is_signed_in
    assert ada.post("/server/alerts", webhook="bad").status_code == 422  # the owner is recently authenticated
    assert thief.get("/people/new").location.startswith("/login")


@pytest.mark.parametrize("how", RENEWALS)
def test_pages_that_were_open_live_on(ada: Browser, how: str) -> None:
    from tests.web.test_typed_again import Forms

    page = next(f for f in Forms(ada.get("/profile").text).found if f.action == "/profile")
    expire_reauth()
    RENEWALS[how](ada)
    assert ada.client.post(page.action, data=page.values | {"name": "Ada K."}).status_code == 303


def test_a_wrong_password_renews_nothing(app: Flask, ada: Browser) -> None:
    before = ada.cookie
    ada.post("/confirm", password="not the password at all")
    assert ada.cookie == before


def test_a_thief_who_guesses_the_password_throws_the_owner_out_and_is_seen(app: Flask, ada: Browser) -> None:
    thief = copy_of(ada, app)
    thief.post("/confirm", password=PASSWORD)
    assert not ada.is_signed_in


# -- another role ---------------------------------------------------------------------


@pytest.mark.parametrize("thief_first", [True, False])
@pytest.mark.parametrize(("before", "after"), [("admin", "agent"), ("agent", "admin"), ("user", "agent")])
def test_another_role_leaves_the_owner_signed_in_and_a_copied_cookie_with_nothing(
    app: Flask, before: str, after: str, thief_first: bool
) -> None:
    add_person("other@example.org")
    add_person("bo@example.org", before)
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    thief = copy_of(bo, app)
    with db.database.connection_context():
        people.change_role("bo@example.org", after)
    order = (thief, bo) if thief_first else (bo, thief)
    assert [browser.is_signed_in for browser in order] == [browser is bo for browser in order]
    assert bo.is_signed_in  # the new token too


def test_a_higher_role_counts_once_the_password_is_typed_even_for_who_copied_every_cookie(app: Flask) -> None:
    add_person("other@example.org")
    add_person("bo@example.org", "agent")
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    thief = copy_of(bo, app, COOKIE, f"{COOKIE}-device")
    with db.database.connection_context():
        people.change_role("bo@example.org", "admin")
    assert thief.get("/people").location == "/confirm?next=/people"  # the first to come, and no wiser
    assert not bo.is_signed_in  # the owner sees that something is wrong, and signs in
    bo.sign_in("bo@example.org")
    assert bo.get("/people").status_code == 200


def test_a_higher_role_is_offered_and_taken_by_typing_the_password(app: Flask) -> None:
    add_person("other@example.org")
    add_person("bo@example.org", "agent")
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    with db.database.connection_context():
        people.change_role("bo@example.org", "admin")
    assert "Your role was changed to Administrator" in bo.get("/status").text
    asked = bo.get("/people")
    assert asked.location == "/confirm?next=/people"
    assert bo.post(asked.location, password=PASSWORD).location == "/people"
    assert bo.get("/people").status_code == 200
    assert "Your role was changed" not in bo.get("/people").text


def test_a_role_taken_away_and_given_back_is_not_found_again_by_an_old_session(app: Flask) -> None:
    add_person("other@example.org")
    add_person("bo@example.org", "admin")
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    with db.database.connection_context():
        people.change_role("bo@example.org", "user")
        people.change_role("bo@example.org", "admin")
    assert bo.get("/people").location == "/confirm?next=/people"


# -- two requests at once ---------------------------------------------------------------


def test_a_request_under_way_does_not_write_the_replaced_token_back(app: Flask, ada: Browser) -> None:
    def slow() -> str:
        session["anything"] = "changed"
        token = session[login.TOKEN]
        visitor = sessions.find(token)
        assert visitor is not None
        sessions.renew(visitor, confirmed=True)  # what another request does meanwhile
        return "done"

    app.view_functions["profile.own"] = slow
    answer = ada.get("/profile")
    assert (answer.status_code, answer.headers.get("Set-Cookie")) == (200, None)


def test_a_poll_that_comes_too_late_touches_no_cookie(app: Flask, ada: Browser) -> None:
    late = copy_of(ada, app)
    ada.post("/confirm", password=PASSWORD)
    for path in ("/", "/accounts", "/server/encryption"):
        answer = late.client.get(path, headers={"HX-Request": "true"})
        assert (answer.status_code, answer.text, answer.headers.get("Set-Cookie")) == (204, "", None)


def test_nor_does_a_button_of_htmx_that_comes_too_late(app: Flask, ada: Browser) -> None:
    late = copy_of(ada, app)
    ada.post("/confirm", password=PASSWORD)
    answer = late.client.post(
        "/accounts/test", data={"address": "a@b.example"}, headers={"HX-Request": "true"}
    )
    assert (answer.status_code, answer.headers.get("Set-Cookie")) == (204, None)


def test_of_two_confirmations_at_once_one_renews(ada: Browser) -> None:
    with ada.client.session_transaction() as content:
        visitor = sessions.find(content[login.TOKEN])
    assert visitor is not None
    first = sessions.renew(visitor, confirmed=True)
    assert first is not None and sessions.renew(visitor, confirmed=True) is None
    assert sessions.find(first) is not None


# -- what lies in the future --------------------------------------------------------------


@pytest.mark.parametrize("ahead", [1, 3600, 3 * DAY])
def test_a_confirmation_in_the_future_is_none(
    ada: Browser, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch, 0)  # the clock stands still
    Session.update(confirmed_at=db.now() + ahead).execute()
    assert ada.is_signed_in
    asked(ada.post("/server/alerts", webhook="bad"))


@pytest.mark.parametrize(
    "columns", [("created_at",), ("seen_at",), ("created_at", "seen_at", "confirmed_at")]
)
@pytest.mark.parametrize("ahead", [3600, 3 * DAY, 3650 * DAY])
def test_a_session_from_the_future_is_over(ada: Browser, columns: tuple[str, ...], ahead: int) -> None:
    Session.update({name: db.now() + ahead for name in columns}).execute()
    assert not ada.is_signed_in
    ada.sign_in()
    assert Session.select().count() == 1


def test_a_clock_that_is_set_back_by_seconds_signs_nobody_out(
    ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch, -30)
    assert ada.is_signed_in


def test_a_session_from_the_future_does_not_come_back_when_its_time_has_come(
    ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    Session.update(created_at=db.now() + 3 * DAY, seen_at=db.now() + 3 * DAY).execute()
    assert not ada.is_signed_in
    later(monkeypatch, 3 * DAY + 60)
    assert not ada.is_signed_in
