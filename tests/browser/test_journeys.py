"""What each person of the product comes for, on an install that is lived in: with and without JavaScript.

The clicks of each journey are counted and shown with the results of the suite.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from panel import db
from panel.models import Account
from panel.models.messages import LoggedMessage
from tests.browser.fixtures import CheckAxe, watched
from tests.browser.lived_in import fill
from tests.browser.served import Site, served
from tests.running import wait_until

pytestmark = pytest.mark.browser

CONTACT = "Dana, extension 7"
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("lived-in"), PANEL_CONTACT=CONTACT) as site:
        with db.database.connection_context():
            fill(site.house)
        yield site


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def scripts(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


class Hands:
    """A person in front of a browser, whose clicks are counted."""

    def __init__(self, page: Page, site: Site, axe: CheckAxe) -> None:
        self.page, self.site, self.axe, self.clicks = page, site, axe, 0

    def arrive(self, role: str) -> Locator:
        self.site.sign_in(self.page, role)
        return self.page.locator("main")

    def click(self, role: str, name: str, inside: str = "body") -> None:
        self.clicks += 1
        self.page.locator(inside).get_by_role(role, name=name).first.click()  # type: ignore[arg-type]


@pytest.fixture
def hands(browser: Browser, site: Site, scripts: bool, axe: CheckAxe) -> Iterator[Hands]:
    for page in watched(browser.new_context(java_script_enabled=scripts)):
        yield Hands(page, site, axe if scripts else lambda page: None)


def test_an_agent_asks_whether_the_mail_of_a_customer_came(hands: Hands, record_property: Record) -> None:
    main = hands.arrive("agent")
    hands.page.get_by_role("searchbox").fill("petra@kunden")
    hands.click("button", "Search", "#did-it-come")
    rows = main.locator("tbody tr")
    expect(rows.first).to_contain_text("Petra Hollmann")
    with db.database.connection_context():
        wanted = LoggedMessage.select().where(LoggedMessage.sender == "petra@kunden.example").count()
    expect(main).to_contain_text(f"of {wanted}")
    assert "two boxes missing" not in hands.page.content(), "subjects are for administrators"
    hands.axe(hands.page)
    hands.page.get_by_role("searchbox").fill("nobody@nowhere.example")
    hands.click("button", "Search", "main")
    expect(rows).to_have_count(0)
    expect(main).to_contain_text("No matching messages")
    hands.axe(hands.page)
    record_property("shown", f"Did the customer's mail come? {hands.clicks - 1} click after sign-in.")


def test_an_administrator_asks_which_mailboxes_fail_and_why(hands: Hands, record_property: Record) -> None:
    main = hands.arrive("admin")
    expect(main.locator("#attention")).to_contain_text("mail.bremer-spedition.example did not answer")
    hands.axe(hands.page)
    hands.click("link", "Show the 10 mailboxes")
    expect(main.locator("tbody tr")).to_have_count(10)
    expect(main.locator("tbody tr").first).to_contain_text("did not answer within 30 seconds")
    hands.axe(hands.page)
    hands.click("link", "billing@bremer-spedition.example")
    expect(main).to_contain_text("Check that the server is running.")
    hands.axe(hands.page)
    record_property("shown", f"Which mailboxes fail and why? {hands.clicks} clicks to the mailbox.")


def test_an_administrator_brings_a_hundred_mailboxes_in_a_file(
    hands: Hands, scripts: bool, tmp_path: Path, record_property: Record
) -> None:
    names = [f"box-{number}-{'with' if scripts else 'without'}@import.example" for number in range(100)]
    lines = [f"{name};imap.import.example;pass of {name}" for name in names]
    wrong = ["no address;imap.import.example;x", f"{names[0]};imap.import.example;x"]
    csv = tmp_path / "mailboxes ü.csv"
    csv.write_text("\ufeff" + "\r\n".join(["address;host;password", *lines, *wrong]), "utf-8")
    main = hands.arrive("admin")
    hands.click("link", "Mailboxes", "nav:visible")
    hands.click("link", "Import", "main")
    for button in ("Check only", "Import the valid lines"):
        hands.page.get_by_label("File").set_input_files(csv)
        hands.click("button", button, "main")
        if button == "Check only":
            expect(main).to_contain_text("100 valid lines, 2 with a problem")
            expect(main).to_contain_text("Duplicate")
            assert "pass of" not in hands.page.content()
            hands.axe(hands.page)
    if not scripts:
        expect(main.locator("#job")).to_be_visible()  # a page on its way cannot be reloaded
        wait_until(lambda: hands.page.reload() and "100 mailboxes added" in main.inner_text(), "the import")
    expect(main).to_contain_text("100 mailboxes added")
    with db.database.connection_context():
        added = Account.select().where(Account.address.in_(names)).count()
    assert added == 100
    hands.axe(hands.page)
    record_property("shown", f"A hundred mailboxes from a CSV: {hands.clicks} clicks.")


def test_a_system_administrator_restores_the_lost_key_from_its_copy(
    hands: Hands, site: Site, tmp_path: Path, record_property: Record
) -> None:
    house = site.house
    copy = tmp_path / "copy of the key.bin"
    shutil.copy(house.key_file, copy)
    house.key_file.unlink()
    main = hands.arrive("admin")
    expect(hands.page.locator(".banner.bad")).to_contain_text("Collecting mail is paused")
    hands.click("link", "See Encryption", ".banner")
    expect(main).to_contain_text("No copy of the key left?")
    hands.axe(hands.page)
    command = hands.page.locator("#put-back").inner_text().replace("BACKUP", f"'{copy}'")
    subprocess.run(["sh", "-c", command], check=True)
    hands.click("link", "Check again", "main")
    expect(main).to_contain_text("Encryption is on")
    expect(hands.page.locator(".banner.bad")).to_have_count(0)
    record_property("shown", f"The key is lost: {hands.clicks} clicks and one command.")


def test_support_looks_up_the_status_and_whom_to_call(hands: Hands, site: Site) -> None:
    main = hands.arrive("agent")
    expect(main).to_contain_text("Encrypted")
    expect(main).to_contain_text(CONTACT)
    hands.click("link", "Encryption", "nav:visible")
    expect(main).to_contain_text("Encryption is on")
    hands.axe(hands.page)
    assert main.get_by_role("button").count() == 0
    assert str(site.house.data) not in hands.page.content()
