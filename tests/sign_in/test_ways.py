"""Redirects after signing in: by role, back to the page, and never to another site."""

from __future__ import annotations

import pytest
from flask import Flask

from panel import db
from panel.models import Session
from panel.web.access import safe_redirect
from tests.sign_in.browser import PASSWORD, WRONG, Browser, add_person

ELSEWHERE = [
    "https://evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "javascript:alert(1)",
    "evil.example",
    "http:evil.example",
    "/a\x00b",
    "/" + "a" * 3000,
    "",
]


@pytest.fixture
def browser(app: Flask) -> Browser:
    add_person()
    return Browser(app)


@pytest.mark.parametrize("path", ELSEWHERE)
def test_signing_in_never_redirects_to_another_site(browser: Browser, path: str) -> None:
    assert safe_redirect(path) is None
    assert browser.sign_in(next=path).location == "/"
    assert browser.post("/confirm", password=PASSWORD, next=path).location == "/"


@pytest.mark.parametrize("path", ["/accounts", "/server/encryption", "/accounts?page=2&q=a%20b", "/a//b"])
def test_the_door_leads_back_to_where_one_was(browser: Browser, path: str) -> None:
    assert browser.sign_in(next=path).location == path


def test_a_page_asked_for_without_a_session_is_found_again_after_signing_in(browser: Browser) -> None:
    asked = browser.get("/server/encryption")
    assert (asked.status_code, asked.location) == (303, "/login?next=/server/encryption")
    assert 'name="next" value="/server/encryption"' in browser.get(asked.location).text


def test_the_way_back_survives_a_wrong_password(browser: Browser) -> None:
    answer = browser.sign_in(password=WRONG, next="/server/encryption")
    assert 'name="next" value="/server/encryption"' in answer.text


@pytest.mark.parametrize(("role", "start"), [("agent", "/status"), ("user", "/profile")])
def test_each_role_has_its_start_page(app: Flask, role: str, start: str) -> None:
    add_person(role=role)
    browser = Browser(app)
    browser.sign_in()
    assert browser.get("/").location == start


def test_an_admin_starts_with_the_overview(browser: Browser) -> None:
    browser.sign_in()
    assert "<h1>Overview</h1>" in browser.get("/").text


def test_who_is_signed_in_is_not_asked_again(browser: Browser) -> None:
    browser.sign_in()
    assert browser.get("/login").location == "/"
    assert browser.get("/login?next=/server/encryption").location == "/server/encryption"


def test_who_is_not_signed_in_cannot_confirm(browser: Browser) -> None:
    assert browser.get("/confirm?next=/accounts").location == "/login?next=/accounts"


def test_the_right_password_typed_again_is_noted_and_a_wrong_one_is_not(browser: Browser) -> None:
    browser.sign_in()
    Session.update(confirmed_at=5).execute()
    assert browser.post("/confirm", password=WRONG).status_code == 422
    assert Session.get().confirmed_at == 5
    answer = browser.post("/confirm", password=PASSWORD, next="/server/encryption")
    assert (answer.status_code, answer.location) == (303, "/server/encryption")
    assert (Session.get().confirmed_at or 0) >= db.now() - 60


def test_signing_in_counts_as_typing_the_password(browser: Browser) -> None:
    browser.sign_in()
    assert (Session.get().confirmed_at or 0) >= db.now() - 60


def test_a_panel_below_a_path_leads_back_below_that_path(browser: Browser) -> None:
    browser.sign_in()
    answer = browser.client.get("/login?next=/accounts", environ_overrides={"SCRIPT_NAME": "/mail"})
    assert answer.location == "/mail/accounts"


def test_every_page_of_the_door_is_whole(app: Flask, browser: Browser) -> None:
    assert browser.get("/login").status_code == 200
    browser.sign_in()
    assert browser.get("/confirm").status_code == 200


def test_who_is_signed_out_has_a_link_from_an_error_page(app: Flask) -> None:
    page = Browser(app).get("/no-such-page")
    assert page.status_code == 404
    assert '<a class="button" href="/">Go to the start page</a>' in page.text
