"""Promise of every form: what was typed stands there again after an error, but no password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest
from flask import Flask

from panel import db
from panel.config import Settings
from panel.models import Account
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser, add_person

PAGES = (
    "/login", "/confirm", "/profile", "/people/new", "/people/1", "/accounts/new", "/accounts/UUID", "/accounts/UUID/sending",
    "/server/encryption",
)  # fmt: skip
TYPED = {"email", "text", "search", "number", "tel", "url"}
# Forms with text fields whose page does not come back with 422: a search, and what is no error anywhere.
MARK = "<typed> ü '\" 🐑"


@dataclass
class Form:
    """One form of a page, as it is written there."""

    action: str
    method: str
    kinds: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    checked: set[str] = field(default_factory=set)


class Forms(HTMLParser):
    """All forms of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._select = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(given.get("action", ""), given.get("method", "get")))
        if not self.found:
            return
        form, name, kind = self.found[-1], given.get("name", ""), given.get("type", "text")
        if tag == "input" and kind in ("checkbox", "radio"):
            form.kinds.setdefault(name, kind)
            if "checked" in given:
                form.values[name] = given.get("value", "on")
        elif tag == "input" and name:
            form.kinds[name], form.values[name] = kind, given.get("value", "")
        elif tag == "select":
            self._select = name
            form.kinds[name] = "select"
        elif tag == "option" and ("selected" in given or self._select not in form.values):
            form.values[self._select] = given.get("value", "")


def forms(html: str) -> Iterator[Form]:
    """Those with something to type in that are posted."""
    for form in Forms(html).found:
        if form.method == "post" and TYPED | {"checkbox"} & set(form.kinds.values()):
            yield form


@pytest.fixture
def admin(app: Flask, settings: Settings) -> Browser:
    add_person()
    browser = Browser(app)
    browser.sign_in()
    with db.database.connection_context():
        House(settings, app.extensions["mailkeep"].keystore).add()
    return browser


def test_every_form_keeps_what_was_typed_but_passwords(admin: Browser) -> None:
    with db.database.connection_context():
        uuid = Account.get().uuid
    tried = 0
    for path in PAGES:
        path = path.replace("UUID", uuid)
        browser = admin if path != "/login" else Browser(admin.client.application)
        for form in forms(browser.get(path).text):
            tried += keeps(browser, path, form)
    assert tried >= 8


def keeps(browser: Browser, path: str, form: Form) -> bool:
    """Send `form` with nonsense in it. Whether it came back as an error, which not every nonsense is."""
    typed = dict(form.values)
    for name, kind in form.kinds.items():
        if kind in TYPED:
            typed[name] = f"{MARK} {name}"
        elif kind == "password":
            typed[name] = "SECRET-typed-here"
    answer = browser.client.post(form.action, data=typed)
    if answer.status_code != 422:
        assert answer.status_code < 500, f"{path}: {form.action}: {answer.status_code}"
        return False
    assert "SECRET" not in answer.text, f"{path}: a password came back"
    again = next(each for each in Forms(answer.text).found if each.action == form.action)
    lost = {
        name: again.values.get(name)
        for name, kind in form.kinds.items()
        if name and kind in TYPED | {"select", "checkbox", "radio"} and again.values.get(name) != typed.get(name)
    }  # fmt: skip
    assert not lost, f"{path}: {form.action} lost {lost}"
    return bool(re.search(r'class="(problem|error)"', answer.text))
