"""axe looks at every page and every state of the key, light and dark, wide and 320 px narrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from panel import create_app, db
from panel.audit import Actor
from panel.config import Settings
from panel.crypto.keyfile import KeyFile
from panel.encryption.leftovers import scan
from panel.health import heartbeat, spool
from panel.models import Account, Collection, InstallCopy, Skipped, SpoolCount
from panel.vault import reports, rotation, turn_off, unfinished, verification
from panel.vault.keystore import KeyStore
from panel.vault.vault import Vault
from tests import installs
from tests.browser.fixtures import CheckAxe, Photograph
from tests.browser.served import Site, served, sign_in
from tests.encryption.conftest import House
from tests.running import PanelServer
from tests.sign_in.browser import add_person

pytestmark = pytest.mark.browser


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An install without a worker, so that each state stays as it was made: of two accounts one has trouble."""
    with served(tmp_path) as site:
        with db.database.connection_context():
            trouble_with(Account.get(Account.address == "1@example.org"))
        yield site


def trouble_with(account: Account) -> None:
    problem = {
        "problem": "The server says no.",
        "remedy": "Ask it nicely.",
        "failures": 1,
        "next_due_at": db.now() + 40_000,
        "waits": 86_400,
    }
    Collection.insert(account=account, **problem).on_conflict(
        conflict_target=[Collection.account], update=problem
    ).execute()
    Skipped.create(
        account=account, uidvalidity=1, uid=7, size=99_000_000, reason="It is too large.", at=db.now()
    )


@pytest.fixture
def house(site: Site) -> House:
    return site.house


@pytest.fixture
def running(settings: Settings) -> House:
    """The same for a real server, whose worker has nothing to collect: a round would write how it went."""
    installs.prepare(settings)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    add_person("admin@example.org", "admin")
    with db.database.connection_context():
        for _ in range(2):
            trouble_with(house.add().account)
    return house


@pytest.fixture
def panel_server(running: House, panel_server: PanelServer) -> PanelServer:
    return panel_server


def on(house: House) -> None:
    house.enable()


def enabling(house: House) -> None:
    house.enable()  # what no sweep can take to its end: a value that is no password
    house.sql("UPDATE endpoint SET sealed = NULL, clear = char(97, 0, 98) WHERE id = 1")


def disabling(house: House) -> None:
    house.enable()
    turn_off.turn_off(house.vault, Actor(), in_shell=True)
    house.sql("UPDATE endpoint SET clear = NULL, sealed = x'00' WHERE id = 1")


def rotating(house: House) -> None:
    house.enable()
    house.rotate()  # the next one meets a record that no sweep can move
    rotation.rotate(house.vault, Actor())
    house.sql("UPDATE endpoint SET host = 'evil.example.org' WHERE id = 1")


def rotated(house: House) -> None:
    house.enable()
    house.rotate()


def missing(house: House) -> None:
    house.enable()
    house.key_file.unlink()


def unreadable(house: House) -> None:
    house.enable()
    house.key_file.chmod(0o644)


def wrong(house: House) -> None:
    house.enable()
    house.key_file.write_bytes(KeyFile.generate(b"x" * 16).to_bytes())


def inconsistent(house: House) -> None:
    house.enable()
    house.sql("UPDATE endpoint SET host = 'evil.example.org' WHERE id = 1")
    verification.run_and_note(house.vault)


def found(house: House) -> None:
    """Old copies were found; two of the passwords were changed, the account's name is long."""
    house.enable()
    scan.finish_report(house.vault, house.settings)
    house.sql("UPDATE encryption SET enabled_at = enabled_at - 100000")
    house.sql("UPDATE endpoint SET secret_set_at = ? WHERE id = 1", db.now())
    (house.data / "before-restore").mkdir()
    (house.data / "before-restore" / "panel.db.of-last-november.bak").write_text("hunter2hunter2")
    (house.data / "packed.sql.gz").write_bytes(b"\x1f\x8b")
    scan.check(house.vault, house.settings)


