"""The harness itself: it must be able to fail."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.browser.fixtures import CheckAxe

pytestmark = pytest.mark.browser

GOOD = '<!doctype html><html lang="en"><title>T</title><main><h1>Hello</h1></main></html>'
BAD = '<!doctype html><html lang="en"><title>T</title><main><h1>Hello</h1><img src="data:,"></main></html>'


class _Pages(http.server.BaseHTTPRequestHandler):
    """Serves the two pages under the panel's kind of policy, and what is never there before the server ends."""

    ended: threading.Event

    def do_GET(self) -> None:
        if self.path == "/late.png":
            self.ended.wait(60)
            return
        body = (BAD if self.path == "/bad" else GOOD).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Security-Policy", "default-src 'self'; img-src data: 'self'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    _Pages.ended = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    _Pages.ended.set()
    server.shutdown()
    server.server_close()


def test_axe_passes_a_good_page_under_a_strict_policy(page: Page, site: str, axe: CheckAxe) -> None:
    page.goto(site)
    axe(page)


def test_axe_fails_a_page_with_an_image_that_has_no_text(page: Page, site: str, axe: CheckAxe) -> None:
    page.goto(f"{site}/bad")
    with pytest.raises(AssertionError, match="image-alt"):
        axe(page)


def test_a_page_may_still_load_when_its_test_and_then_its_server_ends(page: Page, site: str) -> None:
    """`page` begins before the server, so the server ends first: nothing of that is the page's fault."""
    page.goto(site)
    with page.expect_request("**/late.png"):
        page.evaluate("new Image().src = '/late.png'")


def test_the_browser_reaches_no_other_machine(page: Page) -> None:
    with pytest.raises(Exception, match="ERR_NAME_NOT_RESOLVED"):
        page.goto("http://example.org/")
