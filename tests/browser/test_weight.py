"""Promise of the first visit: little travels, counted by what a real Chromium receives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Open
from tests.browser.fixtures import watched
from tests.browser.served import Site

pytestmark = pytest.mark.browser

MOST = 60_000  # bytes, headers included
PATHS = (
    "/", "/accounts", "/accounts/new", "/messages", "/server/encryption", "/server/alerts", "/activity", "/people",
    "/server/settings", "/help", "/help/encryption",
)  # fmt: skip
Weights = dict[str, int]


def weigh(page: Page, load: Callable[[], object]) -> Weights:
    """The bytes that come over the wire during `load`, by address, from cache excepted."""
    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    names: dict[str, str] = {}
    weights: Weights = {}
    client.on(
        "Network.responseReceived", lambda event: names.update({event["requestId"]: event["response"]["url"]})
    )

    def finished(event: dict[str, object]) -> None:
        name = names.get(str(event["requestId"]), "?").partition("?")[0]
        weights[name] = weights.get(name, 0) + int(str(event["encodedDataLength"]).partition(".")[0])

    client.on("Network.loadingFinished", finished)
    load()
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready.then(() => true)")
    client.detach()
    return weights


def table(title: str, weights: Weights, site: Site) -> str:
    lines = [
        f"{size:>8,} {name.removeprefix(site.url)}"
        for name, size in sorted(weights.items(), key=lambda w: -w[1])
    ]
    return "\n".join([f"{title}: {sum(weights.values()):,} bytes", *lines])


def test_the_first_page_is_small_and_the_next_one_smaller(
    site: Site, browser: Browser, record_property: Callable[[str, object], None]
) -> None:
    watcher = watched(browser.new_context())
    page = next(watcher)
    first = weigh(page, lambda: page.goto(f"{site.url}/login"))
    again = weigh(page, lambda: page.goto(f"{site.url}/login?next=/people"))
    next(watcher, None)
    record_property("shown", table("first visit of the sign-in page", first, site))
    record_property("shown", table("second visit", again, site))
    assert sum(first.values()) < MOST
    assert [name for name in again if "/static/" in name and again[name]] == []


def test_every_page_after_the_first_is_small(
    site: Site, open_as: Open, record_property: Callable[[str, object], None]
) -> None:
    page = open_as("admin", "/profile")  # whose files are the same
    weights: Weights = {}
    for path in PATHS:
        found = weigh(page, lambda path=path: page.goto(f"{site.url}{path}"))  # type: ignore[misc]
        weights[f"{site.url}{path}"] = sum(found.values())
    record_property("shown", table("pages after another one", weights, site))
    assert max(weights.values()) < MOST
