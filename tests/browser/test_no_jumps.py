"""Promises of what htmx replaces: nothing jumps, and focus, typed text and the place on the page are kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from panel import db
from panel.accounts import probe, suggest
from panel.accounts.suggest import Suggestion
from panel.audit import Actor
from panel.mail.providers import WITHOUT_PASSWORDS
from panel.mail.server import MailServer
from panel.mail.session import ProbeStep
from panel.models import Account, Collection
from panel.vault import turn_on, unfinished
from tests.browser.conftest import Open
from tests.browser.fixtures import NARROW
from tests.browser.served import Site
from tests.installs import BOTH
from tests.running import wait_until

pytestmark = pytest.mark.browser

WATCH = """() => {
  window.jumps = [];
  new PerformanceObserver((list) => {
    for (const jump of list.getEntries())
      for (const { node, previousRect, currentRect } of jump.sources)
        window.jumps.push(`${previousRect.y} → ${currentRect.y}: ${(node?.outerHTML ?? node?.textContent ?? "").slice(0, 120)}`);
  }).observe({ type: "layout-shift" });
}"""
POLL = """async (selector) => {
  const part = document.querySelector(selector);
  await htmx.ajax("GET", part.getAttribute("hx-get"), { target: part, swap: part.getAttribute("hx-swap") });
}"""
WIDE = {"width": 1280, "height": 800}


def jumps(page: Page) -> list[str]:
    """What has moved since `WATCH`, once the page is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
    found: list[str] = page.evaluate("window.jumps")
    return found


def has_moved_down(jump: str) -> bool:
    """Whether more moved than a word beside another one in its row."""
    before, _, after = jump.partition(":")[0].partition(" → ")
    return before != after


def at_rest(page: Page) -> None:
    """Wait until the browser no longer puts a move down to the last click."""
    page.wait_for_timeout(550)


def test_this_very_measure_notices_a_jump(open_as: Open) -> None:
    page = open_as("admin", "/accounts")
    page.evaluate(WATCH)
    jumps(page)  # drawn once: what was never seen does not jump
    page.evaluate("document.querySelector('h1').insertAdjacentHTML('beforebegin', '<p>Something new</p>')")
    wait_until(lambda: any("Mailboxes" in jump for jump in jumps(page)), "the jump")


def collected(ago: int = 0) -> None:
    """Every mailbox was collected so many seconds ago."""
    for account in Account.select():
        Collection.insert(account=account, last_success_at=db.now() - ago).on_conflict_replace().execute()


@pytest.mark.parametrize(("role", "path", "part"), [
    ("admin", "/", "#overview"), ("admin", "/accounts", "#list"), ("agent", "/status", "#status"),
])  # fmt: skip
def test_a_page_that_looks_again_by_itself_moves_nothing_and_keeps_focus_and_place(
    site: Site, open_as: Open, role: str, path: str, part: str
) -> None:
    with db.database.connection_context():
        collected()
    page = open_as(role, path, viewport={"width": 600, "height": 300})
    inside = page.locator("#list td.main a" if part == "#list" else f"{part} a[href], {part} button").last
    if role == "admin":
        inside.focus()
    page.evaluate("window.scrollTo(0, 120)")
    top = page.evaluate("scrollY")
    page.evaluate(WATCH)
    with db.database.connection_context():
        collected(ago=125)
        if part == "#list":
            Account.update(paused_at=db.now()).execute()
    page.evaluate(POLL, "#poll" if part == "#list" else part)
    expect(page.locator(part)).to_contain_text("Paused" if part == "#list" else "2 min ago")
    with db.database.connection_context():
        Account.update(paused_at=None).execute()
    assert [jump for jump in jumps(page) if has_moved_down(jump)] == []
    assert page.evaluate("scrollY") == top
    if role == "admin":
        expect(inside).to_be_focused()


# -- the live test ----------------------------------------------------------------------


