"""A browser without JavaScript: it fills in the form of a page, CSRF token included."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from panel import db
from panel.people import service as people
from panel.secret import Secret
from tests.web.linter import LintingClient

PASSWORD = "grün, a long enough phrase 🐑"
WRONG = "not the password at all"
COOKIE = "mailkeep"


class Browser:
    """One browser with its cookies, on `app`, coming from `address`."""

    def __init__(self, app: Flask, address: str = "127.0.0.1") -> None:
        app.test_client_class = LintingClient
        self.client: FlaskClient = app.test_client()
        self._from = {"REMOTE_ADDR": address}

    def get(self, path: str) -> TestResponse:
        return self.client.get(path, environ_base=self._from)

    def post(self, path: str, on: str | None = None, **fields: str) -> TestResponse:
        """Send the form to `path` that stands on the page `on` (by default at the same address)."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get(on or path).text)
        assert found, f"no form on {on or path}"
        fields["csrf_token"] = found[1]
        return self.client.post(path, data=fields, environ_base=self._from)

    def sign_in(
        self, email: str = "ada@example.org", password: str = PASSWORD, **fields: str
    ) -> TestResponse:
        return self.post("/login", email=email, password=password, **fields)

    @property
    def cookie(self) -> str:
        cookie = self.client.get_cookie(COOKIE)
        assert cookie is not None
        return cookie.value

    @cookie.setter
    def cookie(self, value: str) -> None:
        self.client.set_cookie(COOKIE, value)

    @property
    def is_signed_in(self) -> bool:
        return self.get("/confirm").status_code == 200


def add_person(email: str = "ada@example.org", role: str = "admin", password: str = PASSWORD) -> int:
    """A person who may sign in. The hash of `password` is a real one, made once in a run (tests/conftest.py)."""
    with db.database.connection_context():
        return people.add(email, "Ada Lovelace", role, Secret(password)).id


def asked(answer: TestResponse) -> str:
    """The id of the form that waits, of an answer that asks for the password first."""
    assert answer.status_code == 303 and "/confirm?form=" in answer.location, answer.status
    return parse_qs(urlsplit(answer.location).query)["form"][0]


def confirm(browser: Browser, form: str, password: str = PASSWORD, **fields: str) -> TestResponse:
    """Enter the password for it."""
    return browser.post("/confirm", on=f"/confirm?form={form}", form=form, password=password, **fields)


def later(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Let `seconds` pass."""
    at = db.now() + seconds
    monkeypatch.setattr(db, "now", lambda: at)
