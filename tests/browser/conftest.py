"""One quickly served install for all tests of a file, and a browser of each role on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.fixtures import watched
from tests.browser.served import Site, served

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Site]:
    """Encryption is off, two mailboxes; what one test of a file changes, the next one finds."""
    with served(tmp_path_factory.mktemp("site"), PANEL_CONTACT="Dana, extension 17") as site:
        yield site


@pytest.fixture(scope="module")
def cookies(site: Site, browser: Browser) -> Callable[[str], object]:
    """Sign each role in once."""
    known: dict[str, object] = {}

    def cookies_of(role: str) -> object:
        if role not in known:
            context = browser.new_context()
            site.sign_in(context.new_page(), role)
            known[role] = context.storage_state()
            context.close()
        return known[role]

    return cookies_of


@pytest.fixture
def open_as(site: Site, browser: Browser, cookies: Callable[[str], object]) -> Iterator[Open]:
    """`open_as("admin", "/accounts")`: that page, in a browser where the person is signed in."""
    watchers = []

    def open_as(role: str, path: str, **context: object) -> Page:
        watcher = watched(browser.new_context(storage_state=cookies(role), **context))  # type: ignore[arg-type]
        page = next(watcher)
        watchers.append(watcher)
        page.goto(site.url + path)
        return page

    yield open_as
    for watcher in watchers:
        next(watcher, None)
