"""Pages that were open for long, in a real browser: what was typed is never lost, and passwords never come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from panel import db
from panel.models import Person, Session
from tests.browser.fixtures import CheckAxe, watched
from tests.browser.served import Site, served, sign_in
from tests.sign_in.browser import PASSWORD, later

pytestmark = pytest.mark.browser
NEW = "another good phrase of mine"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path) as site:
        yield site


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    yield from watched(browser.new_context(java_script_enabled=request.param))


def in_database(statement: object) -> None:
    with db.database.connection_context():
        statement.execute()  # type: ignore[attr-defined]


def type_person(page: Page) -> None:
    page.get_by_label("Name").fill("Bo <b> Ek")
    page.get_by_label("Email address").fill("bo@example.org")
    page.get_by_label("Role").select_option("user")
    page.get_by_label("Password", exact=True).fill(NEW)


def expect_person(page: Page) -> None:
    expect(page.get_by_label("Name")).to_have_value("Bo <b> Ek")
    expect(page.get_by_label("Email address")).to_have_value("bo@example.org")
    expect(page.get_by_label("Role")).to_have_value("user")
    expect(page.get_by_label("Password", exact=True)).to_have_value("")


def test_a_form_that_was_open_for_two_hours_is_taken(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/profile")
    page.get_by_label("Your name").fill("Dana Reed")
    later(monkeypatch, 2 * 3600)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Your profile was changed.")).to_be_visible()


def test_after_two_hours_the_password_is_asked_and_the_form_is_taken(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch, axe: CheckAxe
) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/people/new")
    type_person(page)
    later(monkeypatch, 2 * 3600)
    page.get_by_role("button", name="Add").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("bo@example.org was added.")).to_be_visible()


def test_after_a_night_the_sign_in_page_keeps_the_form(site: Site, page: Page, axe: CheckAxe) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/people/new")
    type_person(page)
    in_database(Session.delete())
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("what you typed will be restored")).to_be_visible()
    page.get_by_label("Email address").fill("admin@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    if page.context.browser is not None and page.evaluate("typeof htmx") == "object":
        axe(page)
    page.get_by_role("button", name="Continue").click()
    expect_person(page)
    with db.database.connection_context():
        assert Person.select().where(Person.email == "bo@example.org").count() == 0


def test_signed_in_again_in_another_tab_the_old_page_goes_on(site: Site, page: Page) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/people/new")
    type_person(page)
    in_database(Session.delete())
    other = page.context.new_page()
    sign_in(other, site.url)
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("What you typed is still here")).to_be_visible()
    expect_person(page)
    page.get_by_label("Password", exact=True).fill(NEW)
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("bo@example.org was added.")).to_be_visible()


@pytest.mark.parametrize("page", [True], indirect=True)
def test_a_button_of_htmx_leaves_the_page_and_its_text_alone(site: Site, page: Page) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/accounts/new")
    page.get_by_label("Email address").fill("new@example.org")
    page.get_by_label("Mail server", exact=True).fill("localhost")
    page.locator("#password").fill("a password")
    in_database(Session.delete())
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator("#toast")).to_contain_text("what you typed stays")
    sign_in(page.context.new_page(), site.url)
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator("#test")).to_contain_text("This page was out of date")
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator("#test")).to_contain_text("Connect")
    expect(page.get_by_label("Email address")).to_have_value("new@example.org")


@pytest.mark.parametrize("page", [True], indirect=True)
def test_where_nothing_was_typed_htmx_leads_to_the_sign_in_page(site: Site, page: Page) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/accounts/new")
    in_database(Session.delete())
    page.get_by_role("button", name="Find settings").click()
    page.wait_for_url(lambda url: "/login?next=" in url)


@pytest.mark.parametrize("page", [True], indirect=True)
def test_a_confirmation_in_another_tab_leaves_polls_and_what_is_typed_alone(site: Site, page: Page) -> None:
    with db.database.connection_context():
        site.house.enable()
    site.sign_in(page)
    page.goto(f"{site.url}/server/encryption")
    page.locator("#answer").fill("half-an-answer")
    confirming = page.context.new_page()
    confirming.goto(f"{site.url}/confirm?next=/people")
    confirming.get_by_label("Password").fill(PASSWORD)
    polls = "() => Promise.all([...Array(20)].map(() => fetch('/server/encryption', {headers: {'HX-Request': 'true'}})))"
    page.evaluate(f"() => {{ window.polls = ({polls})() }}")
    confirming.get_by_role("button", name="Continue").click()
    confirming.wait_for_url(f"{site.url}/people")
    page.evaluate("() => window.polls")
    confirming.reload()
    expect(confirming.get_by_role("heading", name="People")).to_be_visible()
    page.get_by_role("button", name="Verify backup").first.click()
    expect(page.locator("#answer")).to_have_value("half-an-answer")
