"""Re-authentication carries out the very step that asked for it: once, for its own session, after every check."""

from __future__ import annotations

import re
import sqlite3
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.exceptions import InvalidTag
from flask import Flask

from panel import db
from panel.accounts import forms
from panel.config import Settings
from panel.models import Account, PendingForm, Person, Session
from panel.people import service as people
from panel.secret import Secret
from panel.sign_in import pending_form, sessions
from panel.web import replay
from panel.web.access import REAUTH_SECONDS
from tests.accounts.test_bulk import finished
from tests.running import find_marker
from tests.sign_in.browser import COOKIE, PASSWORD, WRONG, Browser, add_person, asked, confirm, later

SECRET = "mailbox SECRET grün 🐑 of the form"
MAILBOX = {
    "address": "new@example.org", "protocol": "imap", "host": "127.0.0.1", "port": "993", "security": "tls",
    "username": "", "password": SECRET, "folder": "INBOX", "interval": "61", "on_server": "keep", "begin": "now",
}  # fmt: skip


@pytest.fixture
def ada(app: Flask) -> Browser:
    add_person()
    add_person("bo@example.org", "agent")
    browser = Browser(app)
    browser.sign_in()
    expire_reauth()
    return browser


def expire_reauth() -> None:
    Session.update(confirmed_at=db.now() - REAUTH_SECONDS - 1).execute()


def disable_bo(browser: Browser) -> str:
    """Begin to disable access for Bo; the id of the form that waits."""
    return asked(browser.post("/people/2/disable", on="/people/2"))


def bo_is_disabled() -> bool:
    return Person.get_by_id(2).disabled_at is not None


# -- in one step ----------------------------------------------------------------------------


def test_after_the_password_the_very_step_is_done_without_clicking_again(ada: Browser) -> None:
    form = disable_bo(ada)
    assert not bo_is_disabled()
    done = confirm(ada, form)
    assert (done.status_code, done.location) == (303, "/people")
    assert bo_is_disabled()
    assert "Access for bo@example.org is disabled" in ada.get("/people").text


def test_a_form_arrives_with_all_that_was_typed_its_passwords_too(ada: Browser, app: Flask) -> None:
    fields = MAILBOX | {"force": forms.settings_digest(MAILBOX)}  # “Save anyway”: there is no such server
    done = confirm(ada, asked(ada.post("/accounts/new", **fields)))
    assert done.status_code == 303 and done.location.startswith("/accounts"), done.text
    account = Account.get()
    assert (account.address, account.interval) == ("new@example.org", 61)
    from panel.accounts import service
    from panel.vault import credential

    _, endpoint = service.find(account.uuid)
    opened = credential.open_for(endpoint, app.extensions["mailkeep"].vault)
    assert opened.secret.reveal() == SECRET


def test_a_form_with_a_mistake_is_shown_again_and_nobody_is_asked_for_it(ada: Browser) -> None:
    answer = ada.post("/accounts/new", **MAILBOX | {"address": ""})
    assert answer.status_code == 422 and "Enter the email address" in answer.text


def test_a_mistake_that_only_shows_afterwards_brings_the_form_back(ada: Browser) -> None:
    done = confirm(ada, asked(ada.post("/people/new", name="Cy", email="bo@example.org", role="agent",
                                       password="x" * 7 + "yzyzy")))  # fmt: skip
    assert done.status_code == 422 and 'value="Cy"' in done.text and 'action="/people/new"' in done.text
    assert "has been added already" in done.text


def test_a_wrong_password_keeps_the_form(ada: Browser) -> None:
    form = disable_bo(ada)
    wrong = confirm(ada, form, WRONG)
    assert wrong.status_code == 422 and f'value="{form}"' in wrong.text
    assert not bo_is_disabled()
    assert confirm(ada, form).status_code == 303 and bo_is_disabled()


