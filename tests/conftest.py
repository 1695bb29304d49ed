"""Fixtures of all tests: an install of one's own, as app, as client, as real processes, in a browser."""

from __future__ import annotations

import functools
import gc
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flask import Flask
from flask.testing import FlaskClient

from panel import create_app
from panel.config import Settings
from panel.crypto import login_hash
from tests import disks, installs, remembered, running
from tests.running import Environ, PanelServer

if TYPE_CHECKING:
    from tests.encryption.conftest import House
    from tests.sign_in.browser import Browser

pytest_plugins = ["tests.browser.fixtures"]
if (Path(__file__).parent / "servers/fixtures.py").exists():
    pytest_plugins.append("tests.servers.fixtures")

STRICT = os.environ.get("CI") == "true"
# These take longest, so they begin: one that began last would leave all cores but one without work.
FIRST = (
    "tests/docs/test_commands.py", "tests/faults/test_every_write.py", "tests/browser/", "tests/house/test_serve.py",
    "tests/docs/test_proxy.py", "tests/faults/", "tests/collect/", "tests/docs/", "tests/house/",
)  # fmt: skip
remembered.compile_once()
# Each connection reads the machine's authorities, which takes 50 ms and signed nothing here.
os.environ |= {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}


# -- how a run is chosen and judged ------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """--long: with the long form of fault and fuzz runs; --screenshots: what script/screenshots does."""
    parser.addoption("--long", action="store_true", help="run the tests marked slow too")
    parser.addoption("--screenshots", metavar="DIR", help="photograph each page that axe checks into DIR")
    parser.addoption(
        "--figures", metavar="FILE", help="write what the reliability tests tried into FILE, as JSON"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first; leave the slow ones out unless asked for."""
    items.sort(
        key=lambda item: next(
            (n for n, begin in enumerate(FIRST) if item.nodeid.startswith(begin)), len(FIRST)
        )
    )
    if config.getoption("--long"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays: to look through it for garbage took a sixth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """In a strict run a skipped test has failed: something that it needs is not installed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in a strict run: {report.longrepr[-1]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a test wants to be read: `record_property("shown", …)`; "reliability" goes into --figures."""
    found = [pair for report in terminalreporter.stats.get("passed", []) for pair in report.user_properties]
    for name, value in found:
        if name == "shown":
            terminalreporter.write_line(str(value))
    if path := terminalreporter.config.getoption("--figures"):
        figures = [value for name, value in found if name == "reliability"]
        Path(path).write_text(json.dumps(figures), "utf-8")


# -- one install ---------------------------------------------------------------------


@pytest.fixture
def environ(tmp_path: Path) -> Environ:
    """The settings of this test's own install. Change it before the other fixtures are asked for."""
    return running.environ_for(tmp_path)


@pytest.fixture
def settings(environ: Environ) -> Settings:
    """`environ` as Settings."""
    return Settings.load(environ)


@pytest.fixture
def app(settings: Settings) -> Flask:
    """The application on a fresh install, in this process."""
    installs.prepare(settings)
    app = create_app(settings)
    app.testing = True
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of `app` that checks the HTML of every page it gets (tests/web/linter.py)."""
    from tests.web.linter import LintingClient

    app.test_client_class = LintingClient
    return app.test_client()


@pytest.fixture
def house(app: Flask, settings: Settings) -> House:
    """What `app` keeps, for a test to fill and to change (tests/encryption/conftest.py)."""
    from tests.encryption.conftest import House

    return House(settings, app.extensions["mailkeep"].vault)


@pytest.fixture
def admin(app: Flask) -> Browser:
    """The browser of an administrator of `app` who has signed in (tests/sign_in/browser.py)."""
    from tests.sign_in.browser import Browser, add_person

    add_person()
    browser = Browser(app)
    assert browser.sign_in().status_code == 303
    return browser


@pytest.fixture(scope="session", autouse=True)
def _remembered_passwords() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(login_hash, "verify", remembered.verifying(login_hash.verify))
        patch.setattr(login_hash, "hash_password", remembered.hashing(login_hash.hash_password))
        yield


@pytest.fixture
def every_verification_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are about how long Argon2 takes: nothing is remembered in this process."""
    for name in ("verify", "hash_password"):
        monkeypatch.setattr(login_hash, name, getattr(login_hash, name).__wrapped__)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 16 KiB."""
    with disks.disk(tmp_path / "small disk", "16k") as place:
        yield place


# -- real processes --------------------------------------------------------------------


@pytest.fixture
def cli(environ: Environ) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `flask ARGUMENTS…` on this test's install: `cli("people", "list", "--json")`, `stdin=` as text."""
    return functools.partial(running.flask, environ)


@pytest.fixture
def panel_server(environ: Environ, tmp_path: Path) -> Iterator[PanelServer]:
    """A running server on this test's install; stopped afterwards, whatever happened."""
    server = PanelServer(environ, tmp_path / "server.log")
    server.start()
    yield server
    server.stop()