STATES: dict[str, tuple[Callable[[House], None], str]] = {
    "off": (lambda house: None, "Before you start"),
    "enabling": (enabling, "Encrypting stored passwords"),
    "on": (on, "Back up the key"),
    "rotating": (rotating, "Encrypting with the new key"),
    "on, old copies found": (found, "Leftovers in clear text were found in 1 file."),
    "on, rotated": (rotated, "Kept from earlier changes"),
    "disabling": (disabling, "Writing passwords back in clear"),
    "key-missing": (missing, "The key file is missing"),
    "key-unreadable": (unreadable, "The key file cannot be used"),
    "key-wrong": (wrong, "This is not the right key file"),
    "inconsistent": (inconsistent, "1 of 2 passwords cannot be decrypted"),
}


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_the_encryption_page_for_admin_and_agent(
    site: Site, house: House, page: Page, axe: CheckAxe, state: str
) -> None:
    make, words = STATES[state]
    with db.database.connection_context():
        make(house)
    site.sign_in(page, "admin")
    page.goto(f"{site.url}/server/encryption")
    expect(page.locator("main")).to_contain_text(words)
    axe(page)
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(re.compile("/login"))
    site.sign_in(page, "agent")
    page.goto(f"{site.url}/server/encryption")
    axe(page)


def test_old_copies_are_looked_for_while_the_page_stays_as_it_is(
    running: House, page: Page, panel_server: PanelServer, photograph: Photograph
) -> None:
    """The section replaces itself once the worker has looked; what was typed elsewhere on the page stays."""
    with db.database.connection_context():
        found(running)
        (running.data / "before-restore" / "panel.db.of-last-november.bak").unlink()
        reports.begin("check")  # shown as owed; the worker comes at its next tick
    sign_in(page, panel_server.url)
    page.goto(f"{panel_server.url}/server/encryption")
    page.locator("#answer").fill("typed")
    expect(page.locator("#leftovers")).to_contain_text("No leftovers in clear text found")
    expect(page.locator("#leftovers").get_by_role("button", name="Scan again")).to_be_visible()
    expect(page.locator("#answer")).to_have_value("typed")
    page.get_by_text("Files scanned and not scanned").click()
    photograph(page, "leftovers unfolded")


class Killed(BaseException):
    """In the place of a kill."""


def killed(*_: object) -> None:
    raise Killed


