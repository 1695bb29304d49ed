"""A fresh machine to collected, sealed mail by the wizard alone; clicks and fields are counted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.fixtures import CheckAxe, watched
from tests.running import Environ, PanelServer, find_marker, wait_until
from tests.servers.dovecot import DovecotServer

pytestmark = [pytest.mark.browser, pytest.mark.dovecot]

PASSWORD = "correct horse battery staple"


@pytest.fixture
def environ(environ: Environ, dovecot: DovecotServer) -> Environ:
    return environ | {"PANEL_MAIL_PORTS": str(dovecot.tls_port), "PANEL_MAIL_CA_FILE": str(dovecot.ca_file)}


class Hands:
    """What a person does, counted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = self.fields = 0

    def click(self, role: str, name: str) -> None:
        self.clicks += 1
        self.page.get_by_role(role, name=name, exact=True).click()  # type: ignore[arg-type]

    def check(self, label: str) -> None:
        self.clicks += 1
        self.page.get_by_label(label).check()

    def fill(self, selector: str, text: str) -> None:
        self.fields += 1
        self.page.locator(selector).fill(text)


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def scripts(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def hands(browser: Browser, scripts: bool) -> Iterator[Hands]:
    for page in watched(browser.new_context(java_script_enabled=scripts)):
        yield Hands(page)


@pytest.mark.timeout(180)
def test_the_wizard_alone_leads_to_sealed_and_collected_mail(
    hands: Hands, scripts: bool, panel_server: PanelServer, dovecot: DovecotServer, axe: CheckAxe,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    user, authorization_file = f"support-{uuid.uuid4().hex[:8]}@example.org", f"MARKER-{uuid.uuid4().hex}"
    dovecot.add_user(user, authorization_file)
    dovecot.deliver(user, b"Subject: first\r\n\r\nHello\r\n")
    page, data = hands.page, panel_server.data_dir
    check = axe if scripts else lambda page: None

    page.goto(f"{panel_server.url}/setup/{(data / 'setup-token').read_text().strip()}")
    check(page)
    hands.click("link", "Continue")
    check(page)
    hands.fill("#name", "Dana")
    hands.fill("#email", "dana@example.org")
    hands.fill("#password", PASSWORD)
    hands.fill("#again", PASSWORD)
    hands.click("button", "Create administrator")
    page.wait_for_url("**/server/encryption")
    check(page)
    hands.check("I understand that losing")
    hands.check("I have prepared")
    hands.click("button", "Generate Key File & Enable Encryption")
    expect(page.get_by_role("link", name="Add the first mailbox")).to_be_visible()
    hands.click("link", "Add the first mailbox")
    page.wait_for_url("**/accounts/new")
    check(page)
    hands.fill("#address", user)
    hands.fill("#host", "localhost")
    hands.fill("#port", str(dovecot.tls_port))
    hands.fill("#password", authorization_file)
    hands.check("All mail")
    hands.click("button", "Add mailbox")
    page.wait_for_url("**/accounts")
    hands.click("link", "Review and finish")
    expect(page.get_by_text(user)).to_be_visible()
    check(page)
    hands.click("button", "Finish")
    expect(page.get_by_text("Mailkeep is set up.")).to_be_visible()

    wait_until(lambda: list((data / "mail").glob("*/new/*")), 30, "the first message")
    assert find_marker(data, authorization_file) == []
    record_property("shown", f"The wizard took {hands.clicks} clicks and {hands.fields} fields.")
    assert (hands.clicks, hands.fields) <= (11, 8)
