"""The main job on real parts: a browser, the real server, a real Dovecot, from an empty directory to sealed mail.

The same journey with and without JavaScript; axe looks at every page and state on the way.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.fixtures import CheckAxe, watched
from tests.running import WAIT_SECONDS, Environ, PanelServer, find_marker, shapes_of
from tests.servers.dovecot import DovecotServer

pytestmark = [pytest.mark.browser, pytest.mark.dovecot]

ADMIN, OWN_PASSWORD = "dana@example.org", "correct horse battery staple"
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(environ: Environ, dovecot: DovecotServer) -> Environ:
    """This install may reach the test's Dovecot and trusts its CA."""
    ports = f"{dovecot.tls_port},{dovecot.starttls_port}"
    return environ | {"PANEL_MAIL_PORTS": ports, "PANEL_MAIL_CA_FILE": str(dovecot.ca_file)}


class Journey:
    """One person in front of one browser."""

    def __init__(
        self, page: Page, server: PanelServer, dovecot: DovecotServer, axe: CheckAxe, scripts: bool
    ) -> None:
        self.page, self.server, self.dovecot, self.axe, self.scripts = page, server, dovecot, axe, scripts
        self.user = f"support-{uuid.uuid4().hex[:8]}@example.org"
        self.authorization_file = f" MARKER-{uuid.uuid4().hex} ü'\"\\%s "
        dovecot.add_user(self.user, self.authorization_file)

    def go(self, path: str) -> None:
        self.page.goto(self.server.url + path)

    def press(self, words: str) -> None:
        self.page.get_by_role("button", name=words).click()

    def until(self, words: str) -> None:
        """Wait for words: by itself where scripts run, by reloading where they do not."""
        if self.scripts:
            expect(self.page.locator("main")).to_contain_text(words)
            return
        deadline = time.monotonic() + WAIT_SECONDS
        while words not in self.page.locator("main").inner_text():
            assert time.monotonic() < deadline, (
                f"never saw {words!r}: {self.page.locator('main').inner_text()}"
            )
            time.sleep(0.3)
            self.page.goto(self.page.url)

    def set_up(self) -> None:
        token = (self.server.data_dir / "setup-token").read_text().strip()
        assert token in self.server.log
        self.go(f"/setup/{token}")
        assert token not in self.page.url
        self.axe(self.page)
        self.page.get_by_label("Your name").fill("Dana")
        self.page.get_by_label("Email address").fill(ADMIN)
        for field in self.page.locator("input[type=password]").all():
            field.fill(OWN_PASSWORD)
        self.press("Create administrator")
        self.page.wait_for_url("**/server/encryption")
        self.press("Set up later")
        self.page.wait_for_url("**/accounts/new")
        self.press("Set up later")
        expect(self.page.get_by_role("heading", name="Overview")).to_be_visible()

    def fill_account(self, password: str) -> None:
        self.page.get_by_label("Email address").fill(self.user)
        self.page.get_by_label("Mail server", exact=True).fill("localhost")
        self.page.get_by_label("Port", exact=True).fill(str(self.dovecot.tls_port))
        self.page.locator("#password").fill(password)

    def test_and_add_account(self) -> None:
        self.go("/accounts")
        expect(self.page.get_by_role("heading", name="No mailboxes yet")).to_be_visible()
        self.axe(self.page)
        self.page.get_by_role("link", name="Add mailbox").first.click()
        self.axe(self.page)
        self.fill_account("wrong password")
        self.press("Test connection")
        expect(self.page.locator(".steps .bad strong")).to_have_text("Sign in")
        assert self.page.locator(".steps .bad").count() == 1
        self.axe(self.page)
        self.go("/accounts/new")
        self.fill_account(self.authorization_file)
        self.page.get_by_label("All mail").check()
        self.press("Test connection")
        steps = ["DNS", "Connect", "TLS", "Sign in", "Folder"]
        expect(self.page.locator(".steps li strong")).to_have_text(steps)
        assert self.page.locator(".steps .bad").count() == 0
        if not self.scripts:
            self.go("/accounts/new")
            self.fill_account(self.authorization_file)
            self.page.get_by_label("All mail").check()
        self.press("Add mailbox")
        self.page.wait_for_url(re.compile("/accounts/[0-9a-f-]{36}"))
        self.until(self.user)

    def collect_now(self) -> None:
        """Have the worker of the running server collect, and wait until the page says what that brought.

        Until then a round runs, which may still deliver, and a page that goes on by itself.
        """
        self.go("/accounts")
        self.page.get_by_role("link", name=self.user, exact=True).click()
        self.press("Collect now")
        self.until("Collected:")

    def collected(self, count: int) -> None:
        """Wait until `count` messages have been delivered into the Maildir."""
        deadline = time.monotonic() + 90
        while len(list((self.server.data_dir / "mail").glob("*/new/*"))) < count:
            assert time.monotonic() < deadline, self.server.log
            time.sleep(0.2)

    def turn_on(self) -> None:
        self.go("/server/encryption")
        self.axe(self.page)
        before = self.files()
        for boxes in ((), ("I understand that losing",), ("I have prepared",)):
            self.go("/server/encryption")
            for box in boxes:
                self.page.get_by_label(box).check()
            with self.page.expect_response("**/enable") as answer:
                self.press("Generate Key File & Enable Encryption")
            assert answer.value.status == 422
            expect(self.page.get_by_text("There is a problem")).to_be_visible()
            assert self.page.locator(".check.wrong").count() == 2 - len(boxes)
            assert self.files() == before
            self.axe(self.page)
        self.page.get_by_label("I understand that losing").check()
        self.page.get_by_label("I have prepared").check()
        self.press("Generate Key File & Enable Encryption")
        self.until("Encryption is on")
        self.axe(self.page)

    def files(self) -> set[str]:
        return {path.name for path in self.server.data_dir.iterdir() if path.name.startswith(("enc", "can-"))}

    def turn_off(self) -> None:
        self.go("/server/encryption")
        assert self.page.locator("#off-code").count() == 0, "only opening it makes a code"
        self.go("/server/encryption/off")
        command = self.page.locator("#off-code").inner_text()
        self.press("Turn off encryption")
        expect(self.page.get_by_text("is not there yet")).to_be_visible()
        subprocess.run(["sh", "-c", command], check=True)
        self.go("/server/encryption/off")
        self.press("Turn off encryption")
        self.until("Before you start")


