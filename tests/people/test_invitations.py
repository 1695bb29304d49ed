"""Invitation links: one use, one day, ended by whatever makes them moot; only the hash is stored."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

import pytest
from flask import Flask

from panel import create_app, db, install
from panel.config import Settings
from panel.crypto import login_hash
from panel.errors import BadInput, NotFound, Refused
from panel.models import Activity, Person, Session
from panel.models.sign_in import INVITATION_SECONDS
from panel.people import invitations, service
from panel.secret import Secret
from tests.running import find_marker
from tests.sign_in.browser import COOKIE, PASSWORD, Browser, add_person, later

NEW = "another quite long phrase"


def invited(browser: Browser, **over: str) -> str:
    """The path of the link of a new person."""
    fields = {"name": "Bo", "email": "bo@example.org", "role": "agent", "password": ""} | over
    answer = browser.post("/people/new", **fields)
    assert answer.status_code == 200, answer.text
    return link(answer.text)


def link(page: str) -> str:
    found = re.search(r"<pre[^>]*>([^<]+)</pre>", page)
    assert found
    return urlsplit(found[1]).path


def test_the_invited_person_chooses_the_password_and_is_signed_in(app: Flask, admin: Browser) -> None:
    path = invited(admin)
    assert "Invited" in admin.get("/people").text
    bo = Browser(app, "192.0.2.7")
    assert "bo@example.org" in bo.get(path).text
    assert bo.post(path, password=NEW).location == "/"
    assert bo.is_signed_in
    assert Browser(app).sign_in("bo@example.org", NEW).status_code == 303
    assert "Invited" not in admin.get("/people/2").text
    assert [a.what for a in Activity.select().where(Activity.what.startswith("invitation"))] == [
        "invitation created", "invitation accepted",
    ]  # fmt: skip


def test_before_that_no_password_lets_in(app: Flask, admin: Browser) -> None:
    invited(admin)
    for password in ("", "A" * 22, PASSWORD, "x"):
        assert Browser(app).sign_in("bo@example.org", password).status_code == 422


def test_it_works_once(app: Flask, admin: Browser) -> None:
    path = invited(admin)
    first, second = Browser(app), Browser(app)
    token = re.search(r'name="csrf_token" value="([^"]+)"', second.get(path).text)
    assert token
    first.post(path, password=NEW)
    again = second.client.post(path, data={"csrf_token": token[1], "password": "yet another long phrase"})
    assert again.status_code == 404 and not second.is_signed_in
    assert Browser(app).sign_in("bo@example.org", NEW).status_code == 303


def test_of_two_at_once_one_succeeds(app: Flask, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    token = invited(admin).rsplit("/", 1)[1]
    real = login_hash.hash_password

    def meanwhile(password: Secret) -> str:
        monkeypatch.setattr(login_hash, "hash_password", real)
        with db.database.connection_context():
            invitations.accept(token, Secret(NEW), "")
        return real(password)

    monkeypatch.setattr(login_hash, "hash_password", meanwhile)
    with pytest.raises(NotFound):
        invitations.accept(token, Secret("yet another long phrase"), "")


ENDS = {
    "a new link": lambda: invitations.create(2),
    "a typed password": lambda: service.set_password("bo@example.org", Secret(NEW)),
    "disabling": lambda: service.disable("bo@example.org"),
    "disabling and enabling": lambda: (service.disable("bo@example.org"), service.enable("bo@example.org")),
    "deleting": lambda: service.delete("bo@example.org"),
    "sql that disables": lambda: Person.update(disabled_at=1).where(Person.id == 2).execute(),
}


@pytest.mark.parametrize("end", ENDS)
def test_it_ends_with(app: Flask, admin: Browser, end: str) -> None:
    path = invited(admin)
    with db.database.connection_context():
        ENDS[end]()
    answer = Browser(app).get(path)
    assert answer.status_code == 404 and "Ask an administrator for a new one." in answer.text


@pytest.mark.parametrize("seconds", [INVITATION_SECONDS, INVITATION_SECONDS + 3600, -7200])
def test_it_ends_after_a_day(
    app: Flask, admin: Browser, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    path = invited(admin)
    later(monkeypatch, seconds)
    assert Browser(app).get(path).status_code == 404


def test_an_end_that_sql_moved_far_ahead_is_none(app: Flask, admin: Browser) -> None:
    path = invited(admin)
    Person.update(invited_until=db.now() + 3 * INVITATION_SECONDS).execute()
    assert Browser(app).get(path).status_code == 404


@pytest.mark.parametrize(
    "token", ["x", "A" * 43, "..", "%00", "ü🐑", "<b>", "x" * 1024, "--", "' OR 1=1", "None"]
)
def test_a_guess_is_answered_like_a_link_that_was_used(app: Flask, admin: Browser, token: str) -> None:
    path = invited(admin)
    Browser(app).post(path, password=NEW)
    answers = [Browser(app).get(url) for url in (path, f"/invitation/{token}")]
    assert [answer.status_code for answer in answers] == [404, 404]
    if token != "..":  # which is no path of ours
        used, guessed = (
            re.sub(r'"X-CSRFToken": "[^"]+"|"on-paper">[^<]+', "", answer.text) for answer in answers
        )
        assert used == guessed


def test_only_its_hash_is_stored_and_it_is_shown_once(
    app: Flask, admin: Browser, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    token = invited(admin).rsplit("/", 1)[1]
    assert Person.get_by_id(2).invitation_hash == hashlib.sha256(token.encode()).digest()
    assert find_marker(settings.data_dir, token) == [] and token not in caplog.text
    for path in ("/people", "/people/2", "/activity"):
        assert token not in admin.get(path).text
    with admin.client.session_transaction() as cookie:
        assert token not in repr(dict(cookie))


@pytest.mark.parametrize(
    ("password", "message"), [("short", "12"), ("bo@example.org", "itself"), ("", "Choose a password")]
)
def test_a_bad_password_leaves_the_link_good(app: Flask, admin: Browser, password: str, message: str) -> None:
    path = invited(admin)
    bo = Browser(app)
    answer = bo.post(path, password=password)
    assert answer.status_code == 422 and message in answer.text
    assert bo.post(path, password=NEW).status_code == 303


def test_without_a_form_token_nothing_happens(app: Flask, admin: Browser) -> None:
    path = invited(admin)
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}):
        assert Browser(app).client.post(path, data={"password": NEW}, headers=headers).status_code == 400
    assert Browser(app).get(path).status_code == 200


def test_who_is_signed_in_as_another_is_signed_out_of_that(app: Flask, admin: Browser) -> None:
    path = invited(admin)
    assert admin.post(path, password=NEW).location == "/"
    assert "bo@example.org" in admin.get("/profile").text
    assert [session.person.id for session in Session.select()] == [2]


def test_a_session_that_was_planted_before_is_not_kept(app: Flask, admin: Browser) -> None:
    path = invited(admin)
    bo, thief = Browser(app), Browser(app)
    thief.get("/login")
    planted = thief.client.get_cookie(COOKIE)
    assert planted
    bo.client.set_cookie(COOKIE, planted.value)
    bo.post(path, password=NEW)
    assert bo.is_signed_in and not thief.is_signed_in


def test_a_person_with_a_password_gets_a_link_to_choose_another(app: Flask, admin: Browser) -> None:
    add_person("bo@example.org", "agent")
    bo = Browser(app)
    bo.sign_in("bo@example.org")
    path = link(admin.post("/people/2/invitation", on="/people/2").text)
    assert bo.is_signed_in and Browser(app).sign_in("bo@example.org").status_code == 303  # until it is used
    Browser(app).post(path, password=NEW)
    assert not bo.is_signed_in
    assert Browser(app).sign_in("bo@example.org", PASSWORD).status_code == 422


def test_a_disabled_person_gets_none(app: Flask, admin: Browser) -> None:
    add_person("bo@example.org", "agent")
    with db.database.connection_context():
        service.disable("bo@example.org")
        with pytest.raises(Refused):
            invitations.create(2)
    assert admin.post("/people/2/invitation", on="/people/2").status_code == 409


def test_the_link_names_the_public_address_whatever_the_request_says(environ: dict[str, str]) -> None:
    settings = Settings.load(environ | {"PANEL_URL": "https://mail.example.org"})
    install.prepare(settings)
    app = create_app(settings)
    add_person()
    client, base = app.test_client(), "https://mail.example.org"

    def post(path: str, **fields: str) -> str:
        token = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path, base_url=base).text)
        assert token
        headers = {"Referer": f"{base}{path}", "X-Forwarded-Host": "evil.example"}
        return client.post(path, data=fields | {"csrf_token": token[1]}, base_url=base, headers=headers).text

    post("/login", email="ada@example.org", password=PASSWORD)
    page = post("/people/new", name="Bo", email="bo@example.org", role="agent", password="")
    assert "https://mail.example.org/invitation/" in page and "evil" not in page
    evil = client.get("/people/2", base_url="https://evil.example")
    assert evil.status_code == 421


def test_rules_are_those_of_every_password(app: Flask) -> None:
    with db.database.connection_context():
        person = service.add("bo@example.org", "Bo", "agent", None)
        token = invitations.create(person.id).rsplit("/", 1)[1]
        with pytest.raises(BadInput):
            invitations.accept(token, Secret("password1234"), "")
