"""What people see of the mail: found in one field, read by a screen reader, and still there after the page has updated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from panel import db
from panel.models import Account, LoggedMessage
from tests.browser.fixtures import CheckAxe
from tests.browser.lived_in import fill, settings
from tests.browser.served import Site, served
from tests.browser.test_no_jumps import POLL


@pytest.fixture
def lived_in(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path, **settings(tmp_path)) as site:
        with db.database.connection_context():
            fill(site.house, 24, 120)
        yield site


@pytest.mark.parametrize("role", ["admin", "agent"])
def test_did_the_customers_mail_come(lived_in: Site, page_without_scripts: Page, role: str) -> None:
    page = page_without_scripts
    lived_in.sign_in(page, role)
    if role == "admin":
        page.get_by_role("link", name="Messages", exact=True).first.click()
    page.get_by_role("searchbox").fill("raman")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr").first).to_contain_text("Priya Raman")
    expect(page.get_by_text("Invoice shows wrong VAT").first).to_be_visible(visible=role == "admin")
    page.get_by_role("searchbox").fill("nobody@nowhere.example")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="No matching messages")).to_be_visible()


def test_pages_with_mail_have_no_finding_of_axe(lived_in: Site, page: Page, axe: CheckAxe) -> None:
    with db.database.connection_context():
        uuid = Account.select(Account.uuid).order_by(Account.address).scalar()
    lived_in.sign_in(page, "admin")
    for path in ("/", "/?span=24h", "/?span=90d", "/messages", "/messages?q=zzz", f"/accounts/{uuid}"):
        page.goto(lived_in.url + path)
        axe(page)
    lived_in.sign_in(page, "agent")
    for path in ("/status", "/messages"):
        page.goto(lived_in.url + path)
        axe(page)


def test_a_table_that_was_opened_stays_open_when_the_page_updates(lived_in: Site, page: Page) -> None:
    lived_in.sign_in(page, "admin")
    page.get_by_text("Show as table").click()
    expect(page.locator(".numbers td").first).to_be_visible()
    with db.database.connection_context():
        account = Account.select().first()
        LoggedMessage.create(account=account, at=db.now(), size=1, subject="The very newest")
    page.evaluate(POLL, "#overview")
    expect(page.locator("#recent")).to_contain_text("The very newest")
    expect(page.locator(".numbers td").first).to_be_visible()
