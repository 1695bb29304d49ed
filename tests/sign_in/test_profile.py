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
    assert user.post("/profile", on="/profile", name="  Ada <b>  Lovelace ").status_code == 303
    page = user.get("/profile").text
    assert "Ada &lt;b&gt; Lovelace" in page
    refused = user.post("/profile", on="/profile", name=" ")
    assert (refused.status_code, "There is a problem" in refused.text) == (422, True)


def test_the_password_changes_only_with_the_old_one_and_ends_the_other_sessions(
    app: Flask, user: Browser
) -> None:
    elsewhere = Browser(app)
    elsewhere.sign_in()
    fields = {"password": NEW}
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
        ({"password": "short"}, "12"),
        ({"password": ""}, "Enter a new password."),
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
    user.post("/profile", on="/profile", name="Mallory", email="bo@example.org", id="2")
    with db.database.connection_context():
        assert Person.get(Person.email == "bo@example.org").name != "Mallory"


def test_time_zone_and_appearance_are_saved_and_used(user: Browser) -> None:
    assert user.post("/profile", name="Ada", timezone=" Asia/Tokyo ", theme="dark").status_code == 303
    page = user.get("/profile").text
    assert 'data-theme="dark"' in page and "Times are in Asia/Tokyo." in page and " JST" in page
    assert user.post("/profile", name="Ada", timezone="", theme="").status_code == 303
    page = user.get("/profile").text
    assert "data-theme" not in page and "Times are in UTC." in page


@pytest.mark.parametrize(
    "fields",
    [
        {"timezone": "Berlin"}, {"timezone": "../../etc/passwd"}, {"timezone": "Europe"}, {"timezone": "x" * 1024}, {"timezone": "a\x00b"},
        {"timezone": "<b>"}, {"theme": "pink"}, {"theme": "dark\r\n"}, {"timezone": "ü🐑"}, {"timezone": "--"},
    ],
)  # fmt: skip
def test_another_zone_or_appearance_is_refused_and_nothing_is_saved(
    user: Browser, fields: dict[str, str]
) -> None:
    answer = user.post("/profile", **{"name": "Bo", "timezone": "", "theme": ""} | fields)
    assert answer.status_code == 422
    assert Person.get().name == "Ada Lovelace"


@pytest.mark.parametrize(
    "value", ["'Nowhere/X'", "'Europe'", "'../../etc/passwd'", "x'ff'", "7", "'a' || char(0)", "''"]
)
def test_a_zone_and_an_appearance_that_sql_broke_are_none(user: Browser, value: str) -> None:
    with db.database.connection_context():
        db.database.execute_sql(f"UPDATE person SET timezone = {value}, theme = {value}")
    page = user.get("/profile")
    assert page.status_code == 200 and "Times are in UTC." in page.text and "data-theme" not in page.text
