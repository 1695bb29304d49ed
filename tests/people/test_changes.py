"""Changing people: roles, access, passwords; one administrator always remains."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from flask import Flask

from panel import db
from panel.audit import Actor
from panel.errors import NotFound, Refused
from panel.models import Activity, Person
from panel.people import service
from panel.secret import Secret
from tests.sign_in.browser import PASSWORD, Browser, add_person

NEW_PASSWORD = "another quite long phrase"


def id_of(email: str) -> int:
    with db.database.connection_context():
        return int(Person.get(Person.email == email).id)


def test_people_are_added_listed_and_can_sign_in(app: Flask, admin: Browser) -> None:
    fields = {
        "name": "Bo <b>",
        "email": "Bo@Example.ORG",
        "role": "agent",
        "password": NEW_PASSWORD,
    }
    assert admin.post("/people/new", **fields).status_code == 303
    page = admin.get("/people").text
    assert "bo@example.org" in page
    assert "Bo &lt;b&gt;" in page
    assert Browser(app).sign_in("bo@example.org", NEW_PASSWORD).status_code == 303


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"password": "short"}, "12"),
        ({"email": "no address"}, "not an email address"),
        ({"email": "ada@example.org"}, "already"),
        ({"name": ""}, "Enter the name."),
        ({"role": "owner"}, "choice"),
    ],
)
def test_bad_input_is_refused_and_keeps_what_was_typed_but_the_password(
    admin: Browser, over: dict[str, str], message: str
) -> None:
    fields = {
        "name": "Bo",
        "email": "bo@example.org",
        "role": "agent",
        "password": NEW_PASSWORD,
    }
    response = admin.post("/people/new", **fields | over)
    assert response.status_code == 422
    assert message in response.text
    assert NEW_PASSWORD not in response.text
    with db.database.connection_context():
        assert Person.select().count() == 1


def test_another_role_counts_from_the_next_request_on(app: Flask, admin: Browser) -> None:
    add_person("bo@example.org", "admin")
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    assert bo.get("/people").status_code == 200
    url = f"/people/{id_of('bo@example.org')}"
    assert admin.post(url, name="Bo", email="bo@example.org", role="agent").status_code == 303
    assert bo.get("/people").status_code == 403


def test_a_disabled_person_is_out_at_once_and_in_again_when_enabled(app: Flask, admin: Browser) -> None:
    add_person("bo@example.org", "agent")
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    url = f"/people/{id_of('bo@example.org')}"
    admin.post(f"{url}/disable", on=url)
    assert not bo.is_signed_in
    assert bo.sign_in("bo@example.org").status_code == 422
    admin.post(f"{url}/enable", on=url)
    assert bo.sign_in("bo@example.org").status_code == 303


def test_another_password_ends_the_sessions(app: Flask, admin: Browser) -> None:
    add_person("bo@example.org", "agent")
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    url = f"/people/{id_of('bo@example.org')}"
    assert admin.post(f"{url}/password", on=url, password=NEW_PASSWORD).status_code == 303
    assert not bo.is_signed_in
    assert bo.sign_in("bo@example.org", PASSWORD).status_code == 422
    assert bo.sign_in("bo@example.org", NEW_PASSWORD).status_code == 303


@pytest.mark.parametrize("step", ["", "/disable", "/delete"])
@pytest.mark.parametrize("other", ["disabled", "invited"])
def test_the_last_active_administrator_cannot_be_demoted_disabled_or_deleted(
    admin: Browser, step: str, other: str
) -> None:
    with db.database.connection_context():
        service.add("bo@example.org", "Bo", "admin", Secret(PASSWORD) if other == "disabled" else None)
        if other == "disabled":
            service.disable("bo@example.org")
    url = f"/people/{id_of('ada@example.org')}"
    response = admin.post(f"{url}{step}", on=url, name="Ada", email="ada@example.org", role="agent")
    assert response.status_code == 409
    assert "last active administrator" in response.text
    assert admin.get("/people").status_code == 200


def test_the_service_refuses_the_same(app: Flask) -> None:
    add_person()
    with db.database.connection_context():
        with pytest.raises(Refused):
            service.change_role("ada@example.org", "user")
        with pytest.raises(Refused):
            service.disable("ada@example.org")
        with pytest.raises(Refused):
            service.delete("ada@example.org")
        with pytest.raises(NotFound):
            service.set_password("nobody@example.org", Secret(NEW_PASSWORD))
        service.change_role("ada@example.org", "admin")


def test_what_is_so_already_changes_nothing_and_is_no_event(app: Flask) -> None:
    with db.database.connection_context():
        kim = service.add("kim@example.org", "Kim", "agent", Secret(PASSWORD))
        service.disable(kim.email)
        Person.update(disabled_at=1000).where(Person.email == kim.email).execute()
        count = Activity.select().count()
        service.disable(kim.email)
        service.change_role(kim.email, "agent")
        assert Person.get(Person.email == kim.email).disabled_at == 1000
        service.enable(kim.email)
        service.enable(kim.email)
        assert Activity.select().count() == count + 1


def test_each_change_is_in_activity_without_a_value(admin: Browser) -> None:
    add_person("bo@example.org", "agent")
    with db.database.connection_context():
        service.set_password("bo@example.org", Secret(NEW_PASSWORD), Actor("ada@example.org"))
        service.disable("bo@example.org", Actor("ada@example.org"))
        kept = [(a.what, a.who, a.detail) for a in Activity.select() if a.subject == "bo@example.org"]
    assert ("login password changed", "ada@example.org", "") in kept
    assert ("person disabled", "ada@example.org", "") in kept


def test_the_shell_does_the_same(cli: Callable[..., subprocess.CompletedProcess[str]], app: Flask) -> None:
    add_person()
    add_person("bo@example.org", "agent")
    for arguments in (
        ("role", "bo@example.org", "admin"),
        ("disable", "ada@example.org"),
        ("enable", "ada@example.org"),
    ):
        assert cli("people", *arguments).returncode == 0, arguments
    done = cli("people", "set-password", "bo@example.org", "--password-file", "-", stdin=NEW_PASSWORD)
    assert done.returncode == 0, done.stderr
    assert Browser(app).sign_in("bo@example.org", NEW_PASSWORD).status_code == 303
    cli("people", "disable", "ada@example.org")
    assert cli("people", "disable", "bo@example.org").returncode == 3
    assert cli("people", "role", "nobody@example.org", "admin").returncode == 3
    assert cli("people", "role", "bo@example.org", "owner").returncode == 2
