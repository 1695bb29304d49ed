"""Adding a mailbox in a browser, on a real Dovecot: tested as it is saved, and never left broken in silence."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from panel import db
from panel.accounts import probe, suggest
from panel.accounts.suggest import Suggestion
from panel.mail.server import MailServer
from panel.mail.session import ProbeStep
from panel.models import Account, Collection, Skipped
from tests.browser.fixtures import NARROW, CheckAxe
from tests.browser.served import Site, served
from tests.browser.test_no_jumps import GOOD, Slow
from tests.browser.test_wizard import Hands
from tests.servers.dovecot import DovecotServer

pytestmark = [pytest.mark.browser, pytest.mark.dovecot]

MAILBOX = re.compile("/accounts/[0-9a-f-]{36}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, dovecot: DovecotServer) -> Iterator[Site]:
    ports = f"110,143,465,587,993,995,{dovecot.tls_port},{dovecot.starttls_port}"
    with served(
        tmp_path_factory.mktemp("site"), PANEL_MAIL_PORTS=ports, PANEL_MAIL_CA_FILE=str(dovecot.ca_file)
    ) as site:
        yield site


@pytest.fixture
def form(site: Site, page: Page) -> Page:
    """The empty form, before an administrator with scripts."""
    site.sign_in(page)
    page.goto(f"{site.url}/accounts/new")
    return page


@pytest.fixture
def user(dovecot: DovecotServer) -> str:
    """A mailbox that holds three messages; its password is `right`."""
    name = f"u{uuid.uuid4().hex[:8]}@example.org"
    dovecot.add_user(name, "right")
    for number in range(3):
        dovecot.deliver(name, b"Subject: %d\r\n\r\n" % number)
    return name


def fill(page: Page, dovecot: DovecotServer, user: str, password: str) -> None:
    page.locator("#address").fill(user)
    page.locator("#host").fill("localhost")
    page.locator("#port").fill(str(dovecot.tls_port))
    page.locator("#password").fill(password)


def test_from_address_to_saved_mailbox_in_two_clicks_and_three_fields(
    site: Site, form: Page, dovecot: DovecotServer, user: str, monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    found = Suggestion("Found.", MailServer("imap", "localhost", dovecot.tls_port, "tls", user))
    monkeypatch.setattr(suggest, "suggest", lambda *_: found)
    hands = Hands(form)
    hands.fill("#address", user)
    hands.click("button", "Find settings")
    expect(form.locator("#host")).to_have_value("localhost")
    hands.fill("#password", "right")
    hands.click("button", "Add mailbox")
    form.wait_for_url(MAILBOX)
    expect(form.get_by_role("heading", level=1)).to_have_text(user)
    record_property("shown", f"From address to saved mailbox: {hands.clicks} clicks, {hands.fields} fields.")
    assert (hands.clicks, hands.fields) <= (2, 2)


def test_a_wrong_password_is_shown_beside_the_form_which_keeps_what_was_typed(
    form: Page, dovecot: DovecotServer, user: str, axe: CheckAxe
) -> None:
    fill(form, dovecot, user, "wrong")
    form.get_by_role("button", name="Add mailbox").click()
    expect(form.locator("#test .bad strong")).to_have_text("Sign in")
    expect(form.get_by_role("button", name="Save anyway")).to_be_visible()
    expect(form.locator("#password")).to_have_value("wrong")
    axe(form)
    form.locator("#password").fill("right")
    form.get_by_role("button", name="Add mailbox").click()
    form.wait_for_url(MAILBOX)


def test_save_anyway_saves_at_one_click_without_typing_again(
    form: Page, dovecot: DovecotServer, user: str
) -> None:
    fill(form, dovecot, user, "wrong")
    form.locator("#password").press("Enter")
    form.get_by_role("button", name="Save anyway").click()
    form.wait_for_url(MAILBOX)
    expect(form.get_by_text(f"{user} was added, not tested.")).to_be_visible()


def test_without_scripts_save_anyway_takes_the_password_again(
    site: Site, page_without_scripts: Page, dovecot: DovecotServer, user: str
) -> None:
    page = page_without_scripts
    site.sign_in(page)
    page.goto(f"{site.url}/accounts/new")
    fill(page, dovecot, user, "wrong")
    page.get_by_role("button", name="Add mailbox").click()
    expect(page.locator("#test .bad strong")).to_have_text("Sign in")
    expect(page.locator("#password")).to_have_value("")
    page.get_by_role("button", name="Save anyway").click()
    expect(page.get_by_text("There is a problem")).to_be_visible()
    page.locator("#password").fill("wrong")
    page.get_by_role("button", name="Add mailbox").click()
    page.locator("#password").fill("wrong")
    page.get_by_role("button", name="Save anyway").click()
    page.wait_for_url(MAILBOX)


def test_the_test_says_at_once_what_becomes_of_older_mail(
    form: Page, dovecot: DovecotServer, user: str
) -> None:
    fill(form, dovecot, user, "right")
    form.get_by_role("button", name="Test connection").click()
    expect(form.locator("#test")).to_contain_text("3 older messages stay on the server.")
    form.get_by_label("All mail").check()
    form.get_by_role("button", name="Test connection").click()
    expect(form.locator("#test")).to_contain_text("All 3 messages there are collected.")


def test_the_port_follows_the_choices_until_it_is_typed(form: Page) -> None:
    port = form.locator("#port")
    for protocol, security, usual in (
        ("pop3", "tls", "995"), ("pop3", "starttls", "110"), ("imap", "starttls", "143"), ("imap", "tls", "993"),
    ):  # fmt: skip
        form.locator("#protocol").select_option(protocol)
        form.locator("#security").select_option(security)
        expect(port).to_have_attribute("placeholder", usual)
    port.fill("995")
    form.locator("#security").select_option("starttls")
    expect(port).to_have_value("995")


def test_what_pop3_cannot_do_is_not_offered(form: Page) -> None:
    form.get_by_label("Unread mail").check()
    form.locator("summary", has_text="After collecting").click()
    form.get_by_label("Move it to a folder").check()
    expect(form.get_by_label("Folder to move to")).to_be_visible()
    form.locator("#protocol").select_option("pop3")
    for label in ("Unread mail", "Mark it as read", "Move it to a folder", "Folder", "Folder to move to"):
        expect(form.get_by_label(label, exact=True)).to_be_hidden()
    expect(form.get_by_label("New mail only")).to_be_checked()
    expect(form.get_by_label("Leave it on the server")).to_be_checked()
    form.locator("#protocol").select_option("imap")
    expect(form.get_by_label("Unread mail")).to_be_visible()


def test_found_settings_go_with_their_address_but_not_what_was_typed(
    form: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Suggestion("Found.", MailServer("imap", "imap.one.example", 10143, "starttls", "one"))
    monkeypatch.setattr(suggest, "suggest", lambda *_: found)
    form.locator("#address").fill("one@one.example")
    form.locator("#address").press("Enter")
    expect(form.locator("#host")).to_have_value("imap.one.example")
    form.locator("#username").fill("typed")
    form.locator("#address").fill("two@two.example")
    form.locator("#address").blur()
    expect(form.locator("#host")).to_have_value("")
    expect(form.locator("#port")).to_have_value("")
    expect(form.locator("#username")).to_have_value("typed")
    expect(form.locator("#found")).to_contain_text("another address")


def test_the_tiles_say_honestly_what_each_provider_takes(form: Page, axe: CheckAxe) -> None:
    form.get_by_label("Microsoft 365").check()
    expect(form.get_by_text("Turn on encryption first.")).to_be_visible()
    expect(form.get_by_text("No app is registered")).to_have_count(0)  # what comes first is said first
    for hidden in ("#host", "#password", "#auth", "#secret_name"):
        expect(form.locator(hidden)).to_be_hidden()
    axe(form)
    form.get_by_label("Google").check()
    expect(form.get_by_text("Google takes an app password only.")).to_be_visible()
    expect(form.locator("#host")).to_be_hidden()
    form.get_by_label("OAuth2", exact=True).check()
    expect(form.get_by_text("Turn on encryption first.")).to_be_visible()
    expect(form.locator("#password")).to_be_hidden()
    axe(form)


def test_what_is_missing_is_marked_and_listed_and_the_mark_goes(form: Page) -> None:
    form.get_by_role("button", name="Add mailbox").click()
    expect(form.locator("#test").get_by_text("Enter the email address.")).to_be_visible()
    expect(form.locator("#host")).to_have_attribute("aria-invalid", "true")
    form.get_by_role("link", name="Enter the mail server's name.").click()
    expect(form.locator("#host")).to_be_focused()
    form.keyboard.type("x")
    expect(form.locator("#host")).not_to_have_attribute("aria-invalid", "true")


def test_the_test_stays_in_sight_and_lies_below_the_buttons_where_it_is_narrow(form: Page) -> None:
    form.set_viewport_size({"width": 1280, "height": 500})
    form.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    expect(form.get_by_role("heading", name="Connection test")).to_be_in_viewport()
    form.set_viewport_size(NARROW)  # type: ignore[arg-type]
    below, above = (form.locator(each).bounding_box() for each in ("#test-head", ".button.primary"))
    assert below and above and below["y"] > above["y"]


def test_a_mailbox_collects_at_a_click_and_says_what_came(
    site: Site, form: Page, dovecot: DovecotServer, user: str
) -> None:
    from panel.collect.round import Collector

    fill(form, dovecot, user, "right")
    form.get_by_label("All mail").check()
    form.get_by_role("button", name="Add mailbox").click()
    form.wait_for_url(MAILBOX)
    expect(form.locator("#state")).to_contain_text("Starting")
    with db.database.connection_context():  # as the worker does, which this site has not
        account = Account.get(Account.address == user)
        Collector(site.house.settings, site.house.vault).collect(account.uuid)
    expect(form.get_by_text("Collected: 3 new messages.")).to_be_visible()
    expect(form.locator("#state")).to_contain_text("OK")
    form.get_by_role("button", name="Test", exact=True).click()
    expect(form.locator("#test")).to_contain_text("Test passed")
    form.get_by_role("button", name="Pause").click()
    expect(form.get_by_role("button", name="Resume")).to_be_visible()
    expect(form.locator("#state")).to_contain_text("Paused")


def test_axe_finds_nothing_on_the_pages_of_a_mailbox(site: Site, page: Page, axe: CheckAxe) -> None:
    with db.database.connection_context():
        account = Account.select().order_by(Account.created_at).first()
        now = db.now()
        Collection.insert(
            account=account,
            uidvalidity=1,
            older=1234,
            last_success_at=now - 90,
            next_due_at=now + 40,
            waits=60,
        ).on_conflict_replace().execute()
        Skipped.insert(
            account=account, uidvalidity=1, uid=7, size=99_000_000, reason="Larger than 50 MiB.", at=now
        ).on_conflict_replace().execute()
    site.sign_in(page)
    for end in ("", f"?collecting={now}-0", "/edit", "/sending"):
        page.goto(f"{site.url}/accounts/{account.uuid}{end}")
        axe(page)


def test_adding_ends_a_test_under_way_and_is_done_once(
    form: Page, dovecot: DovecotServer, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [Slow(*GOOD), Slow(*GOOD)]
    begun: list[Slow] = []

    def run(*_arguments: object) -> Iterator[ProbeStep]:
        begun.append(slow[len(begun)])
        return begun[-1].run()

    monkeypatch.setattr(probe, "run", run)
    fill(form, dovecot, user, "right")
    form.get_by_role("button", name="Test connection").click()
    slow[0].step()
    expect(form.locator("#test .good")).to_have_count(1)
    add = form.get_by_role("button", name="Add mailbox")
    add.click()
    expect(form.locator("#test .good")).to_have_count(0)
    add.click(force=True)
    form.get_by_role("button", name="Test connection").click()
    for _ in GOOD:
        slow[1].step()
    form.wait_for_url(MAILBOX)
    assert len(begun) == 2
    for _ in GOOD:
        slow[0].step()
    with db.database.connection_context():
        assert Account.select().where(Account.address == user).count() == 1
