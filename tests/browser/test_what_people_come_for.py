"""Each person of the helpdesk in a real browser, with what they came for, and nothing that is not theirs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from panel import create_app, db
from panel.collect import due
from panel.config import Settings
from panel.models import Collection
from panel.vault.vault import Vault
from tests import installs
from tests.browser.fixtures import CheckAxe
from tests.encryption.conftest import House
from tests.running import Environ, PanelServer
from tests.sign_in.browser import PASSWORD, add_person

pytestmark = pytest.mark.browser

NEW_PASSWORD = "another good phrase of mine"
SignIn = Callable[..., Page]


@pytest.fixture
def environ(environ: Environ) -> Environ:
    return environ | {"PANEL_CONTACT": "Dana, extension 7"}


@pytest.fixture
def house(settings: Settings) -> House:
    """Before there is a worker, which would collect at once."""
    installs.prepare(settings)
    create_app(settings)
    for role in ("admin", "agent", "user"):
        add_person(f"{role}@example.org", role)
    house = House(settings, Vault.of(settings, db.database))
    with db.database.connection_context():
        account, now = house.add().account, db.now()
        Collection.create(account=account, last_success_at=now, next_due_at=now + 40_000, waits=86_400)
    return house


@pytest.fixture
def panel_server(house: House, panel_server: PanelServer) -> PanelServer:
    return panel_server


@pytest.fixture
def sign_in(house: House, panel_server: PanelServer, page: Page) -> SignIn:
    def sign_in(role: str, password: str = PASSWORD) -> Page:
        page.goto(f"{panel_server.url}/login")
        page.get_by_label("Email address").fill(f"{role}@example.org")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/login" not in url)
        return page

    return sign_in


def test_an_agent_comes_to_see_whether_mail_comes_in_and_whom_to_call(
    house: House, sign_in: SignIn, panel_server: PanelServer, axe: CheckAxe
) -> None:
    with db.database.connection_context():
        house.enable()
    page = sign_in("agent")
    assert page.url.endswith("/status")
    main = page.locator("main")
    expect(main).to_contain_text("OK")
    expect(main).to_contain_text("Encrypted")
    expect(main).to_contain_text("Dana, extension 7")
    house.key_file.rename(house.data / "away.bin")
    page.reload()
    expect(main).to_contain_text("Nothing is lost")
    axe(page)
    assert str(house.data) not in page.content()
    for path in ("/accounts", "/people", "/activity"):
        page.goto(panel_server.url + path)
        expect(main).to_contain_text("This page is for administrators.")


def test_a_user_comes_to_change_the_own_password_and_nothing_else(
    sign_in: SignIn, panel_server: PanelServer, axe: CheckAxe
) -> None:
    page = sign_in("user")
    assert page.url.endswith("/profile")
    assert page.get_by_role("navigation").get_by_role("link").all_inner_texts() in ([], ["Help"])
    page.get_by_label("Old password").or_(page.locator("#old")).first.fill(PASSWORD)
    page.locator("#password").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("Your password was changed.")).to_be_visible()
    axe(page)
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(re.compile("/login"))
    sign_in("user", NEW_PASSWORD)


def test_an_administrator_comes_to_see_what_is_wrong_and_is_led_to_its_mend(
    house: House, sign_in: SignIn, axe: CheckAxe
) -> None:
    with db.database.connection_context():
        house.enable()
        house.sql("UPDATE endpoint SET host = 'evil.example.org'")
        due.make_due(Collection.get().account.uuid)
    page = sign_in("admin")
    main = page.locator("main")
    expect(main).to_contain_text("Needs attention")
    page.goto(page.url.rstrip("/") + "/server/encryption")
    page.get_by_role("button", name="Check again").or_(
        page.get_by_role("button", name="Check now")
    ).first.click()
    expect(page.get_by_role("heading", name="1 of 1 password cannot be decrypted")).to_be_visible()
    page.locator("main .panel li a").first.click()
    expect(page.get_by_role("heading", name="Enter the server and its password again")).to_be_visible()
    axe(page)
    page.locator("#host").fill("imap.example.org")
    page.locator("#port").fill("993")
    page.locator("#security").select_option("tls")
    page.locator("#protocol").select_option("imap")
    page.locator("#username").fill("support")
    page.locator("#password").fill("the real one")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(re.compile("/accounts/[0-9a-f-]{36}[?]"))
    with db.database.connection_context():
        assert house.state.value == "on"


def test_a_system_administrator_comes_to_put_the_key_back(
    house: House, sign_in: SignIn, panel_server: PanelServer
) -> None:
    with db.database.connection_context():
        house.enable()
    copy = house.data / "a copy of the key.bin"
    copy.write_bytes(house.key_file.read_bytes())
    house.key_file.unlink()
    page = sign_in("admin")
    page.goto(f"{panel_server.url}/server/encryption")
    expect(page.get_by_role("heading", name="The key file is missing")).to_be_visible()
    command = page.locator("main pre").first.inner_text().replace("BACKUP", f"'{copy}'")
    subprocess.run(["sh", "-c", command], check=True)
    page.reload()
    expect(page.get_by_role("button", name="Check now")).to_be_visible()
