"""A real headless Chromium, and axe. A page that logs an error or breaks its own policy fails its test."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.running import WAIT_SECONDS

AXE = next((Path(__file__).parents[1] / "vendor").glob("axe-*.min.js"))
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")
ARGUMENTS = (
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
NARROW_RULES = ("target-size", "scrollable-region-focusable")  # which only a page's layout breaks
NARROW = {"width": 320, "height": 640}

PATIENCE = 1000 * WAIT_SECONDS  # milliseconds, instead of five seconds: a busy machine is slow
expect.set_options(timeout=PATIENCE)

CheckAxe = Callable[[Page], None]
Photograph = Callable[[Page, str], None]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; the test is skipped where there is none.

    Preferably the one without a desktop's parts: a new page costs it a tenth of the processor time.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Close what the test has open before any server that it loads from ends, whichever began first.

    What the browser has complained about by then still fails the test (`watched`).
    """
    browser = getattr(item, "funcargs", {}).get("browser")
    try:
        for context in browser.contexts if isinstance(browser, Browser) else ():
            context.close()
    finally:
        yield


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser of its own. Errors of scripts or of the content policy fail the test."""
    yield from watched(browser.new_context())


@pytest.fixture
def page_without_scripts(browser: Browser) -> Iterator[Page]:
    """The same where JavaScript is switched off."""
    yield from watched(browser.new_context(java_script_enabled=False))


def watched(context: BrowserContext) -> Iterator[Page]:
    """A page of `context`, which is closed afterwards. Errors of scripts or of the policy fail the test."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.extend(_complaint(message)))
    yield page
    context.close()
    assert not errors, "the browser complained:\n" + "\n".join(errors)


def _complaint(message: ConsoleMessage) -> list[str]:
    """Errors, but not those that only say an answer had a status of 4xx: a form with errors has 422."""
    expected = message.text.startswith("Failed to load resource: the server responded with a status of 4")
    return [f"{message.text} ({message.location})"] if message.type == "error" and not expected else []


@pytest.fixture
def axe(request: pytest.FixtureRequest) -> CheckAxe:
    """Check a page: `axe(page)` fails with what axe finds in it, wide and 320 px narrow.

    With --screenshots DIR every page that is checked is also photographed: light, dark and narrow.
    """
    directory = request.config.getoption("--screenshots")
    if directory is None:
        return lambda page: check_axe(page, lambda page, look: None)
    photographer = _Photographer(Path(directory), request.node.name)
    return lambda page: check_axe(page, photographer.take)


@pytest.fixture
def photograph(request: pytest.FixtureRequest) -> Photograph:
    """`photograph(page, name)` takes a picture of it with --screenshots DIR, and nothing otherwise."""
    directory = request.config.getoption("--screenshots")

    def take(page: Page, name: str) -> None:
        if directory is not None:
            Path(directory).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{directory}/{re.sub(r'[^a-z]+', '-', name.lower())}.png", full_page=True)

    return take


class _Photographer:
    def __init__(self, directory: Path, test: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._begin = directory / re.sub(r"\W+", "-", test.removeprefix("test_")).strip("-")
        self._count = 0

    def take(self, page: Page, look: str) -> None:
        """Save one picture: of which test, of how many in it, of which address, in which look."""
        self._count += look == "light"
        path = re.sub(r"[0-9a-f-]{36}", "UUID", page.url.split("/", 3)[3].partition("?")[0])
        name = f"{self._count:02d}-{path.replace('/', '-') or 'start'}-{look}.png"
        page.screenshot(path=f"{self._begin}--{name}", full_page=True)


def check_axe(page: Page, photograph: Callable[[Page, str], None]) -> None:
    """Fail with every finding of axe in `page` as it stands, wide and narrow.

    In light only: that the dark colours can be read is arithmetic (tests/web/test_palette.py).
    """
    page.wait_for_load_state()  # what is looked for may be there before its style sheet
    photograph(page, "light")
    page.emulate_media(color_scheme="dark")
    photograph(page, "dark")
    page.emulate_media(color_scheme="light")
    found = _findings(page, RULES)
    before = page.viewport_size
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    page.evaluate("scrollTo(0, 0)")  # what happens to lie below the bar at the top can be scrolled out of it
    photograph(page, "narrow")
    found += [f"narrow: {line}" for line in _findings(page, NARROW_RULES)]
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        found.append("narrow: the page is wider than 320 px")
    if before:
        page.set_viewport_size(before)
    assert not found, f"{page.url}:\n" + "\n".join(found)


def _findings(page: Page, rules: tuple[str, ...]) -> list[str]:
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(AXE.read_text("utf-8"))
    result: dict[str, Any] = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", list(rules)
    )
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]
