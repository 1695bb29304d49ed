"""Promises of form tokens: good as long as the session; afterwards the form comes back as typed, and nothing is done."""

from __future__ import annotations

import html
import re
import sqlite3
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from panel import db
from panel.config import Settings
from panel.models import Account, Person, Session
from panel.sign_in import sessions
from panel.web.access import REAUTH_SECONDS
from panel.web.form_tokens import preserve_form_input
from panel.web.preserved_form import SECRETS
from tests.encryption.conftest import House
from tests.sign_in.browser import COOKIE, PASSWORD, Browser, add_person, later
from tests.web.test_typed_again import CHOSEN, TYPED, Form, Forms, forms

SECRET = "SECRET-typed-here"
NO_TOKEN = {
    "none": lambda token: "",
    "nonsense": lambda token: "nonsense",
    "half": lambda token: token[:-3],
    "forged": lambda token: token[:3] + ("x" if token[3] != "x" else "y") + token[4:],
}  # fmt: skip
HTMX = {"HX-Request": "true"}


@pytest.fixture
def house(app: Flask, settings: Settings) -> House:
    house = House(settings, app.extensions["mailkeep"].vault)
    with db.database.connection_context():
        house.add()
    return house


@pytest.fixture
def admin(app: Flask, house: House) -> Browser:
    add_person()
    browser = Browser(app)
    browser.sign_in()
    return browser


def expire_reauth() -> None:
    Session.update(confirmed_at=db.now() - REAUTH_SECONDS - 1).execute()


def pages(browser: Browser) -> Iterator[str]:
    """Every page there is without arguments, and those of the one account and person."""
    with db.database.connection_context():
        uuid = Account.get().uuid
    for rule in browser.client.application.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.endpoint not in ("static", "setup.enter"):
            yield re.sub(r"<int:[^>]+>", "1", rule.rule).replace("<uuid>", uuid)


