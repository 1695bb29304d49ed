"""Server > Encryption, Alerts and Activity in a real browser: what opens, what moves, with and without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from panel import db
from panel.alerts import alert_log, conditions
from panel.audit import Actor, record
from panel.encryption.leftovers import scan
from panel.vault import turn_on, unfinished, verification
from tests.alerts.conftest import fail
from tests.browser.fixtures import CheckAxe
from tests.browser.served import Site, served
from tests.encryption import kinds
from tests.installs import BOTH

pytestmark = pytest.mark.browser
CODE = re.compile(r"echo [0-9a-f]+ [0-9a-f]+ >")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path, PANEL_CONTACT="Dana, extension 17") as site:
        yield site


def test_turning_on_verifying_and_opening_the_danger_zone(site: Site, page: Page, axe: CheckAxe) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/server/encryption")
    axe(page)
    with db.database.connection_context():
        turn_on.turn_on(site.house.vault, BOTH, Actor("ada@example.org"))
    page.goto(f"{site.url}/server/encryption")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "0")
    axe(page)
    with db.database.connection_context():
        unfinished.resume(site.house.vault)
        scan.finish_report(site.house.vault, site.house.settings)
    expect(page.locator(".hero.warn h2")).to_have_text("Encryption is on")  # by itself
    axe(page)
    assert not CODE.search(page.content())
    page.locator("#off > summary").click()
    expect(page.locator("#off-code")).to_be_visible()
    assert CODE.search(page.locator("#off-code").inner_text())
    axe(page)
    page.get_by_role("button", name="Turn off encryption").click()
    expect(page.locator("#off .problem")).to_contain_text("is not there yet")
    expect(page.locator("#off .problem")).to_be_in_viewport()
    axe(page)
    with db.database.connection_context():
        site.house.prove()
    page.goto(f"{site.url}/server/encryption")
    expect(page.locator(".hero.good h2")).to_have_text("Encryption is on")
    page.locator("#backup > summary").click()
    expect(page.get_by_role("button", name="Verify backup")).to_be_visible()
    axe(page)
    with db.database.connection_context():
        site.house.rotate()
    for path in ("", "/rotate", "/prune", "/passwords"):
        page.goto(f"{site.url}/server/encryption{path}")
        axe(page)
    site.house.key_file.unlink()
    page.goto(f"{site.url}/server/encryption")
    expect(page.locator(".hero.bad h2")).to_have_text("The key file is missing")
    axe(page)


def test_what_keeps_encryption_on_is_named_with_links(site: Site, page: Page, axe: CheckAxe) -> None:
    with db.database.connection_context():
        site.house.enable()
        stored = kinds.add_all()
    site.sign_in(page)
    page.goto(f"{site.url}/server/encryption")
    expect(page.locator(".hero")).to_contain_text("1 sign-in token")
    axe(page)
    page.locator("#off > summary").click()
    expect(page.locator("#off-steps")).to_contain_text("kind-token-one@example.org: a consent")
    expect(page.get_by_role("button", name="Turn off encryption")).to_have_count(0)
    axe(page)
    page.get_by_role("link", name="kind-consent-one@example.org").click()
    expect(page).to_have_url(re.compile(r"/accounts/[0-9a-f-]{36}"))
    with db.database.connection_context():
        site.house.sql("UPDATE consent SET subject = 'other'")
        site.house.sql("UPDATE oauth_app SET client_id = 'other'")
        assert len(verification.run(site.house.vault).failures) == 2
        assert stored["a password"].opened(site.house)
    page.goto(f"{site.url}/server/encryption")
    expect(page.locator(".hero.bad h2")).to_have_text("2 of 9 secrets cannot be decrypted")
    axe(page)


def test_an_agent_reads_the_state(site: Site, page: Page, axe: CheckAxe) -> None:
    with db.database.connection_context():
        site.house.enable()
    site.sign_in(page, "agent")
    page.goto(f"{site.url}/server/encryption")
    expect(page.locator("main")).to_contain_text("Dana, extension 17")
    axe(page)


def test_without_scripts_a_link_shows_the_code(site: Site, page_without_scripts: Page) -> None:
    page = page_without_scripts
    with db.database.connection_context():
        site.house.enable()
    site.sign_in(page)
    page.goto(f"{site.url}/server/encryption")
    page.locator("#off > summary").click()
    page.get_by_role("link", name="Show the code").click()
    expect(page.locator("#off-code")).to_be_visible()
    assert CODE.search(page.locator("#off-code").inner_text())
    expect(page.locator("#off")).to_have_attribute("open", "")


def test_alerts_and_activity(site: Site, page: Page, axe: CheckAxe) -> None:
    with db.database.connection_context():
        for _ in range(3):
            fail(
                site.house.add().account,
                "imap.example.org refused the connection on this port.",
                db.now() - 7200,
            )
        fail(site.house.add().account, "The server refused the password.", db.now() - 90_000)
        alert_log.update(conditions.found(site.house.vault))
        alert_log.mute(alert_log.open_alerts()[1].id, Actor("ada@example.org"))
        record(
            "mailbox added",
            "support@example.org",
            "imap.example.org:993, TLS",
            who="ada@example.org",
            address="198.51.100.23",
        )
    site.sign_in(page)
    page.goto(f"{site.url}/server/alerts")
    expect(page.locator("main")).to_contain_text("3 mailboxes: imap.example.org refused the connection")
    axe(page)
    page.get_by_role("button", name=re.compile("^Mute for a day")).click()
    expect(page.get_by_text("Muted for a day.")).to_be_visible()
    page.get_by_label("Mailbox failing (minutes)").fill("3")
    page.get_by_role("button", name="Save thresholds").click()
    expect(page.locator(".field.wrong")).to_contain_text("Enter a number from 5 to 1,440.")
    axe(page)
    page.goto(f"{site.url}/activity")
    expect(page.locator("main")).to_contain_text("Today, ")
    axe(page)
    page.goto(f"{site.url}/activity?text=nothing-of-that-name")
    axe(page)
