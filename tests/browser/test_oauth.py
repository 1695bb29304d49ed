"""Mailboxes that sign in at their provider, in a real browser, with and without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from panel import db
from panel.models import Consent, OauthApp
from panel.oauth import apps
from tests.browser.fixtures import CheckAxe
from tests.browser.served import Site, served
from tests.oauth.pages.connecting import Connecting
from tests.running import free_port
from tests.servers.dovecot import DovecotServer
from tests.servers.issuer import Issuer
from tests.sign_in.browser import Browser

pytestmark = pytest.mark.browser


@pytest.fixture
def site(tmp_path: Path, oauth_dovecot: DovecotServer) -> Iterator[Site]:
    ports = ",".join(map(str, sorted({587, 993, 995, *oauth_dovecot.ports})))
    with served(tmp_path, PANEL_MAIL_PORTS=ports, PANEL_MAIL_CA_FILE=str(oauth_dovecot.ca_file)) as site:
        with db.database.connection_context():
            site.house.enable()
        yield site


@pytest.fixture
def connecting(site: Site, issuer: Issuer, oauth_dovecot: DovecotServer) -> Connecting:
    admin = Browser(site.app)
    admin.sign_in("admin@example.org")
    return Connecting(site.app, site.house, admin, issuer, oauth_dovecot)


@pytest.fixture(autouse=True)
def without_its_font(page: Page, page_without_scripts: Page) -> None:
    """The provider's pages ask another site for a font."""
    for each in (page, page_without_scripts):
        each.route(
            "https://fonts.googleapis.com/**", lambda route: route.fulfill(body="", content_type="text/css")
        )


def fill_in(page: Page, connecting: Connecting, site: Site, address: str) -> None:
    """The form for a mailbox at the issuer."""
    page.goto(f"{site.url}/accounts")
    page.get_by_role("link", name="Add mailbox").click()
    page.get_by_label("Email address").fill(address)
    page.get_by_label("OAuth2", exact=True).check()
    page.get_by_label("Mail server").fill("localhost")
    page.get_by_label("Port", exact=True).fill(str(connecting.dovecot.tls_port))


def sign_in_there(page: Page, account: str) -> None:
    """What the provider's own pages ask for."""
    page.get_by_placeholder("Enter any login").fill(account)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def through(page: Page, connecting: Connecting, site: Site) -> None:
    """From the list to a connected mailbox: four clicks in the panel, and those of the provider."""
    address = connecting.user()
    fill_in(page, connecting, site, address)  # Add mailbox, OAuth2
    page.get_by_role("button", name="Add mailbox").click()
    sign_in_there(page, address)
    expect(page.get_by_role("heading", name=f"Signed in as {address}")).to_be_visible()
    assert page.url.startswith(f"{site.url}/accounts/")
    assert "code=" not in page.url and "code=" not in page.content()
    page.get_by_role("button", name="Connect mailbox").click()
    expect(page.get_by_text(f"Connected as {address} since")).to_be_visible()


def test_a_mailbox_is_added_and_connected(page: Page, site: Site, connecting: Connecting) -> None:
    through(site.sign_in(page), connecting, site)


def test_the_same_without_scripts(page_without_scripts: Page, site: Site, connecting: Connecting) -> None:
    through(site.sign_in(page_without_scripts), connecting, site)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """The browser runs on another machine than the panel: where it is sent back to, nobody answers."""
    origin = f"http://localhost:{free_port()}"
    monkeypatch.setattr(apps, "redirect_address", lambda _, uid: f"{origin}/oauth/callback/{uid}")
    return origin


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_the_address_is_pasted_back(
    browser: Chromium, site: Site, elsewhere: str, connecting: Connecting, scripts: bool
) -> None:
    address = connecting.user()
    uuid = connecting.waiting(address)
    context = browser.new_context(java_script_enabled=scripts)
    page = site.sign_in(context.new_page())
    page.goto(f"{site.url}/accounts/{uuid}")
    page.get_by_role("button", name="Connect").first.click()
    with context.expect_page() as opened:
        page.get_by_role("link", name="Sign in at Company").click()
    with opened.value.expect_event(
        "requestfailed", lambda request: request.url.startswith(elsewhere)
    ) as failed:
        sign_in_there(opened.value, address)
    page.get_by_label("Address that the browser ended at").fill(failed.value.url)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name=f"Signed in as {address}")).to_be_visible()
    page.get_by_role("button", name="Connect mailbox").click()
    expect(page.get_by_text(f"Connected as {address} since")).to_be_visible()
    context.close()


