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
    assert page.url == f"{server.url}/setup/admin"  # all checks passed


def create(page: Page, password: str = PASSWORD) -> None:
    page.get_by_label("Your name").fill("Ada Lovelace")
    page.get_by_label("Email address").fill("ada@example.org")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Create administrator").click()


def test_without_scripts_one_sets_up_signs_out_and_in_again(
    page_without_scripts: Page, panel_server: PanelServer
) -> None:
    page = page_without_scripts
    open_set_up(page, panel_server)
    create(page, password="too short")
    expect(page.get_by_role("alert")).to_contain_text("The password is too short")
    create(page)
    assert page.url == f"{panel_server.url}/server/encryption"
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{panel_server.url}/server/encryption")
    page.get_by_label("Email address").fill("ada@example.org")
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
    create(page, password="too short")
    axe(page)
    create(page)
    page.wait_for_url("**/server/encryption")
    page.goto(f"{panel_server.url}/confirm?next=/server/encryption")
    axe(page)
    page.get_by_label("Your password").fill("wrong")
    page.get_by_role("button", name="Continue").click()
    axe(page)