@pytest.fixture(params=["with scripts", "without scripts"])
def journey(
    request: pytest.FixtureRequest,
    browser: Browser,
    panel_server: PanelServer,
    dovecot: DovecotServer,
    axe: CheckAxe,
    tmp_path: Path,
) -> Iterator[Journey]:
    """The journey; afterwards every answer that the browser got is searched for the password.

    Chromium records no event streams: tests/accounts/test_pages.py looks into those of the live test.
    """
    scripts = request.param == "with scripts"
    recorded = tmp_path / "answers.har"
    context = browser.new_context(
        java_script_enabled=scripts, record_har_path=recorded, record_har_content="embed"
    )
    check = axe if scripts else lambda page: None  # axe is a script
    for page in watched(context):  # closes it
        journey = Journey(page, panel_server, dovecot, check, scripts)
        yield journey
    answers = bodies(recorded)
    assert len(answers) > 30 and any("There is a problem" in answer for answer in answers)
    assert not [
        answer
        for answer in answers
        if any(s.decode() in answer for s in shapes_of(journey.authorization_file))
    ]


def bodies(recorded: Path) -> list[str]:
    """The bodies of all answers in a HAR file; it holds what was sent too, which is not looked at."""
    contents = [e["response"]["content"] for e in json.loads(recorded.read_text("utf-8"))["log"]["entries"]]
    texts = [content.get("text", "") for content in contents]
    return [
        base64.b64decode(text).decode("utf-8", "replace") if content.get("encoding") == "base64" else text
        for content, text in zip(contents, texts, strict=True)
    ]


def message(number: int) -> bytes:
    return f"From: a@example.org\r\nSubject: number {number}\r\n\r\nHello {number}\r\n".encode()


def test_from_an_empty_directory_to_sealed_and_collected_mail_and_back(journey: Journey, cli: Cli) -> None:
    server, data = journey.server, journey.server.data_dir
    for number in range(3):
        journey.dovecot.deliver(journey.user, message(number))
    journey.set_up()
    journey.test_and_add_account()
    journey.collected(3)
    assert find_marker(data, journey.authorization_file)

    journey.turn_on()
    assert find_marker(data, journey.authorization_file) == []
    journey.dovecot.deliver(journey.user, message(3))
    journey.collect_now()
    journey.collected(4)
    journey.go("/accounts")
    expect(journey.page.get_by_text("Encrypted")).to_be_visible()
    journey.axe(journey.page)

    journey.page.goto("about:blank")  # a list left open asks by itself, also while nobody answers
    server.restart()
    journey.dovecot.deliver(journey.user, message(4))
    journey.collect_now()
    journey.collected(5)

    key = data / "encryption-key.bin"
    key.rename(data / "away.bin")
    journey.dovecot.deliver(journey.user, message(5))
    paused = cli("collect", "--once", "--account", journey.user)
    assert paused.returncode != 0
    assert "missing" in paused.stdout + paused.stderr
    for path in ("/accounts", "/server/encryption"):
        journey.go(path)
        expect(journey.page.get_by_text("Collecting mail is paused").first).to_be_visible()
    expect(journey.page.get_by_role("heading", name="The key file is missing")).to_be_visible()
    journey.axe(journey.page)
    assert len(list((data / "mail").glob("*/new/*"))) == 5
    (data / "away.bin").rename(key)
    journey.collected(6)  # by itself

    journey.turn_off()
    assert not key.exists()
    journey.dovecot.deliver(journey.user, message(6))
    journey.collect_now()
    journey.collected(7)

    texts = [path.read_bytes() for path in (data / "mail").glob("*/new/*")]
    assert sorted(texts) == [message(n) for n in range(7)]
    log = server.log
    assert not [shape for shape in shapes_of(journey.authorization_file) if shape in log.encode()]
    assert "Traceback" not in log


def test_a_keyboard_alone_can_turn_encryption_on(
    panel_server: PanelServer, page: Page, dovecot: DovecotServer, axe: CheckAxe
) -> None:
    journey = Journey(page, panel_server, dovecot, axe, True)
    journey.set_up()
    journey.go("/server/encryption")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("main").get_by_role("link", name="Help", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("I understand that losing")).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".problem")).to_be_focused()
    page.get_by_label("I have prepared").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    journey.until("Encryption is on")


def test_what_the_manual_tells_to_type_proves_the_backup(
    panel_server: PanelServer, page: Page, dovecot: DovecotServer, axe: CheckAxe, tmp_path: Path
) -> None:
    journey = Journey(page, panel_server, dovecot, axe, True)
    journey.set_up()
    journey.turn_on()
    copy = tmp_path / "copy of the key.bin"
    copy.write_bytes((panel_server.data_dir / "encryption-key.bin").read_bytes())
    command = page.locator("#check-key").inner_text().replace("/safe/encryption-key.bin", f"'{copy}'")
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    page.get_by_label("Output of the command").fill(printed)
    page.get_by_role("button", name="Verify backup").click()
    journey.until("Backup verified.")