def test_three_clicks_lead_to_microsoft(page: Page, site: Site, connecting: Connecting) -> None:
    """The fourth is “Connect mailbox”, once one has come back."""
    connecting.known_app("microsoft")
    site.sign_in(page)
    seen: list[str] = []
    page.route(
        "https://login.microsoftonline.com/**",
        lambda route: (seen.append(route.request.url), route.fulfill(body="Sign in")),
    )
    page.goto(f"{site.url}/accounts")
    page.get_by_role("link", name="Add mailbox").click()
    page.get_by_label("Microsoft 365").check()
    page.get_by_label("Email address").fill("office@contoso.example")
    page.get_by_role("button", name="Add mailbox").click()
    page.wait_for_url("https://login.microsoftonline.com/**")
    assert "login_hint=office%40contoso.example" in seen[0]
    assert page.evaluate("document.referrer") == ""


def test_a_code_for_another_device_goes_on_by_itself(page: Page, site: Site, connecting: Connecting) -> None:
    address = connecting.user()
    uuid = connecting.waiting(address)
    site.sign_in(page)
    page.goto(f"{site.url}/accounts/{uuid}")
    page.get_by_role("button", name="With a device code").click()
    code = page.locator(".code").inner_text()
    connecting.issuer.enter(code, address)
    expect(page.get_by_role("heading", name=f"Signed in as {address}")).to_be_visible()
    page.get_by_role("button", name="Connect mailbox").click()
    expect(page.get_by_text(f"Connected as {address} since")).to_be_visible()


def test_the_callback_is_not_in_the_history(page: Page, site: Site, connecting: Connecting) -> None:
    address = connecting.user()
    uuid = connecting.waiting(address)
    site.sign_in(page)
    page.goto(f"{site.url}/accounts/{uuid}")
    page.get_by_role("button", name="Connect").first.click()
    sign_in_there(page, address)
    expect(page.get_by_role("heading", name=f"Signed in as {address}")).to_be_visible()
    session = page.context.new_cdp_session(page)
    entries = session.send("Page.getNavigationHistory")["entries"]
    assert len(entries) > 2
    assert not [entry for entry in entries if "callback" in entry["url"] or "code=" in entry["url"]]
    page.wait_for_load_state()


def test_every_page_of_it(page: Page, site: Site, connecting: Connecting, axe: CheckAxe) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/server/oauth")
    axe(page)
    page.get_by_role("link", name="Add app").click()
    axe(page)
    page.get_by_label("Other issuer").check()
    axe(page)
    page.get_by_role("button", name="Add app").click()
    axe(page)
    page.goto(f"{site.url}/server/oauth/{connecting.uid}")
    axe(page)
    page.goto(f"{site.url}/accounts/new?provider=microsoft")
    axe(page)
    page.goto(f"{site.url}/accounts/new?provider=issuer")
    axe(page)
    address = connecting.user()
    waiting = connecting.add(address).request.path
    uuid = connecting.uuid(address)
    page.goto(f"{site.url}/accounts/{uuid}")
    axe(page)
    page.get_by_role("button", name="With a device code").click()
    axe(page)
    connected = connecting.connected()
    page.goto(f"{site.url}/accounts/{connected}")
    axe(page)
    with db.database.connection_context():
        Consent.update(ended_at=db.now() - 7200, ended_code="AADSTS70008").where(
            Consent.account == connected
        ).execute()
        OauthApp.update(secret_expires_at=db.now() + 86_400).execute()
    page.goto(f"{site.url}/accounts/{connected}")
    axe(page)
    page.goto(f"{site.url}/accounts/{connected}/edit")
    axe(page)
    page.goto(f"{site.url}/server/oauth")
    axe(page)
    assert re.match(r"/accounts/.*/connect/", waiting)