def test_a_page_without_a_key_shows_by_itself_that_turning_off_has_ended(
    site: Site, house: House, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the key file and the mark that one is expected a kill comes; the worker's next turn ends it."""
    with db.database.connection_context(), monkeypatch.context() as patch:
        house.enable()
        patch.setattr(KeyStore, "forget_expected_key", killed)
        with pytest.raises(Killed):
            house.disable()
    site.sign_in(page)
    page.goto(f"{site.url}/server/encryption")
    expect(page.locator("main")).to_contain_text("The key file is missing")
    with db.database.connection_context():
        unfinished.resume(house.vault)
    expect(page.locator("main")).to_contain_text("Encryption is off")
    expect(page.locator("main")).not_to_contain_text("The key file is missing")


def test_every_other_page(site: Site, house: House, page: Page, axe: CheckAxe) -> None:
    with db.database.connection_context():
        inconsistent(house)
        uuids = [uuid for (uuid,) in house.sql("SELECT account_id FROM endpoint ORDER BY id")]
    site.sign_in(page, "admin")
    paths = [
        "/accounts",
        "/accounts/new",
        "/people",
        "/people/new",
        "/people/1",
        "/activity",
        "/profile",
        "/status",
        "/confirm",
        "/nowhere",
        "/server/restored",
    ]
    paths += [
        f"/accounts/{uuid}{end}"
        for uuid in uuids
        for end in ("", "/edit", "/remove", "/sending", "/submission")
    ]
    for path in paths:
        page.goto(site.url + path)
        expect(page.locator("h1")).to_have_count(1)
        axe(page)
    page.goto(f"{site.url}/accounts/new")
    page.get_by_role("button", name="Add mailbox").click()
    expect(page.get_by_text("There is a problem")).to_be_visible()
    axe(page)


def no_mailbox(house: House) -> None:
    house.sql("DELETE FROM account")


def good(house: House) -> None:
    house.enable()
    heartbeat.beat()  # as the worker's
    house.prove()
    verification.run_and_note(house.vault)
    spool.store(spool.count(house.settings.mail_spool))
    for account in Account.select():
        fine = {
            "last_success_at": db.now(),
            "problem": None,
            "remedy": None,
            "failures": 0,
            "next_due_at": db.now() + 40_000,
            "waits": 86_400,
        }
        Collection.insert(account=account, **fine).on_conflict(
            conflict_target=[Collection.account], update=fine
        ).execute()


def trouble(house: House) -> None:
    good(house)
    failing, left = Account.select()
    Collection.update(problem="The server says no.").where(Collection.account == failing).execute()
    SpoolCount.insert(
        account=left, unread=1234, oldest_at=db.now() - 5 * 86400, counted_at=db.now()
    ).on_conflict_replace().execute()
    heartbeat.ProxyWatch().see(["X-Forwarded-For"], "10.0.0.2")
    (house.data / "secret-key").chmod(0o644)


def restored(house: House) -> None:
    good(house)
    InstallCopy.update(copy_id=None, backup_made_at=db.now()).execute()


OVERVIEWS: dict[str, tuple[Callable[[House], None], str, str]] = {
    "no mailbox": (no_mailbox, "Add the first one", "No mailboxes yet"),
    "good": (good, "checks passed", "Mailboxes"),
    "trouble": (trouble, "4 causes", "Needs attention"),
    "key-missing": (missing, "The encryption key file is missing.", "No mail is collected"),
    "restored": (restored, "The database was restored from a backup.", "Collecting is paused"),
}


@pytest.mark.parametrize("state", OVERVIEWS)
def test_every_state_of_the_overview_and_of_the_status_page(
    site: Site, house: House, page: Page, axe: CheckAxe, state: str
) -> None:
    make, for_admins, for_agents = OVERVIEWS[state]
    with db.database.connection_context():
        make(house)
    site.sign_in(page, "admin")
    expect(page.locator("h1")).to_have_text("Overview")
    expect(page.locator("main")).to_contain_text(for_admins)
    axe(page)
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(re.compile("/login"))
    site.sign_in(page, "agent")
    page.wait_for_url("**/status")
    expect(page.locator("main")).to_contain_text(for_agents)
    axe(page)


def test_the_question_of_a_restored_copy(site: Site, house: House, page: Page, axe: CheckAxe) -> None:
    with db.database.connection_context():
        restored(house)
    site.sign_in(page, "admin")
    page.get_by_role("link", name="Confirm that the original is switched off").click()
    axe(page)
    page.get_by_role("button", name="Yes, collect here from now on").click()
    expect(page.locator("main")).to_contain_text("Mail is collected here from now on.")
    expect(page.get_by_text("This is a restored copy")).to_have_count(0)


def test_the_overview_tells_by_itself_what_has_changed_and_keeps_the_focus(
    running: House, page: Page, panel_server: PanelServer
) -> None:
    with db.database.connection_context():
        good(running)
    sign_in(page, panel_server.url)
    expect(page.locator("main")).to_contain_text("checks passed")
    page.get_by_role("link", name="Activity").focus()
    running.key_file.unlink()
    expect(page.locator("main")).to_contain_text("The encryption key file is missing.")
    expect(page.get_by_role("link", name="Activity")).to_be_focused()


def test_the_pages_of_a_user_and_of_nobody(site: Site, page: Page, axe: CheckAxe) -> None:
    for path in ("/login", "/setup", "/nowhere"):
        page.goto(site.url + path)
        axe(page)
    site.sign_in(page, "user")
    for path in ("/", "/accounts", "/profile"):
        page.goto(site.url + path)
        axe(page)
