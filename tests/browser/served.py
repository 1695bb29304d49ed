"""The panel served from this very process, without a worker: a state stays as a test made it, and a start is quick.

For what a browser shows and does. What needs the worker too runs `panel_server`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flask import Flask
from playwright.sync_api import Page
from werkzeug.serving import WSGIRequestHandler, make_server

from panel import create_app, db
from panel.config import Settings
from panel.vault.vault import Vault
from tests import installs
from tests.encryption.conftest import House
from tests.running import environ_for
from tests.sign_in.browser import COOKIE, PASSWORD, add_person
from tests.sign_in.browser import Browser as Client


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing."""


class Gate:
    """Counts what is asked for, and lets what is posted wait while the gate is shut: a slow server."""

    def __init__(self, inner: Callable[..., Iterable[bytes]]) -> None:
        """Stand before `inner`, open."""
        self.asked: Counter[str] = Counter()  # by method and path
        self._inner, self._open = inner, threading.Event()
        self._open.set()

    def __call__(self, environ: dict[str, str], start_response: object) -> Iterable[bytes]:
        """Answer one request, when the gate is open."""
        self.asked[f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"] += 1
        if environ["REQUEST_METHOD"] == "POST":
            assert self._open.wait(60), "the gate stayed shut"
        return self._inner(environ, start_response)

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Let what is posted wait until the block ends."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()


@dataclass(frozen=True)
class Site:
    """One served install with two mailboxes and a person of each role."""

    app: Flask
    url: str
    house: House
    gate: Gate

    def sign_in(self, page: Page, role: str = "admin") -> Page:
        """Have the person of `role` signed in on `page`, on the page that they land on.

        Without the form, which other tests fill in: it takes a page more and a hash.
        """
        without_page = Client(self.app)
        assert without_page.sign_in(f"{role}@example.org").status_code == 303
        page.context.add_cookies([{"name": COOKIE, "value": without_page.cookie, "url": self.url}])
        page.goto(f"{self.url}/")
        return page


def sign_in(page: Page, url: str, role: str = "admin") -> Page:
    """Have ROLE@example.org signed in on `page` of the panel at `url`."""
    page.goto(f"{url}/login")
    page.get_by_label("Email address").fill(f"{role}@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login" not in url)
    return page


@contextmanager
def served(directory: Path, **more: str) -> Iterator[Site]:
    """An install below `directory`, served at its PANEL_BIND until the block ends."""
    settings = Settings.load(environ_for(directory) | more)
    installs.prepare(settings)
    app = create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    for role in ("admin", "agent", "user"):
        add_person(f"{role}@example.org", role)
    with db.database.connection_context():
        house.add()
        house.add()
    gate = Gate(app.wsgi_app)
    app.wsgi_app = gate  # type: ignore[method-assign]
    server = make_server("127.0.0.1", settings.bind_port, app, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Site(app, f"http://127.0.0.1:{server.server_port}", house, gate)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
