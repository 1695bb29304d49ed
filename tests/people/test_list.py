"""The list of people, and changing one: search, chips, sorting, pages; address, access, deletion."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from panel import db
from panel.crypto import login_hash
from panel.listing import ListQuery
from panel.models import Activity, Person, Session, SetupState
from panel.people import directory, service
from panel.secret import Secret
from tests.sign_in.browser import PASSWORD, Browser, add_person

WORST = ["", " ", "x" * 1024, "ü🐑", "<b>x</b>", "a\r\nb", "--x", "a\x00b", "%", "_", "'\"", "x" * 5000]


def many(count: int) -> None:
    with db.database.connection_context(), db.transaction():
        for number in range(count):
            Person.create(
                email=f"p{number:04}@example.org", name=f"Person {count - number:04}", created_at=1,
                role=("agent", "user")[number % 2], login_hash=login_hash.NONE if number % 5 == 0 else "x",
                disabled_at=1 if number % 10 == 1 else None, last_sign_in_at=number or None,
            )  # fmt: skip


def shown(browser: Browser, query: str) -> list[str]:
    return re.findall(r'href="/people/\d+"><strong>([^<]+)', browser.get(f"/people?{query}").text)


def test_fifty_to_a_page_with_counts_and_pages(admin: Browser) -> None:
    many(120)
    assert len(shown(admin, "")) == 50 and len(shown(admin, "page=3")) == 21
    page = admin.get("/people").text
    for label, count in (
        ("All", 121),
        ("Administrators", 1),
        ("Agents", 60),
        ("Users", 60),
        ("Invited", 24),
        ("Disabled", 12),
    ):
        assert re.search(rf"{label} <span class=\"num\">{count}<", page), label
    assert "1–50 of 121" in page and shown(admin, "page=99") == []


def test_it_is_searched_by_name_and_address_filtered_and_sorted(admin: Browser) -> None:
    many(60)
    assert shown(admin, "q=P0007") == ["Person 0053"]
    assert shown(admin, "q=person+0053") == ["Person 0053"]
    assert len(shown(admin, "q=person&state=disabled")) == 6
    assert shown(admin, "state=admin") == ["Ada Lovelace"]
    assert shown(admin, "sort=name&state=agent")[:2] == ["Person 0002", "Person 0004"]
    assert shown(admin, "sort=last_sign_in&q=p00")[0] == "Person 0001"
    assert shown(admin, "q=nobody+at+all") == []
    assert "No people found" in admin.get("/people?q=nobody+at+all").text


@pytest.mark.parametrize("text", WORST)
def test_whatever_is_searched_for_is_a_page(admin: Browser, text: str) -> None:
    for name in ("q", "state", "sort", "page"):
        answer = admin.client.get("/people", query_string={name: text})
        assert answer.status_code == (200 if len(text) < 4096 else 413), (name, text)
        assert "<b>x" not in answer.text


def test_percent_and_underscore_mean_themselves(admin: Browser) -> None:
    assert shown(admin, "q=%25") == [] and shown(admin, "q=_da") == []


def test_a_page_of_many_people_takes_few_statements(app: Flask) -> None:
    many(500)
    with db.database.connection_context():
        found = directory.page(ListQuery(q="person", sort="name", page=2))
    assert (found.total, len(found.rows), found.counts["invited"]) == (500, 50, 100)


# -- last sign-in ----------------------------------------------------------------------------


def test_the_last_sign_in_is_shown_and_written_at_sign_in_alone(app: Flask, admin: Browser) -> None:
    assert Person.get().last_sign_in_at == pytest.approx(db.now(), abs=60)
    Person.update(last_sign_in_at=1).execute()
    for _ in range(3):
        admin.get("/people")
    assert Person.get().last_sign_in_at == 1
    Browser(app).sign_in(password="something else entirely")
    assert Person.get().last_sign_in_at == 1
    add_person("bo@example.org", "user")
    assert "never" in admin.get("/people").text


@pytest.mark.parametrize(
    "column", ["last_sign_in_at", "invited_until", "timezone", "theme", "invitation_hash"]
)
@pytest.mark.parametrize(
    "value", ["x'ff00'", "'nonsense'", "-1", "9223372036854775807", "1.5", "'../../etc/passwd'"]
)
def test_no_value_that_sql_puts_there_breaks_a_page(admin: Browser, column: str, value: str) -> None:
    with db.database.connection_context():
        db.database.execute_sql(f"UPDATE person SET {column} = {value}")
    for path in ("/people", "/people?sort=last_sign_in", "/people/1", "/profile", "/activity"):
        assert admin.get(path).status_code == 200, path


# -- changing one ------------------------------------------------------------------------------


def edited(browser: Browser, person_id: int = 2, **over: str) -> int:
    fields = {"name": "Bo", "email": "bo@example.org", "role": "agent"} | over
    return browser.post(f"/people/{person_id}", **fields).status_code


def test_name_and_address_are_changed_and_sessions_stay(app: Flask, admin: Browser) -> None:
    add_person("bo@example.org", "agent")
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    assert edited(admin, name=" Bo  B. ", email=" Bo@New.Example ") == 303
    assert (Person.get_by_id(2).name, Person.get_by_id(2).email) == ("Bo B.", "bo@new.example")
    assert bo.is_signed_in and "bo@new.example" in bo.get("/profile").text
    assert Browser(app).sign_in("bo@example.org").status_code == 422
    assert Browser(app).sign_in("bo@new.example").status_code == 303
    events = {(a.what, a.subject, a.detail) for a in Activity.select()}
    assert ("address changed", "bo@new.example", "was bo@example.org") in events
    assert ("name changed", "bo@example.org", "") in events


def test_the_last_administrators_own_address_can_be_changed_and_lets_them_in(
    app: Flask, admin: Browser
) -> None:
    assert edited(admin, 1, name="Ada", email="ada@new.example", role="admin") == 303
    assert admin.is_signed_in
    assert Browser(app).sign_in("ada@new.example").status_code == 303


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"email": "ada@example.org"}, "already"), ({"email": "no address"}, "not an email address"), ({"name": " "}, "Enter the name"),
        ({"email": "a@b" + "x" * 1024}, "not an email address"), ({"name": "a\r\nb\x00"}, "not printable"), ({"role": "owner"}, "choice"),
    ],
)  # fmt: skip
def test_a_bad_change_is_refused_beside_its_field_and_changes_nothing(
    admin: Browser, over: dict[str, str], message: str
) -> None:
    add_person("bo@example.org", "agent")
    answer = admin.post("/people/2", **{"name": "Other", "email": "other@example.org", "role": "user"} | over)
    assert answer.status_code == 422 and message in answer.text
    bo = Person.get_by_id(2)
    assert (bo.name, bo.email, bo.role) == ("Ada Lovelace", "bo@example.org", "agent")


def test_of_two_administrators_the_second_is_told_what_changed_meanwhile(app: Flask, admin: Browser) -> None:
    add_person("bo@example.org", "agent")
    seen = re.search(r'name="seen" type="hidden" value="([0-9a-f]{64})"', admin.get("/people/2").text)
    assert seen
    with db.database.connection_context():
        service.change_role("bo@example.org", "user")
    stale = {"name": "Bo", "email": "bo@example.org", "role": "agent", "seen": seen[1]}
    answer = admin.post("/people/2", **stale)
    assert (
        answer.status_code == 409 and "has been changed since" in answer.text and 'value="Bo"' in answer.text
    )
    assert (Person.get_by_id(2).role, Person.get_by_id(2).name) == ("user", "Ada Lovelace")
    now = re.search(r'name="seen" type="hidden" value="([0-9a-f]{64})"', answer.text)
    assert now and now[1] != seen[1]
    assert admin.post("/people/2", **stale | {"seen": now[1]}).status_code == 303
    assert Person.get_by_id(2).role == "agent"


@pytest.mark.parametrize("step", ["delete", "disable", "invitation", "password"])
def test_a_page_left_open_does_nothing_to_who_got_the_same_id_since(admin: Browser, step: str) -> None:
    add_person("bo@example.org", "agent")
    named = re.search(r'name="named" value="([^"]+)"', admin.get("/people/2").text)
    assert named and named[1] == "bo@example.org"
    with db.database.connection_context():
        service.delete("bo@example.org")
    assert add_person("cy@example.org", "agent") == 2
    before = Person.get_by_id(2)
    answer = admin.post(
        f"/people/2/{step}", on="/people/2", named=named[1], password="long enough, for anybody"
    )
    assert answer.status_code == 409 and "it is cy@example.org now" in answer.text
    now = Person.get_by_id(2)
    assert (now.disabled_at, now.login_hash, now.invitation_hash) == (None, before.login_hash, None)


def test_saving_what_is_so_already_is_no_event(admin: Browser) -> None:
    add_person("bo@example.org", "agent")
    before = Activity.select().count()
    assert edited(admin, name="Ada Lovelace") == 303
    assert Activity.select().count() == before


# -- deleting ----------------------------------------------------------------------------------


def test_a_deleted_person_is_out_at_once_and_what_they_did_stays(app: Flask, admin: Browser) -> None:
    add_person("bo@example.org", "admin")
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    page = admin.get("/people/2").text
    assert (
        "<strong>bo@example.org</strong>, Administrator, is deleted and signed out at once in one browser"
        in page
    )
    assert admin.post("/people/2/delete", on="/people/2").location == "/people"
    assert "bo@example.org was deleted." in admin.get("/people").text
    assert not bo.is_signed_in and Session.select().where(Session.person == 2).count() == 0
    assert bo.sign_in("bo@example.org").status_code == 422
    assert Activity.select().where(Activity.who == "bo@example.org").exists()
    for path in ("/people/2", "/people/2/delete"):
        assert admin.client.get(path).status_code in (404, 405)
    assert admin.post("/people/2/delete", on="/people").status_code == 404  # twice


def test_who_deletes_or_disables_themselves_is_signed_out(app: Flask, admin: Browser) -> None:
    add_person("bo@example.org", "admin")
    assert admin.post("/people/1/delete", on="/people/1").location == "/login"
    assert not admin.is_signed_in
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    assert bo.post("/people/2/disable", on="/people/2").status_code == 409


def test_an_id_that_is_given_out_again_inherits_nothing(app: Flask) -> None:
    with db.database.connection_context():
        SetupState.update(admin_id=2).execute()
        service.add("ada@example.org", "Ada", "admin", Secret(PASSWORD))
        service.add("bo@example.org", "Bo", "admin", Secret(PASSWORD))
        service.delete("bo@example.org")
        assert SetupState.get().closed_at is not None


@pytest.mark.parametrize("role", ["agent", "user"])
@pytest.mark.parametrize(
    "path", ["", "/2", "/2/delete", "/2/invitation", "/2/disable", "/2/password", "/new"]
)
def test_nobody_but_administrators(app: Flask, admin: Browser, role: str, path: str) -> None:
    add_person("bo@example.org", role)
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    assert bo.get("/people").status_code == 403
    assert bo.post(f"/people{path}", on="/profile").status_code in (403, 405)


def test_two_administrators_at_once_leave_one(app: Flask, admin: Browser) -> None:
    add_person("bo@example.org", "admin")
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    assert admin.post("/people/2/delete", on="/people/2").status_code == 303
    assert bo.client.post("/people/1/delete").status_code in (303, 400)  # to the sign-in page
    assert Person.select().count() == 1
