"""The Alerts page and the bell in a real browser, light, dark and 320 px wide."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from panel import create_app, db
from panel.alerts import alert_log, conditions, service
from panel.audit import Actor
from panel.config import Settings
from panel.vault.vault import Vault
from tests.alerts.conftest import add_sending, fail, recover
from tests.alerts.receiver import Receiver
from tests.browser.fixtures import CheckAxe
from tests.encryption.conftest import House
from tests.running import Environ, PanelServer
from tests.servers.smtp import SmtpServer
from tests.sign_in.browser import PASSWORD, add_person

pytestmark = pytest.mark.browser


@pytest.fixture
def environ(environ: Environ) -> Environ:
    return {name: value for name, value in environ.items() if name != "PANEL_URL"}


def test_the_page_its_bell_and_its_tests(
    panel_server: PanelServer,
    environ: Environ,
    smtp: SmtpServer,
    receiver: Receiver,
    page: Page,
    axe: CheckAxe,
) -> None:
    settings = Settings.load(environ)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    add_person()
    page.goto(f"{panel_server.url}/login")
    page.get_by_label("Email address").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login" not in url)
    page.locator(".side").get_by_role("link", name="Alerts").click()
    expect(page.locator("main")).to_contain_text("No mailbox can send yet.")
    page.get_by_label("Email to").fill("nobody")
    page.get_by_label("Webhook").fill("http://hooks.example.org/")
    page.get_by_role("button", name="Save recipients").click()
    expect(page.get_by_text("There is a problem")).to_be_visible()
    axe(page)
    page.get_by_label("Email to").fill("ops@example.net")
    page.get_by_label("Webhook").fill(receiver.url)
    page.get_by_role("button", name="Save recipients").click()
    expect(page.get_by_text("Saved. Send a test")).to_be_visible()
    page.get_by_role("button", name="Test webhook").click()
    expect(page.locator("main")).to_contain_text("Check that it arrived.")
    assert receiver.events == [("test", "test")]
    axe(page)
    with db.database.connection_context():
        account = house.add().account
        add_sending(smtp, account, "wrong")
        fail(account, "It is resolved.", db.now() - 3600)
        alert_log.update(conditions.found(house.vault))
        recover(account)
        house.sql(
            "UPDATE alert SET resolved_at = ?, notified_at = 1, notified_times = 2, resolution_sent_at = 2",
            db.now(),
        )
        other = house.add().account
        fail(other, "The server says no.", db.now() - 3600)
        alert_log.update(conditions.found(house.vault))
        service.store(("ops@example.net",), account.uuid, receiver.url, Actor("ada"))
    page.goto(f"{panel_server.url}/server/alerts")
    expect(page.locator("main")).to_contain_text("The server says no.")
    expect(page.locator("main")).to_contain_text("2 times")
    axe(page)
    page.goto(f"{panel_server.url}/people")
    expect(page.locator(".side").get_by_role("link", name="Alerts")).to_contain_text("2 open")
    expect(page.locator(".banner")).to_have_count(0)
    axe(page)
