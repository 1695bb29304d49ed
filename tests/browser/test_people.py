"""People in a browser: the list, one person, an invitation, one's own profile, and the step that asks for the password."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from panel import db
from panel.crypto import login_hash
from panel.models import Person, Session
from panel.web.access import REAUTH_SECONDS
from tests.browser.fixtures import CheckAxe, watched
from tests.browser.served import Site, served
from tests.running import PanelServer, find_marker
from tests.sign_in.browser import PASSWORD

pytestmark = pytest.mark.browser

NAMES = ("Mara Okafor", "Jonas Weber", "Noor Haddad", "Łukasz Żak", "Chloé Dubois", "Kim Ngân", "Ødegård Å.")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path) as site:
        with db.database.connection_context(), db.transaction():
            for number in range(70):
                Person.create(
                    email=f"person{number}@northwind.example", name=NAMES[number % len(NAMES)], created_at=db.now(),
                    role=("agent", "user")[number % 2], last_sign_in_at=db.now() - 7000 * number or None,
                    login_hash=login_hash.NONE if number % 9 == 2 else "x",
                    disabled_at=db.now() if number % 9 == 4 else None,
                )  # fmt: skip
        yield site


def grow_old() -> None:
    with db.database.connection_context():
        Session.update(confirmed_at=db.now() - REAUTH_SECONDS - 1).execute()


def test_people_from_the_list_to_an_invitation_that_is_taken(
    site: Site, page: Page, browser: Browser, axe: CheckAxe
) -> None:
    site.sign_in(page)
    page.get_by_role("link", name="People").first.click()
    axe(page)
    page.get_by_role("searchbox").fill("dubois")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1–10 of 10")).to_be_visible()
    page.get_by_role("link", name="Add person").click()
    page.get_by_label("Name", exact=True).fill("Bo Berg")
    page.get_by_label("Email address").fill("bo@northwind.example")
    axe(page)
    grow_old()
    page.get_by_role("button", name="Add person").click()
    axe(page)
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()  # and the person is added, in one step
    expect(page.get_by_role("heading", name="Invitation link")).to_be_visible()
    axe(page)
    link = page.locator(".command pre").inner_text()
    for theirs in watched(browser.new_context()):
        theirs.goto(link)
        axe(theirs)
        theirs.get_by_label("Password", exact=True).fill("a long enough phrase")
        theirs.get_by_role("button", name="Show").click()
        expect(theirs.locator("#password")).to_have_attribute("type", "text")
        theirs.get_by_role("button", name="Save password and sign in").click()
        expect(theirs.get_by_text("You are signed in as bo@northwind.example.")).to_be_visible()
        theirs.get_by_role("link", name="Bo Berg").first.click()
        theirs.get_by_label("Time zone").fill("Asia/Tokyo")
        theirs.get_by_label("Appearance").select_option("dark")
        theirs.get_by_role("button", name="Save", exact=True).click()
        expect(theirs.get_by_text("Times are in Asia/Tokyo.")).to_be_visible()
        axe(theirs)
    page.goto(f"{site.url}/people?q=bo@")
    page.get_by_role("link", name="Bo Berg").click()
    page.get_by_text("Disable access").first.click()
    page.get_by_text("Delete", exact=True).click()
    axe(page)
    page.get_by_role("button", name="Delete bo@northwind.example").click()
    expect(page.get_by_text("bo@northwind.example was deleted.")).to_be_visible()


def test_without_scripts_a_step_is_done_after_the_password_without_clicking_again(
    site: Site, page_without_scripts: Page
) -> None:
    page = site.sign_in(page_without_scripts)
    page.goto(f"{site.url}/people/3")
    page.get_by_text("Disable access").first.click()
    grow_old()
    page.get_by_role("button", name="Disable access for user@example.org").click()
    page.get_by_label("Your password").fill("not the right one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The password is wrong.")
    page.get_by_label("Your password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Access for user@example.org is disabled.")).to_be_visible()


def test_with_htmx_the_password_is_asked_for_in_place_and_what_is_typed_stays(
    site: Site, page: Page, axe: CheckAxe
) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/accounts/new")
    page.get_by_label("Email address").fill("new@example.org")
    page.get_by_label("Mail server", exact=True).fill("localhost")
    page.locator("#password").first.fill("hunter2hunter2")
    grow_old()
    page.get_by_role("button", name="Test connection").click()
    dialog = page.get_by_role("dialog")
    axe(page)
    dialog.get_by_role("link", name="Cancel").click()
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Test connection").click()
    dialog.get_by_label("Your password").fill("not the right one")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("The password is wrong.")
    dialog.get_by_label("Your password").fill(PASSWORD)
    dialog.get_by_role("button", name="Continue").click()
    expect(page.locator("#test li strong").first).to_have_text("DNS")
    expect(page.locator("#mailbox #password")).to_have_value("hunter2hunter2")
    expect(dialog).to_have_count(0)
    assert "hunter2" not in page.content()


def test_a_form_of_htmx_is_sent_once_more_too(site: Site, page: Page) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/server/encryption")
    page.get_by_label("I understand that losing").check()
    page.get_by_label("I have prepared").check()
    grow_old()
    page.get_by_role("button", name="Generate Key File & Enable Encryption").click()
    page.get_by_role("dialog").get_by_label("Your password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Encrypting stored passwords")).to_be_visible()


def test_on_the_server_as_it_runs_a_step_is_done_after_the_password_too(
    panel_server: PanelServer,
    page_without_scripts: Page,
    cli: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    page, url = page_without_scripts, panel_server.url
    setup = ("setup", "--admin-email", "ada@example.org", "--admin-name", "Ada", "--password-file", "-")
    assert cli(*setup, stdin=PASSWORD).returncode == 0
    page.goto(f"{url}/login")
    page.get_by_label("Email address").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.goto(f"{url}/people/new")
    page.get_by_label("Name", exact=True).fill("Bo Berg 🐑")
    page.get_by_label("Email address").fill("bo@northwind.example")
    page.get_by_label("Password", exact=True).fill("  grün, a long phrase 🐑 ")
    with closing(sqlite3.connect(panel_server.data_dir / "panel.db", timeout=60)) as database, database:
        database.execute("UPDATE session SET confirmed_at = confirmed_at - 301")
    page.get_by_role("button", name="Add person").click()
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("bo@northwind.example was added.")).to_be_visible()
    expect(page.get_by_text("Bo Berg 🐑")).to_be_visible()
    assert (
        find_marker(panel_server.data_dir, "a long phrase") == [] and "a long phrase" not in panel_server.log
    )
