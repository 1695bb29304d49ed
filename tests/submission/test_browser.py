"""In a browser: a helpdesk's password is made, seen once, used up, and deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from panel import db
from tests.browser.fixtures import CheckAxe
from tests.browser.served import Site, served
from tests.submission.conftest import ADDRESS, UPSTREAM_PASSWORD, add_mailbox

pytestmark = pytest.mark.browser


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path, PANEL_SUBMISSION_BIND="127.0.0.1:2587") as site:
        yield site


def test_a_password_from_the_mailbox_to_its_end(site: Site, page: Page, axe: CheckAxe) -> None:
    with db.database.connection_context():
        site.house.enable()
        add_mailbox(site.house, ADDRESS, "smtp.example.org", 465, UPSTREAM_PASSWORD)
    site.sign_in(page)
    page.goto(f"{site.url}/accounts")
    page.get_by_role("link", name=ADDRESS).first.click()
    page.locator('a[href$="/sending"]').first.click()
    axe(page)
    page.get_by_role("link", name="Submission password").click()
    axe(page)
    page.get_by_label("Other sender addresses").fill("sales@example.org")
    page.get_by_role("button", name="Create a password").click()
    expect(page.locator("main")).to_contain_text("It is not shown again")
    shown = re.search(r"\b[a-z2-7]{32}\b", page.locator("main").inner_text())
    assert shown
    axe(page)
    page.get_by_role("link", name="Done").click()
    expect(page.locator("main")).not_to_contain_text(shown[0])
    expect(page.get_by_label("Other sender addresses")).to_have_value("sales@example.org")
    axe(page)
    page.get_by_text("Delete this password").first.click()
    page.get_by_role("button", name="Delete this password").click()
    expect(page.locator("main")).to_contain_text(f"No helpdesk can send as {ADDRESS} any more.")
    expect(page.get_by_role("button", name="Create a password")).to_be_visible()
