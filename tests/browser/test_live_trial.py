"""The live test of a mail server shows its steps as they happen, not when all is over."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.fixtures import CheckAxe
from tests.running import Environ, PanelServer
from tests.servers.certificates import Authority
from tests.servers.hostile import ScriptedServer, Talk, greet, serve_folder
from tests.sign_in.browser import PASSWORD

pytestmark = pytest.mark.browser


class SlowServer:
    """An IMAP server that answers the login only when it is told to."""

    def __init__(self, certificates: Authority) -> None:
        self.go_on = threading.Event()
        self.server = ScriptedServer(self._script, certificates.good())

    def _script(self, talk: Talk) -> None:
        greet(talk)
        tag, _ = talk.command()
        self.go_on.wait(30)
        talk.send(tag + b" OK logged in\r\n")
        serve_folder(talk)


@pytest.fixture
def slow(certificates: Authority) -> Iterator[SlowServer]:
    slow = SlowServer(certificates)
    yield slow
    slow.go_on.set()
    slow.server.stop()


@pytest.fixture
def environ(environ: Environ, slow: SlowServer, certificates: Authority) -> Environ:
    return environ | {
        "PANEL_MAIL_PORTS": str(slow.server.port),
        "PANEL_MAIL_CA_FILE": str(certificates.ca_file),
    }


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_steps_before_a_slow_login_are_there_while_it_is_waited_for(
    panel_server: PanelServer, slow: SlowServer, request: pytest.FixtureRequest, axe: CheckAxe, scripts: bool
) -> None:
    page: Page = request.getfixturevalue("page" if scripts else "page_without_scripts")
    page.goto(f"{panel_server.url}/setup/{(panel_server.data_dir / 'setup-token').read_text().strip()}")
    page.get_by_label("Your name").fill("Dana")
    page.get_by_label("E-mail address").fill("dana@example.org")
    for field in page.locator("input[type=password]").all():
        field.fill(PASSWORD)
    page.get_by_role("button", name="Create administrator").click()
    page.goto(f"{panel_server.url}/accounts/new")
    page.get_by_label("E-mail address").fill("slow@example.org")
    page.get_by_label("Mail server").fill("localhost")
    page.get_by_label("Port").fill(str(slow.server.port))
    page.locator("#password").fill("any")
    page.get_by_role("button", name="Test the connection").click(no_wait_after=True)
    done = page.locator(".steps li.good strong")
    expect(done).to_have_text(["Name", "Connect", "TLS"])
    slow.go_on.set()
    expect(done).to_have_text(["Name", "Connect", "TLS", "Log in", "Folder"])
    if scripts:
        axe(page)
