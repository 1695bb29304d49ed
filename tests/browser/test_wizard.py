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
FIRST = "The very first message"


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


def test_the_wizard_alone_leads_to_sealed_and_collected_mail(
    hands: Hands, scripts: bool, panel_server: PanelServer, dovecot: DovecotServer, axe: CheckAxe,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    user, authorization_file = f"support-{uuid.uuid4().hex[:8]}@example.org", f"MARKER-{uuid.uuid4().hex}"
    dovecot.add_user(user, authorization_file)
    dovecot.deliver(user, f"Subject: {FIRST}\r\n\r\nHello\r\n".encode())
    page, data = hands.page, panel_server.data_dir
    check = axe if scripts else lambda page: None

    page.goto(f"{panel_server.url}/setup/{(data / 'setup-token').read_text().strip()}")
    expect(page).to_have_title("Step 2 of 5: First administrator · Mailkeep")  # all checks passed
    check(page)
    hands.fill("#name", "Dana")
    hands.fill("#email", "dana@example.org")
    hands.fill("#password", PASSWORD)
    hands.click("button", "Create administrator")
    expect(page).to_have_title("Step 3 of 5: Encryption · Mailkeep")
    check(page)
    hands.check("I understand that losing")
    hands.check("I have prepared")
    hands.click("button", "Generate Key File & Enable Encryption")
    expect(page).to_have_title("Step 4 of 5: First mailbox · Mailkeep")
    check(page)
    hands.fill("#address", user)
    hands.fill("#host", "localhost")
    hands.fill("#port", str(dovecot.tls_port))
    hands.fill("#password", authorization_file)
    hands.check("All mail")
    hands.click("button", "Add mailbox")
    expect(page).to_have_title("Overview · Mailkeep")
    expect(page.get_by_text(f"Mailkeep is set up. Mail of {user} is collected now")).to_be_visible()
    check(page)
    wait_until(lambda: list((data / "mail").glob("*/new/*")), "the first message")
    if not scripts:
        page.reload()
    expect(page.get_by_text(FIRST).first).to_be_visible()  # by itself, with scripts

    assert find_marker(data, authorization_file) == []
    record_property(
        "shown",
        f"From the setup address to the first message: {hands.clicks} clicks and {hands.fields} fields.",
    )
    assert hands.clicks <= 9 and hands.fields <= 7