class Slow:
    """A mail server's steps, one at each `step()`."""

    def __init__(self, *steps: ProbeStep) -> None:
        self._steps, self._go = steps, threading.Semaphore(0)

    def run(self, *_arguments: Any) -> Iterator[ProbeStep]:
        for step in self._steps:
            assert self._go.acquire(timeout=120)
            yield step

    def step(self) -> None:
        self._go.release()


GOOD = [
    ProbeStep("name", True, 0.1, "imap.example.org is 192.0.2.7."),
    ProbeStep("connect", True, 0.1, "imap.example.org answers on port 993."),
    ProbeStep("tls", True, 0.1, "Encrypted with TLSv1.3, and the certificate is valid for imap.example.org."),
    ProbeStep("login", True, 0.1, "Signed in as 0@example.org."),
    ProbeStep("folder", True, 0.1, "INBOX holds 1234 messages."),
]
REFUSED = ProbeStep(
    "login", False, 0.1,
    "imap.example.org refused the username or password. It says: [AUTHENTICATIONFAILED] Authentication failed.",
    "Enter the new password, and check the username. Some providers require an app password.",
)  # fmt: skip


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("steps", [GOOD, [*GOOD[:3], REFUSED]], ids=["it works", "it is refused"])
def test_the_steps_of_a_test_move_nothing_as_they_come(
    site: Site, open_as: Open, monkeypatch: pytest.MonkeyPatch, steps: list[ProbeStep], size: dict[str, int]
) -> None:
    slow = Slow(*steps)
    monkeypatch.setattr(probe, "run", slow.run)
    with db.database.connection_context():
        uuid = Account.get(Account.address == "0@example.org").uuid
    page = open_as("admin", f"/accounts/{uuid}", viewport=size)
    button = page.get_by_role("button", name="Test", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#test")).to_contain_text("Testing")
    for name in ("DNS", "Connect", "TLS", "Sign in", "Folder"):
        expect(page.locator("#test")).to_contain_text(name)
    at_rest(page)
    below = page.get_by_role("heading", name="Connection", exact=True)
    was = below.bounding_box()
    page.evaluate(WATCH)
    for step in steps:
        slow.step()
        expect(page.locator("#test")).to_contain_text(step.message)
    expect(page.locator("#test")).to_contain_text("Test passed" if steps[-1].ok else "Test failed")
    outside = [jump for jump in jumps(page) if "steps" not in jump and 'class="badge' not in jump]
    assert below.bounding_box() == was, outside
    expect(button).to_be_focused()
    expect(button).not_to_have_attribute("aria-busy", "true")


# -- settings that are found ------------------------------------------------------------


LONGEST = max(WITHOUT_PASSWORDS.values(), key=len)


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_found_settings_move_nothing_and_leave_what_is_being_typed(
    site: Site, open_as: Open, monkeypatch: pytest.MonkeyPatch, size: dict[str, int]
) -> None:
    found = Suggestion(LONGEST, MailServer("imap", "imap.example.org", 143, "starttls", "found@example.org"))
    monkeypatch.setattr(suggest, "suggest", lambda *_: found)
    page = open_as("admin", "/accounts/new", viewport=size)
    page.get_by_label("Email address").fill("x@example.org")
    with site.gate.shut():
        page.get_by_role("button", name="Find settings").click()
        page.get_by_label("Username", exact=True).press_sequentially("typed meanwhile")
        page.keyboard.press("ArrowLeft")
        at_rest(page)
        page.evaluate(WATCH)
    expect(page.get_by_label("Mail server", exact=True)).to_have_value("imap.example.org")
    expect(page.locator("#found")).to_contain_text(LONGEST)
    assert jumps(page) == []
    username = page.get_by_label("Username", exact=True)
    expect(username).to_be_focused()
    page.keyboard.type("!")
    expect(username).to_have_value("typed meanwhil!e")


# -- encryption at work -----------------------------------------------------------------


def test_the_page_of_encryption_at_work_moves_nothing_while_it_counts(site: Site, open_as: Open) -> None:
    with db.database.connection_context():
        turn_on.turn_on(site.house.vault, BOTH, Actor())
    page = open_as("admin", "/server/encryption")
    expect(page.locator("main")).to_contain_text("0 of 2 passwords")
    status = page.locator(".hero")
    tops = [status.bounding_box(), page.locator("h1").bounding_box()]
    page.get_by_role("button", name="Resume").focus()
    page.evaluate(WATCH)
    with page.expect_response("**/server/encryption*"):
        pass  # it looked again by itself
    assert jumps(page) == []
    expect(page.get_by_role("button", name="Resume")).to_be_focused()
    with db.database.connection_context():
        unfinished.resume(site.house.vault)
    expect(page.locator("main")).to_contain_text("Encryption is on")
    after = [status.bounding_box(), page.locator("h1").bounding_box()]
    assert [box and (box["x"], box["y"]) for box in after] == [box and (box["x"], box["y"]) for box in tops]
    expect(page.locator("[role=status]", has_text="On").first).to_be_visible()


# -- slow answers -----------------------------------------------------------------------


# While a page is being left, Playwright asks it nothing; so the page itself tells.
TELL_WHEN_BUSY = """() => {
  const looking = setInterval(() => {
    const words = document.getElementById("working"), said = words.innerText.startsWith("Working") && words.checkVisibility();
    if (document.activeElement.ariaBusy === "true" && said) { clearInterval(looking); fetch("/healthz"); }
  }, 50);
}"""


def test_a_pressed_button_says_that_it_works_keeps_the_focus_and_sends_once(
    site: Site, open_as: Open
) -> None:
    page = open_as("admin", "/people/new")
    page.get_by_label("Name").fill("Grace")
    button = page.get_by_role("button", name="Add person")
    with site.gate.shut():
        page.evaluate(TELL_WHEN_BUSY)
        button.dblclick()
        wait_until(lambda: site.gate.asked["GET /healthz"], "the focused button to say that it works")
        page.keyboard.press("Enter")  # once more, when the first one is on its way
    expect(page.get_by_text("There is a problem")).to_be_visible()
    assert site.gate.asked["POST /people/new"] == 1
    expect(page.get_by_label("Name")).to_have_value("Grace")


def test_a_button_of_htmx_sends_once_too_and_may_be_pressed_again_after_the_answer(
    site: Site, open_as: Open
) -> None:
    page = open_as("admin", "/accounts/new")
    button = page.get_by_role("button", name="Find settings")
    before = site.gate.asked["POST /accounts/suggest"]
    with site.gate.shut():
        button.dblclick()
        expect(button).to_have_attribute("aria-busy", "true")
        expect(page.get_by_role("status").filter(has_text="Working")).to_be_visible()
    expect(button).not_to_have_attribute("aria-busy", "true")
    expect(page.get_by_role("status").filter(has_text="Working")).to_have_count(0)
    assert site.gate.asked["POST /accounts/suggest"] == before + 1
    with page.expect_response("**/accounts/suggest"):
        button.click()


def test_a_command_to_copy_keeps_its_button_when_the_page_updates(open_as: Open) -> None:
    command = "sudo chown root /srv/secrets/mailbox"
    with db.database.connection_context():
        first = Account.select().first()
        failing = {"problem": "The secret belongs to another user.", "failing_since": db.now() - 9000}
        row = {"account": first, "remedy": f"Run: {command}", "failures": 3, **failing}
        Collection.insert(**row).on_conflict_replace().execute()
    try:
        page = open_as("admin", f"/accounts/{first.uuid}")
        box = page.locator("#state .command", has_text=command)
        copy = box.get_by_role("button", name="Copy")
        copy.focus()
        with db.database.connection_context():
            Collection.update(last_success_at=db.now() - 9000).execute()
        page.evaluate(POLL, "#state")
        expect(page.locator("#state")).to_contain_text("Last collected")
        expect(copy).to_be_focused()
        expect(box.locator("pre")).to_have_text(command)
    finally:
        with db.database.connection_context():
            Collection.delete().execute()
