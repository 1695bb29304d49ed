"""Promises of Help and Settings in a real browser: found by typing, read at any width, without scripts too."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.fixtures import CheckAxe
from tests.browser.served import Site

pytestmark = pytest.mark.browser

PAGES = (
    "/help",
    "/help/encryption",
    "/help/architecture",
    "/help/settings",
    "/help?q=lost+key",
    "/help?q=zebra",
    "/help/about",
)


@pytest.mark.parametrize("path", [*PAGES, "/server/settings"])
def test_each_page_can_be_read_by_everybody(open_as: Open, axe: CheckAxe, path: str) -> None:
    axe(open_as("admin", path))


def test_the_manual_answers_from_the_page_that_raises_the_question(open_as: Open) -> None:
    page = open_as("admin", "/server/settings")
    page.get_by_role("main").get_by_role("link", name="Help").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Settings")
    page.get_by_role("searchbox", name="Search the manual").fill("lost key")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="A lost key").first.click()
    heading = page.get_by_role("heading", name="A lost key")
    expect(heading).to_be_in_viewport()
    assert page.url.endswith("/help/encryption#a-lost-key")


def test_without_scripts_it_is_the_same(site: Site, page_without_scripts: Page) -> None:
    page = site.sign_in(page_without_scripts, "user")
    page.goto(f"{site.url}/help")
    page.get_by_role("searchbox", name="Search the manual").fill("password")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_contain_text("Found in")