def test_too_many_wrong_passwords_wait_as_ever_and_the_form_waits_too(
    ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = disable_bo(ada)
    statuses = [confirm(ada, form, f"wrong {n}").status_code for n in range(11)]
    assert statuses == [422] * 10 + [429]
    assert confirm(ada, form).status_code == 429 and not bo_is_disabled()
    assert PendingForm.select().count() == 1


def test_htmx_is_led_to_the_same_page(ada: Browser) -> None:
    token = re.search(r'name="csrf_token" value="([^"]+)"', ada.get("/people/2").text)
    assert token
    answer = ada.client.post(
        "/people/2/disable", headers={"HX-Request": "true", "X-CSRFToken": token[1]}
    )  # the token in the header alone, as a button outside a form sends it
    assert answer.status_code == 204 and answer.headers["HX-Redirect"].startswith("/confirm?form=")
    form = parse_qs(urlsplit(answer.headers["HX-Redirect"]).query)["form"][0]
    assert confirm(ada, form).status_code == 303 and bo_is_disabled()


def test_reading_never_asks(ada: Browser) -> None:
    for path in ("/people", "/people/new", "/people/2", "/accounts/new", "/server/encryption", "/server/alerts",
                 "/profile", "/activity"):  # fmt: skip
        assert ada.get(path).status_code == 200, path


def test_two_tabs_wait_for_one_password_each_and_neither_is_lost(ada: Browser) -> None:
    first = disable_bo(ada)
    second = asked(ada.post("/people/2", name="Bo", email="bo@example.org", role="user"))
    assert confirm(ada, second).status_code == 303  # renews the session's token
    assert confirm(ada, first).status_code == 303
    assert bo_is_disabled() and Person.get_by_id(2).role == "user"


def test_a_path_with_umlauts_and_a_query_arrives_as_it_was(ada: Browser, app: Flask) -> None:
    from flask import request

    seen: list[tuple[str, str, str]] = []

    def view(person_id: int) -> str:
        from panel.web.access import require_reauth

        require_reauth()
        seen.append((request.path, request.args["q"], request.form["text"]))
        return "done"

    app.view_functions["people.disable"] = view
    token = re.search(r'name="csrf_token" value="([^"]+)"', ada.get("/people/2").text)
    assert token
    text = "  ü 🐑\r\n<b>--x\x01  "
    answer = ada.client.post("/people/2/disable?q=%C3%BC%26%0A", data={"csrf_token": token[1], "text": text})
    assert confirm(ada, asked(answer)).text == "done"
    assert seen == [("/people/2/disable", "ü&\n", text)]


# -- it holds no secret in clear text ----------------------------------------------------------


def test_a_kept_form_is_nowhere_in_clear_text(
    ada: Browser, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    answer = ada.post("/accounts/new", **MAILBOX)
    page = ada.get(answer.location).text
    stored = b"".join(path.read_bytes() for path in settings.data_dir.rglob("*") if path.is_file())
    for text in ("SECRET", "new@example.org"):
        assert text not in page and text not in answer.location and text not in caplog.text
        assert text.encode() not in stored
    with ada.client.session_transaction() as cookie:
        assert "SECRET" not in repr(dict(cookie))


def test_a_copy_of_the_database_does_not_open_it_even_with_the_secret_key(ada: Browser, app: Flask) -> None:
    form = disable_bo(ada)
    with ada.client.session_transaction() as cookie:
        key = dict(cookie["forms"])[form]
    row = PendingForm.get()
    assert key.encode() not in bytes(row.sealed)
    with pytest.raises(InvalidTag):
        pending_form._cipher("", Secret(str(app.secret_key))).decrypt(bytes(12), bytes(row.sealed), b"")


def test_a_backup_has_none(ada: Browser, settings: Settings, app: Flask) -> None:
    from panel.audit import Actor
    from panel.backup import create

    disable_bo(ada)
    with db.database.connection_context():
        made = create.create(settings, settings.data_dir.parent / "copy.db", Actor("x"))
    with sqlite3.connect(made.path) as copy:
        assert copy.execute("SELECT count(*) FROM pending_form").fetchone() == (0,)
    copy.close()


# -- nobody else's, not again, not later --------------------------------------------------------


def test_it_is_done_once(ada: Browser) -> None:
    form = disable_bo(ada)
    confirm(ada, form)
    with db.database.connection_context():
        people.enable("bo@example.org")
    again = confirm(ada, form, next="/people/2")
    assert again.location == "/people/2" and not bo_is_disabled()
    assert "done already, or waited for too long" in ada.get("/people/2").text


def test_of_two_confirmations_at_once_one_does_it(ada: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    form = disable_bo(ada)
    monkeypatch.setattr(sessions, "renew", lambda visitor, confirmed: None)  # the other one was first
    assert confirm(ada, form).location == f"/confirm?form={form}"
    assert not bo_is_disabled() and PendingForm.select().count() == 1
    monkeypatch.undo()
    assert confirm(ada, form).status_code == 303 and bo_is_disabled()


def test_another_person_cannot_have_it_done(ada: Browser, app: Flask) -> None:
    form = disable_bo(ada)
    add_person("eve@example.org")
    eve = Browser(app)
    eve.sign_in("eve@example.org")
    with ada.client.session_transaction() as cookie:
        forms = cookie["forms"]
    with eve.client.session_transaction() as cookie:
        cookie["forms"] = forms  # even with the key
    assert confirm(eve, form).location == "/"
    assert not bo_is_disabled() and PendingForm.select().count() == 1


def test_nor_can_another_session_of_the_same_person(ada: Browser, app: Flask) -> None:
    form = disable_bo(ada)
    other = Browser(app)
    other.sign_in()
    assert confirm(other, form).location == "/" and not bo_is_disabled()


def test_who_copied_the_cookie_cannot_plant_a_step_for_its_owner_to_confirm(ada: Browser, app: Flask) -> None:
    thief = Browser(app, "192.0.2.66")
    cookie = ada.client.get_cookie(COOKIE)
    assert cookie
    thief.client.set_cookie(COOKIE, cookie.value)
    form = disable_bo(thief)  # the key is in the thief's browser alone
    assert confirm(ada, form).location == "/" and not bo_is_disabled()


def test_a_row_moved_to_another_session_does_not_open(ada: Browser, app: Flask) -> None:
    form = disable_bo(ada)
    with ada.client.session_transaction() as cookie:
        forms = cookie["forms"]
    add_person("eve@example.org")
    eve = Browser(app)
    eve.sign_in("eve@example.org")
    mine = Session.select().where(Session.person == 3).get()
    PendingForm.update(session=mine.id).execute()
    with eve.client.session_transaction() as cookie:
        cookie["forms"] = forms
    assert confirm(eve, form).location == "/" and not bo_is_disabled()


@pytest.mark.parametrize("forged", ["sealed", "created_at"])
def test_a_row_that_sql_changed_is_not_carried_out(ada: Browser, forged: str) -> None:
    form = disable_bo(ada)
    value = "nonsense" if forged == "sealed" else db.now() - 1
    PendingForm.update(**{forged: value}).execute()
    assert confirm(ada, form).location == "/" and not bo_is_disabled()


@pytest.mark.parametrize("seconds", [pending_form.SECONDS + 1, -3600])
def test_it_expires(ada: Browser, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    form = disable_bo(ada)
    Session.update(created_at=db.now() + seconds, seen_at=db.now() + seconds).execute()
    later(monkeypatch, seconds)
    assert "waited for too long" in ada.get(f"/confirm?form={form}").text
    assert confirm(ada, form).location == "/" and not bo_is_disabled()
    assert PendingForm.select().count() == 0


def test_it_goes_with_its_session(ada: Browser, app: Flask) -> None:
    form = disable_bo(ada)
    ada.post("/logout", on="/profile")
    assert PendingForm.select().count() == 0
    assert ada.get(f"/confirm?form={form}").location.startswith("/login")
    ada.sign_in()
    assert confirm(ada, form).location == "/" and not bo_is_disabled()


@pytest.mark.parametrize("what", ["disable", "set_password"])
def test_it_goes_when_access_is_disabled_or_the_password_is_set(ada: Browser, what: str) -> None:
    add_person("eve@example.org")
    disable_bo(ada)
    with db.database.connection_context():
        if what == "disable":
            people.disable("ada@example.org")
        else:
            people.set_password("ada@example.org", Secret("another quite long phrase"))
    assert PendingForm.select().count() == 0


def test_after_a_change_of_the_own_password_the_new_one_is_needed(ada: Browser) -> None:
    new = "another quite long phrase"
    form = disable_bo(ada)
    ada.post("/profile/password", on="/profile", old=PASSWORD, password=new)
    assert confirm(ada, form, PASSWORD).status_code == 422 and not bo_is_disabled()
    assert confirm(ada, form, new).status_code == 303 and bo_is_disabled()


def test_who_was_demoted_meanwhile_is_refused(ada: Browser) -> None:
    add_person("eve@example.org")
    form = disable_bo(ada)
    with db.database.connection_context():
        people.change_role("ada@example.org", "agent")
    answer = confirm(ada, form)
    assert answer.status_code == 403 and "for administrators" in answer.text
    assert not bo_is_disabled()


def test_who_was_promoted_meanwhile_does_it_in_the_new_role(ada: Browser, app: Flask) -> None:
    cy = Browser(app)
    add_person("cy@example.org", "agent")
    cy.sign_in("cy@example.org")
    with db.database.connection_context():
        people.change_role("cy@example.org", "admin")
    form = asked(cy.post("/people/2/disable", on="/profile"))
    assert not bo_is_disabled()
    assert confirm(cy, form).location == "/people" and bo_is_disabled()


def test_what_was_removed_meanwhile_is_not_found(ada: Browser, app: Flask) -> None:
    form = disable_bo(ada)
    Person.delete().where(Person.id == 2).execute()
    answer = confirm(ada, form)
    assert answer.status_code == 404 and "does not exist" in answer.text
    assert 'href="/">Go to the start page' in answer.text


def test_a_page_that_an_upgrade_took_away_meanwhile_is_not_found(
    ada: Browser, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "of_this_request", lambda: b'{"PATH_INFO": "/people/2/keep-out"}\n')
    form = disable_bo(ada)
    assert confirm(ada, form).status_code == 404


# -- no way in from elsewhere -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "with_token"),
    [({"Sec-Fetch-Site": "cross-site"}, True), ({"Origin": "https://evil.example"}, False), ({}, False)],
)
def test_what_another_site_sends_is_never_kept(
    ada: Browser, headers: dict[str, str], with_token: bool
) -> None:
    token = re.search(r'name="csrf_token" value="([^"]+)"', ada.get("/people/2").text)
    assert token
    fields = {"csrf_token": token[1] if with_token else ""}
    for path in ("/people/2/disable", "/people/2", "/accounts/new"):
        answer = ada.client.post(path, data=fields | MAILBOX | {"role": "admin"}, headers=headers)
        assert answer.status_code == 400, path
    assert PendingForm.select().count() == 0


def test_nor_what_has_no_form_token_where_the_new_role_waits_for_the_password(
    ada: Browser, app: Flask
) -> None:
    cy = Browser(app)
    add_person("cy@example.org", "agent")
    cy.sign_in("cy@example.org")
    with db.database.connection_context():
        people.change_role("cy@example.org", "admin")
    cy.get("/profile")
    for path in ("/people/2", "/people/2/disable", "/accounts/new"):
        assert cy.client.post(path, data=MAILBOX | {"role": "admin"}).status_code == 400, path
    assert PendingForm.select().count() == 0


def test_the_address_of_a_waiting_form_does_nothing_by_itself(ada: Browser) -> None:
    form = disable_bo(ada)
    for path in (f"/confirm?form={form}", f"/confirm?form={form}&password={PASSWORD}"):
        assert ada.get(path).status_code == 200
    answer = ada.client.post("/confirm", data={"form": form, "password": PASSWORD})  # without form token
    assert answer.status_code == 400
    assert not bo_is_disabled() and PendingForm.select().count() == 1


@pytest.mark.parametrize(
    "next_", ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:x"]
)
def test_it_leads_to_no_other_site(ada: Browser, next_: str) -> None:
    form = disable_bo(ada)
    assert "evil" not in ada.get(f"/confirm?form={form}&next={next_}").text
    assert confirm(ada, "unknown", next=next_).location == "/"


@pytest.mark.parametrize("form", ["", "x", "../..", "%00", "ü🐑", "<b>", "x" * 1024, "--"])
def test_any_text_may_stand_for_a_form(ada: Browser, form: str) -> None:
    assert ada.get(f"/confirm?form={form}").status_code == 200
    assert confirm(ada, form).location == "/"


def test_a_broken_cookie_of_ours_breaks_nothing(ada: Browser) -> None:
    with ada.client.session_transaction() as cookie:
        cookie["forms"] = [["a", "ü"]]
    assert confirm(ada, "a").location == "/"


# -- bounds -------------------------------------------------------------------------------------


def test_only_a_few_wait_at_a_time(ada: Browser) -> None:
    forms = [disable_bo(ada) for _ in range(pending_form.MOST + 2)]
    assert PendingForm.select().count() == pending_form.MOST
    with ada.client.session_transaction() as cookie:
        assert [form for form, _ in cookie["forms"]] == forms[2:]
    assert confirm(ada, forms[0]).location == "/" and not bo_is_disabled()
    assert confirm(ada, forms[-1]).location == "/people" and bo_is_disabled()


def test_what_is_too_large_is_said_and_not_kept(ada: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "LARGEST", 100)
    answer = ada.post("/accounts/new", **MAILBOX, came_from="/accounts/new")
    assert answer.location == "/confirm?next=/accounts/new"
    assert "too large to be kept" in ada.get(answer.location).text
    assert PendingForm.select().count() == 0


def test_a_form_of_a_megabyte_is_refused_before_it_is_kept(ada: Browser) -> None:
    assert ada.post("/accounts/new", **MAILBOX | {"username": "x" * 2**20}).status_code == 413
    assert PendingForm.select().count() == 0


def test_a_file_that_is_imported_arrives_too_as_large_as_one_may_be(ada: Browser, settings: Settings) -> None:
    from io import BytesIO

    lines = "address,protocol,host,port,security,username,password\n" + "".join(
        f"box{n}@example.org,imap,imap.example.org,993,tls,box{n}@example.org,{SECRET} {n}{'x' * 800}\n"
        for n in range(480)
    )
    token = re.search(r'name="csrf_token" value="([^"]+)"', ada.get("/accounts/import").text)
    assert token
    data = {"csrf_token": token[1], "import": "yes", "file": (BytesIO(lines.encode()), "ü list.csv")}
    form = asked(ada.client.post("/accounts/import", data=data, content_type="multipart/form-data"))
    assert find_marker(settings.data_dir, SECRET) == [] and Account.select().count() == 0
    done = confirm(ada, form)
    assert done.status_code == 303 and "/accounts/" in done.location, done.status
    assert finished(1).changed == 480


def test_a_file_that_is_sent_arrives_too(ada: Browser, app: Flask) -> None:
    from io import BytesIO

    from flask import request

    from panel.web.access import require_reauth

    def view(person_id: int) -> str:
        require_reauth()
        return f"{request.files['file'].filename}: {request.files['file'].read().decode()}"

    app.view_functions["people.disable"] = view
    token = re.search(r'name="csrf_token" value="([^"]+)"', ada.get("/people/2").text)
    assert token
    data = {"csrf_token": token[1], "file": (BytesIO("a,b\nü,🐑".encode()), "list.csv")}
    answer = ada.client.post("/people/2/disable", data=data, content_type="multipart/form-data")
    assert confirm(ada, asked(answer)).text == "list.csv: a,b\nü,🐑"
