"""Promise of every form: what was typed stands there again after an error, but no password."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest
from flask import Flask

from panel import db
from panel.config import Settings
from panel.models import Account
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser

PAGES = (
    "/login", "/confirm", "/profile", "/people/new", "/people/1", "/accounts/new", "/accounts/UUID/edit", "/accounts/UUID/sending",
    "/server/encryption",
)  # fmt: skip
TYPED = {"email", "text", "search", "number", "tel", "url"}
CHOSEN = {"select", "checkbox", "radio"}
MARK = "<typed>ü'\"🐑" + "x" * 300  # too long for a name, no number, no address


@dataclass
class Form:
    """One form of a page, as it is written there."""

    action: str
    method: str
    kinds: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)  # what may be chosen instead


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
            (form.values if "checked" in given else form.others)[name] = given.get("value", "on")
        elif tag == "input" and name:
            form.kinds[name], form.values[name] = kind, given.get("value", "")
        elif tag == "select":
            self._select = name
            form.kinds[name] = "select"
        elif tag == "option":
            chosen = "selected" in given or self._select not in form.values
            (form.values if chosen else form.others)[self._select] = given.get("value", "")


def forms(html: str) -> Iterator[Form]:
    """Those with something to type in that are posted."""
    for form in Forms(html).found:
        if form.method == "post" and (TYPED | {"checkbox"}) & set(form.kinds.values()):
            yield form


@pytest.fixture
def house(app: Flask, settings: Settings) -> House:
    house = House(settings, app.extensions["mailkeep"].vault)
    with db.database.connection_context():
        house.add()
    return house


def test_every_form_keeps_what_was_typed_and_chosen_but_passwords(admin: Browser, house: House) -> None:
    with db.database.connection_context():
        uuid = Account.get().uuid
    came_back = set()
    for path in PAGES:
        path = path.replace("UUID", uuid)
        browser = admin if path != "/login" else Browser(admin.client.application)
        came_back |= {form.action for form in forms(browser.get(path).text) if keeps(browser, form)}
    with db.database.connection_context():
        house.enable()
    path = "/server/encryption"
    came_back |= {form.action for form in forms(admin.get(path).text) if keeps(admin, form)}
    assert came_back == {
        "/login", "/profile", "/people/new", "/people/1", "/accounts/new", f"/accounts/{uuid}/edit",
        f"/accounts/{uuid}/sending", f"{path}/enable", f"{path}/backup",
    }  # fmt: skip


def keeps(browser: Browser, form: Form) -> bool:
    """Send `form` with nonsense in it; fails where anything of that is lost. False where it was no error."""
    typed = form.values | {name: f"{MARK}-{name}" for name, kind in form.kinds.items() if kind in TYPED}
    typed |= {name: "SECRET-typed-here" for name, kind in form.kinds.items() if kind == "password"}
    typed |= dict(list(form.others.items())[:-1])  # one box stays as it is: two would be no error
    answer = browser.client.post(form.action, data=typed)
    assert answer.status_code in (303, 422), f"{form.action}: {answer.status_code}"
    if answer.status_code == 303:
        return False
    assert "SECRET" not in answer.text, f"{form.action}: a password came back"
    again = next(each for each in Forms(answer.text).found if each.action == form.action)
    shown = {name for name, kind in form.kinds.items() if kind in TYPED | CHOSEN}
    lost = {name: again.values.get(name) for name in shown if again.values.get(name) != typed.get(name)}
    assert not lost, f"{form.action} lost {lost}"
    return True
