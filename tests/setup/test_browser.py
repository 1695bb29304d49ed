"""From the one-time address to the first page, by hand: with scripts, without, and as axe sees it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.fixtures import CheckAxe
from tests.running import PanelServer
from tests.sign_in.browser import PASSWORD

pytestmark = pytest.mark.browser


def open_set_up(page: Page, server: PanelServer) -> None:
    token = (server.data_dir / "setup-token").read_text().strip()
    page.goto(f"{server.url}/setup/{token}")
    assert page.url == f"{server.url}/setup/checks"
    expect(page.get_by_role("heading", name="This server is ready")).to_be_visible()
    page.get_by_role("link", name="Continue").click()


def create(page: Page, again: str = PASSWORD) -> None:
    page.get_by_label("Your name").fill("Ada Lovelace")
    page.get_by_label("E-mail address").fill("ada@example.org")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Repeat password").fill(again)
    page.get_by_role("button", name="Create administrator").click()


def test_without_scripts_one_sets_up_signs_out_and_in_again(
    page_without_scripts: Page, panel_server: PanelServer
) -> None:
    page = page_without_scripts
    open_set_up(page, panel_server)
    create(page, again="something else")
    expect(page.get_by_role("alert")).to_contain_text("The two passwords are not the same.")
    create(page)
    expect(page.get_by_text("You are signed in as ada@example.org.")).to_be_visible()
    assert page.url == f"{panel_server.url}/server/encryption"
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{panel_server.url}/server/encryption")
    page.get_by_label("E-mail address").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/server/encryption")


def test_axe_finds_nothing_on_the_sign_in_and_set_up_pages(
    page: Page, panel_server: PanelServer, axe: CheckAxe
) -> None:
    for path in ("/login", "/setup", "/setup/wrong"):
        page.goto(panel_server.url + path)
        axe(page)
    open_set_up(page, panel_server)
    axe(page)
    create(page, again="something else")
    axe(page)
    create(page)
    page.wait_for_url("**/server/encryption")
    page.goto(f"{panel_server.url}/confirm?next=/server/encryption")
    axe(page)
    page.get_by_label("Your password").fill("wrong")
    page.get_by_role("button", name="Continue").click()
    axe(page)
