"""Promises of /profile: everybody changes the own name and password and ends the own sessions."""

from __future__ import annotations

import pytest
from flask import Flask

from panel import db
from panel.models import Person
from tests.sign_in.browser import PASSWORD, WRONG, Browser, add_person

NEW = "another quite long phrase"


@pytest.fixture
def user(app: Flask) -> Browser:
    add_person(role="user")
    browser = Browser(app)
    browser.sign_in()
    return browser


def test_the_name_is_changed_and_escaped(user: Browser) -> None:
    assert user.post("/profile/name", on="/profile", name="  Ada <b>  Lovelace ").status_code == 303
    page = user.get("/profile").text
    assert "Ada &lt;b&gt; Lovelace" in page
    refused = user.post("/profile/name", on="/profile", name=" ")
    assert (refused.status_code, "There is a problem" in refused.text) == (422, True)


def test_the_password_changes_only_with_the_old_one_and_ends_the_other_sessions(
    app: Flask, user: Browser
) -> None:
    elsewhere = Browser(app)
    elsewhere.sign_in()
    fields = {"password": NEW, "again": NEW}
    wrong = user.post("/profile/password", on="/profile", old=WRONG, **fields)
    assert wrong.status_code == 422
    assert NEW not in wrong.text
    assert user.post("/profile/password", on="/profile", old=PASSWORD, **fields).status_code == 303
    assert user.is_signed_in
    assert not elsewhere.is_signed_in
    assert elsewhere.sign_in(password=PASSWORD).status_code == 422
    assert elsewhere.sign_in(password=NEW).status_code == 303


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"password": "short", "again": "short"}, "12"),
        ({"password": NEW, "again": "different, but long"}, "not the same"),
        ({"password": "", "again": ""}, "Enter a new password."),
    ],
)
def test_a_bad_new_password_is_refused_with_a_reason(
    user: Browser, fields: dict[str, str], message: str
) -> None:
    answer = user.post("/profile/password", on="/profile", old=PASSWORD, **fields)
    assert answer.status_code == 422
    assert message in answer.text


def test_the_other_sessions_are_listed_and_can_be_ended(app: Flask, user: Browser) -> None:
    elsewhere = Browser(app, "192.0.2.9")
    elsewhere.sign_in()
    page = user.get("/profile").text
    assert "192.0.2.9" in page
    assert page.count("This session") == 1
    user.post("/profile/sessions", on="/profile")
    assert user.is_signed_in
    assert not elsewhere.is_signed_in


def test_nobody_changes_somebody_else(app: Flask, user: Browser) -> None:
    add_person("bo@example.org", "admin")
    user.post("/profile/name", on="/profile", name="Mallory", email="bo@example.org", id="2")
    with db.database.connection_context():
        assert Person.get(Person.email == "bo@example.org").name != "Mallory"
