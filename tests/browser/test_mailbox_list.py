"""The list of mailboxes in a real browser: found, chosen, acted on, imported, with and without scripts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from panel import db
from panel.accounts import service
from panel.audit import Actor
from panel.models import Account, Collection
from tests.browser import lived_in
from tests.browser.fixtures import CheckAxe, watched
from tests.browser.served import Site, served

pytestmark = pytest.mark.browser

PICTURES = os.environ.get("LIST_PICTURES")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path) as site:
        with db.database.connection_context():
            lived_in.fill(site.house, 120)
        yield site


@pytest.fixture
def admin(site: Site, page: Page) -> Page:
    return site.sign_in(page)


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


def paused() -> int:
    with db.database.connection_context():
        return Account.select().where(Account.paused_at.is_null(False)).count()


def test_what_is_found_and_ticked_is_paused_and_undone(site: Site, admin: Page, axe: CheckAxe) -> None:
    admin.goto(f"{site.url}/accounts")
    picture(admin, "list")
    before = paused()
    admin.get_by_label("Search address or server").fill("jansen")
    admin.keyboard.press("Enter")
    expect(admin.locator("tbody tr").first).to_contain_text("jansen-logistik")
    boxes = admin.locator("td.pick input")
    boxes.nth(0).check()
    boxes.nth(2).check()
    expect(admin.locator(".bulk")).to_be_visible()
    picture(admin, "selected")
    axe(admin)
    admin.locator(".bulk").get_by_role("button", name="Pause", exact=True).click()
    expect(admin.locator(".toast")).to_contain_text("2 mailboxes paused")
    assert paused() == before + 2
    assert "q=jansen" in admin.url
    picture(admin, "paused")
    admin.locator(".toast").get_by_role("button", name="Undo").click()
    expect(admin.locator(".toast")).to_contain_text("2 mailboxes resumed")
    assert paused() == before


def test_all_that_match_are_asked_about(site: Site, admin: Page, axe: CheckAxe) -> None:
    admin.goto(f"{site.url}/accounts?q=example")
    admin.get_by_label("Select all on this page").check()
    expect(admin.locator("td.pick input:checked")).to_have_count(50)
    admin.get_by_label("that match").check()
    admin.locator(".bulk").get_by_role("button", name="Remove…").click()
    expect(admin.get_by_role("heading", level=1)).to_have_text("Remove 120 mailboxes?")
    picture(admin, "remove")
    axe(admin)
    admin.get_by_role("button", name="Remove 120 mailboxes").click()
    expect(admin.locator(".toast")).to_contain_text("120 mailboxes removed")
    picture(admin, "removed")
    admin.locator(".toast").get_by_role("button", name="Undo").click()
    expect(admin.locator(".paging")).to_contain_text("of 120")


def test_what_changes_elsewhere_appears_without_losing_the_selection(site: Site, admin: Page) -> None:
    admin.goto(f"{site.url}/accounts?sort=address")
    second = admin.locator("tbody tr").nth(1)
    first_box, uuid = (
        admin.locator("td.pick input").first,
        second.locator("td.pick input").get_attribute("value"),
    )
    first_box.check()
    second.locator("td.pick input").check()
    with db.database.connection_context():
        assert uuid
        service.pause(uuid, Actor())
    expect(second).to_contain_text("Paused")
    expect(first_box).to_be_checked()
    expect(second.locator("td.pick input")).to_be_checked()


def test_a_hundred_mailboxes_come_from_a_file(site: Site, admin: Page, axe: CheckAxe) -> None:
    lines = [f"new{n:03}@import.example;imap.import.example;secret {n}" for n in range(100)]
    text = "\n".join(["address;host;password", *lines, "broken;;x", lines[3]])
    admin.goto(f"{site.url}/accounts/import")
    file = FilePayload(name="many.csv", mimeType="text/csv", buffer=text.encode())
    admin.get_by_label("File").set_input_files(file)
    admin.get_by_role("button", name="Check only").click()
    expect(admin.locator("#checked h2")).to_have_text("100 valid lines, 2 with a problem")
    picture(admin, "checked")
    axe(admin)
    admin.get_by_role("button", name="Import the valid lines").click()
    expect(admin.locator("#job")).to_contain_text("100 mailboxes added")
    picture(admin, "imported")
    axe(admin)
    admin.goto(f"{site.url}/accounts?q=import.example")
    expect(admin.locator(".paging")).to_contain_text("of 100")


def test_everything_works_without_scripts(site: Site, page_without_scripts: Page) -> None:
    page = site.sign_in(page_without_scripts)
    page.goto(f"{site.url}/accounts?q=northwind")
    page.locator("td.pick input").first.check()
    page.locator(".bulk").get_by_role("button", name="Interval…").click()
    page.get_by_label("Check every … seconds").fill("900")
    page.get_by_role("button", name="Change 1 mailbox").click()
    expect(page.locator(".toast")).to_contain_text("1 mailbox changed")
    page.goto(f"{site.url}/accounts/import")
    page.locator("summary", has_text="Or paste").click()
    page.get_by_label("Lines").fill("address,host,password\nx@y.example,h.example,p\n")
    page.get_by_role("button", name="Check only").click()
    expect(page.locator("#checked h2")).to_have_text("1 valid line, 0 with a problem")
    expect(page.locator("#checked")).to_contain_text("choose the file again")
    assert page.get_by_label("Lines").input_value() == ""


@pytest.mark.parametrize("width, scheme", [(1360, "dark"), (320, "light")])
def test_the_list_looks_right(site: Site, browser: Browser, axe: CheckAxe, width: int, scheme: str) -> None:
    with db.database.connection_context():
        Collection.update(problem="The mail server refused the password.").where(
            Collection.account.in_(Account.select(Account.uuid).limit(3))
        ).execute()
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    for page in watched(context):
        site.sign_in(page).goto(f"{site.url}/accounts")
        page.locator("td.pick input").nth(4).check()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        picture(page, f"list-{width}-{scheme}")
        page.locator("td.pick input").nth(4).uncheck()  # the bar lies over a row,
        page.evaluate("scrollTo(0, 0)")  # and so does the frame
        axe(page)
        page.locator("summary.icon").nth(1).click()
        expect(page.locator(".rows .sheet:visible")).to_have_count(1)
        picture(page, f"menu-{width}-{scheme}")