class Areas(HTMLParser):
    """The text areas of a page, by name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._name = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "textarea":
            self._name = dict(attrs).get("name") or ""
            self.found[self._name] = ""

    def handle_data(self, data: str) -> None:
        if self._name:
            self.found[self._name] += data.removeprefix("\r\n")

    def handle_endtag(self, tag: str) -> None:
        self._name = "" if tag == "textarea" else self._name


def everything_typed(browser: Browser, pages: Iterator[str]) -> dict[str, Form]:
    """All forms with something to type in, by where they are sent."""
    found = {}
    for path in pages:
        answer = browser.get(path)
        if answer.status_code != 200 or "text/html" not in answer.content_type:
            continue
        others = re.findall(r'formaction="([^"]+)"', answer.text)
        for form in Forms(answer.text).found:
            typed = {"password", *TYPED} & set(form.kinds.values()) or (
                "recipients" in answer.text and "alerts" in form.action
            )
            if form.action == "/accounts/bulk":  # a selection
                continue
            if form.method == "post" and (
                typed or (list(forms(answer.text)) and "checkbox" in form.kinds.values())
            ):
                found[form.action] = form
                if form.action.startswith("/accounts/"):
                    found |= {
                        each: Form(each, "post", form.kinds, form.values, form.others) for each in others
                    }
    return found


def filled_in(form: Form) -> dict[str, str]:
    """Something that would be taken, in each field."""
    texts = {
        "address": "new@example.org", "email": "bo@example.org", "name": "Bo", "host": "imap.example.org",
        "answer": "a" * 64, "webhook": "https://hooks.example.org/x", "username": "bo", "folder": "Post",
    }  # fmt: skip
    typed = dict(form.values)
    for name, kind in form.kinds.items():
        if kind == "password":
            typed[name] = SECRET
        elif kind in TYPED and not typed.get(name):
            typed[name] = texts.get(name.split("-")[-1], "7")
        elif kind == "checkbox":
            typed[name] = form.others.get(name, form.values.get(name, ""))
    return typed


def stored(settings: Settings) -> list[str]:
    """All that the database holds, but who was seen when."""
    with sqlite3.connect(settings.data_dir / "panel.db") as connection:
        lines = [
            line for line in connection.iterdump() if not re.match(r'INSERT INTO "?(session|heartbeat)', line)
        ]
    connection.close()
    return lines


def but_signing_in(settings: Settings) -> list[str]:
    lines = [line for line in stored(settings) if not re.search("activity|sign_in_try", line)]
    return [
        re.sub(r"^(INSERT INTO .person. .*NULL),\d+,", r"\1,", line) for line in lines
    ]  # the last sign-in


def assert_as_typed(answer: TestResponse, form: Form, typed: dict[str, str]) -> Form:
    assert answer.status_code == 400, form.action
    assert SECRET not in answer.text, f"{form.action}: a password came back"
    assert "What you typed is still here" in html.unescape(answer.text), form.action
    fields = {name for name, kind in form.kinds.items() if kind in TYPED | CHOSEN}
    again = next(each for each in Forms(answer.text).found if fields <= set(each.kinds))
    lost = {name: again.values.get(name) for name in fields if again.values.get(name) != typed.get(name)}
    assert not lost, f"{form.action} lost {lost}"
    return again


@pytest.mark.parametrize("token", NO_TOKEN)
def test_every_form_comes_back_as_typed_without_a_good_token_and_nothing_is_done(
    admin: Browser, house: House, settings: Settings, token: str
) -> None:
    sent = set()
    for encrypted in (False, True):
        if encrypted:
            with db.database.connection_context():
                house.enable()
        found = everything_typed(admin, pages(admin))
        before = stored(settings)
        for action, form in found.items():
            typed = filled_in(form)
            typed["csrf_token"] = NO_TOKEN[token](typed["csrf_token"])
            again = assert_as_typed(admin.client.post(action, data=typed), form, typed)
            assert stored(settings) == before, action
            sent.add(action)
            fresh = {**typed, **again.values} | {"password": ""}
            if action.startswith(("/people", "/profile")):
                assert admin.client.post(action, data=fresh).status_code in (200, 303, 422), (
                    f"{action}: again 400"
                )
                before = stored(settings)
    with db.database.connection_context():
        uuid = Account.get().uuid
    assert sent >= {
        "/confirm", "/profile", "/profile/password", "/people/new", "/people/1/password", "/accounts/new", "/accounts/test",
        "/accounts/suggest", f"/accounts/{uuid}/edit", f"/accounts/{uuid}/sending", "/server/alerts",
        "/server/encryption/enable", "/server/encryption/backup",
    }  # fmt: skip


def test_text_areas_and_selections_come_back_too(admin: Browser) -> None:
    answer = admin.client.post(
        "/server/alerts", data={"recipients": "a@b.example\r\n<b>", "webhook": "https://x"}
    )
    assert Areas(answer.text).found["recipients"].split() == ["a@b.example", "<b>"]
    answer = admin.client.post("/people/1", data={"role": "agent"})
    assert answer.status_code == 400 and re.search(r'<option selected value="agent"', answer.text)
    assert Person.get().role == "admin"


def test_every_view_that_reads_a_form_preserves_its_input(app: Flask) -> None:
    buttons = {
        "sign_in.logout", "profile.end_others", "setup_steps.later", "accounts.pause", "accounts.resume",
        "accounts.remove", "accounts.restore", "accounts.collect", "accounts.collect_older", "accounts.retry_skipped", "accounts.test_stored",
        "sending.remove", "sending.test", "submission.remove", "alerts.test_mail", "alerts.test_webhook", "alerts.mute", "alerts.unmute", "backup.confirm",
        "people.disable", "people.enable", "people.invite", "people.delete", *(f"encryption.{step}" for step in ("rotate", "disable", "cancel", "resume", "verify", "scan_again", "prune")),
        "accounts.act", "accounts.undo", "delivery.test", "mailbox_delivery.again", "connect.connect", "connect.poll", "connect.confirm", "connect.cancel", "oauth.remove",
        "connect.paste",  # what is pasted holds a code, which no page repeats
    }  # fmt: skip
    posts = {rule.endpoint for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    assert {name for name in posts if not hasattr(app.view_functions[name], "preserve_form_input")} == buttons


def test_every_password_field_is_left_out_of_a_preserved_form(admin: Browser) -> None:
    expire_reauth()
    kinds: dict[str, set[bool]] = {}
    for form in everything_typed(admin, pages(admin)).values():
        for name, kind in form.kinds.items():
            kinds.setdefault(name, set()).add(kind == "password")
    assert {name for name, secret in kinds.items() if True in secret} >= {
        "password",
        "sending-password",
        "old",
    }
    assert all({SECRETS.search(name) is not None} == secret for name, secret in kinds.items())


# -- how long a token is good ---------------------------------------------------------------


@pytest.mark.parametrize("open_for", [2 * 3600, sessions.IDLE_SECONDS - 60, 3 * 24 * 3600])
def test_a_page_is_good_as_long_as_its_session(
    admin: Browser, monkeypatch: pytest.MonkeyPatch, open_for: int
) -> None:
    form = next(f for f in Forms(admin.get("/profile").text).found if f.action == "/profile")
    begun = db.now()
    while db.now() < begun + open_for:  # other pages are looked at meanwhile
        later(monkeypatch, min(sessions.IDLE_SECONDS - 60, begun + open_for - db.now()))
        assert admin.is_signed_in
    assert admin.client.post(form.action, data=form.values | {"name": "Bo"}).status_code == 303


def test_the_sign_in_page_is_good_the_next_morning(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    add_person()
    browser = Browser(app)
    form = next(f for f in Forms(browser.get("/login").text).found if f.action == "/login")
    later(monkeypatch, 20 * 3600)
    at = db.now()
    monkeypatch.setattr("time.time", lambda: at)  # which itsdangerous goes by
    typed = form.values | {"email": "ada@example.org", "password": PASSWORD}
    assert browser.client.post("/login", data=typed).status_code == 303


def test_a_page_of_the_session_before_comes_back_as_typed(admin: Browser) -> None:
    form = next(f for f in Forms(admin.get("/people/new").text).found if f.action == "/people/new")
    admin.post("/logout", on="/profile")
    admin.sign_in()
    typed = filled_in(form)
    assert_as_typed(admin.client.post("/people/new", data=typed), form, typed)
    assert Person.select().count() == 1


def test_a_sign_in_page_that_was_used_in_another_tab_leads_in(admin: Browser) -> None:
    assert (
        admin.client.post("/login", data={"email": "x@example.org", "next": "/people"}).location == "/people"
    )


def test_the_first_administrators_form_comes_back_too(app: Flask) -> None:
    from panel.setup import service

    with db.database.connection_context():
        url = service.open_url(app.extensions["mailkeep"].settings)
    browser = Browser(app)
    browser.get(str(url))
    typed = {"name": "Bo", "email": "bo@example.org", "password": SECRET}
    answer = browser.client.post("/setup/admin", data=typed)
    assert answer.status_code == 400 and 'value="bo@example.org"' in answer.text and SECRET not in answer.text
    assert Person.select().count() == 0


# -- after the session has ended --------------------------------------------------------------


def submit_password(browser: Browser, asked: TestResponse, **fields: str) -> TestResponse:
    """Type the password that `asked` asks for, then press Continue."""
    login_form = next(f for f in Forms(asked.text).found if f.action == "/login")
    wrong = browser.client.post(
        login_form.action, data=login_form.values | fields | {"password": "not the password at all"}
    )
    login_form = next(f for f in Forms(wrong.text).found if f.action == login_form.action)
    done = browser.client.post(login_form.action, data=login_form.values | fields)
    on = next(f for f in Forms(done.text).found if "Continue" in done.text and f.action not in ("/logout",))
    return browser.client.post(on.action, data=on.values)


def test_every_form_comes_back_after_signing_in_again(admin: Browser, settings: Settings) -> None:
    for action, form in everything_typed(admin, pages(admin)).items():
        typed = filled_in(form)
        if action == "/confirm" or action == "/profile/password" or action.endswith("/password"):
            continue  # nothing but secrets
        Session.delete().execute()
        asked = admin.client.post(action, data=typed)
        assert (
            asked.status_code == 400
            and "what you typed will be restored" in asked.text
            and SECRET not in asked.text
        )
        before = but_signing_in(settings)
        again = submit_password(admin, asked, email="ada@example.org", password=PASSWORD)
        assert_as_typed(again, form, typed)
        assert but_signing_in(settings) == before, action


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        '["/people/new"]',
        '["//evil", 1]',
        "[7, []]",
        "[" * 4000,
        '["https://evil.example/", [["a", "b"]]]',
    ],
)
def test_a_preserved_form_is_only_ever_one_of_this_panel(app: Flask, admin: Browser, text: str) -> None:
    assert Browser(app).sign_in(preserved_form=text).status_code == 303


def test_continue_never_leads_elsewhere(app: Flask, admin: Browser) -> None:
    for path in ("//evil.example/", "/\\evil.example", "/\t/evil.example"):
        text = f'["{path}", [["a", "b"]]]'.replace("\\", "\\\\")
        assert "evil" not in Browser(app).sign_in(preserved_form=text).text, path


# -- from elsewhere, and through htmx ------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:8001"}, {"Origin": "http://["}, {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("ended", [True, False])
def test_another_site_cannot_fill_in_a_form_of_ours(
    admin: Browser, headers: dict[str, str], ended: bool
) -> None:
    if ended:
        Session.delete().execute()
    typed = {"name": "Mallory", "email": "m@evil.example", "role": "admin"}
    answer = admin.client.post("/people/new", data=typed, headers=headers)
    assert (answer.status_code, "evil" in answer.text) == (400, False)


def test_the_panels_own_pages_are_not_elsewhere(admin: Browser) -> None:
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert 'value="Bo"' in admin.client.post("/people/new", data={"name": "Bo"}, headers=headers).text


@pytest.mark.parametrize("path", ["/accounts/test", "/accounts/suggest", "/server/encryption/enable"])
def test_htmx_is_told_what_is_wrong_and_the_token_that_holds_now(admin: Browser, path: str) -> None:
    form = everything_typed(admin, iter(["/accounts/new", "/server/encryption"]))[path]
    typed = filled_in(form) | {"csrf_token": ""}
    answer = admin.client.post(path, data=typed, headers=HTMX)
    assert (answer.status_code, "<html" in answer.text) == (400, False)
    assert "so nothing was saved" in answer.text and SECRET not in answer.text
    typed["csrf_token"] = answer.headers["X-CSRFToken"]
    typed.pop("backup_prepared", None)
    assert admin.client.post(path, data=typed, headers=HTMX).status_code != 400


def test_a_button_says_what_to_do(admin: Browser) -> None:
    with db.database.connection_context():
        uuid = Account.get().uuid
    answer = admin.client.post(f"/accounts/{uuid}/pause")
    assert (
        answer.status_code == 400
        and f'<a class="button" href="/accounts/{uuid}">Open the page again' in answer.text
    )
    assert Account.get().paused_at is None


def test_every_button_leads_back_to_a_page(admin: Browser, app: Flask) -> None:
    with db.database.connection_context():
        uuid = Account.get().uuid
    posts = [rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())]
    for rule in posts:
        if hasattr(app.view_functions[rule.endpoint], "preserve_form_input"):
            continue
        url = re.sub(r"<int:[^>]+>", "1", rule.rule).replace("<uuid>", uuid)
        link = re.search(r'<a class="button" href="([^"]+)">Open the page again', admin.client.post(url).text)
        assert link is not None, url
        there = admin.get(link[1]).status_code
        assert there in (200, 303, 403) or "/oauth/" in url, (
            url
        )  # 403: setup is over; of an app there is none


def test_a_view_that_would_act_all_the_same_cannot(admin: Browser) -> None:
    @preserve_form_input
    def careless() -> str:
        Person.update(role="user").execute()
        return "done"

    admin.client.application.view_functions["profile.change"] = careless
    assert admin.client.post("/profile").status_code == 503
    assert Person.get().role == "admin"
    assert admin.is_signed_in


def test_a_form_whose_token_is_good_but_not_its_referer_is_not_taken(environ: dict[str, str]) -> None:
    from panel import create_app, install

    settings = Settings.load(environ | {"PANEL_URL": "https://mail.example.org"})
    install.prepare(settings)
    app = create_app(settings)
    add_person()
    client = app.test_client()
    base = {"base_url": "https://mail.example.org"}
    page = client.get("/login", **base)
    form = next(f for f in Forms(page.text).found if f.action == "/login")
    typed = form.values | {"email": "ada@example.org", "password": PASSWORD}
    for headers in ({}, {"Referer": "https://evil.example/"}):
        answer = client.post("/login", data=typed, headers=headers, **base)
        assert answer.status_code == 400 and "did not send the Referer header" in answer.text
    assert Session.select().count() == 0
    assert client.get_cookie(f"__Host-{COOKIE}") is None or not Session.select().exists()
    assert (
        client.post(
            "/login", data=typed, headers={"Referer": "https://mail.example.org/login"}, **base
        ).status_code
        == 303
    )


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
@pytest.mark.parametrize("more", [{}, HTMX])
def test_a_good_token_does_not_help_a_page_of_another_site(
    admin: Browser, site: str, more: dict[str, str]
) -> None:
    with db.database.connection_context():
        uuid, before = Account.get().uuid, Account.get().interval
    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get(f"/accounts/{uuid}").text)
    assert token
    fields = {"csrf_token": token[1], "address": "0@example.org", "host": "evil.example", "port": "993",
              "security": "tls", "protocol": "imap", "interval": "61", "folder": "INBOX"}  # fmt: skip
    headers = {"Sec-Fetch-Site": site, **more}
    answer = admin.client.post(f"/accounts/{uuid}/edit", data=fields, headers=headers)
    assert answer.status_code == 400
    assert "evil.example" not in answer.text
    with db.database.connection_context():
        assert Account.get().interval == before
