"""Setup: only with the token, only once, then closed for good."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from flask import Flask

from panel import create_app, db
from panel.config import Settings
from panel.errors import AlreadySetUp
from panel.models import Activity, Person, SetupState
from panel.people import service as people
from panel.secret import Secret
from panel.setup import service
from panel.sign_in import sessions
from tests.running import PanelServer
from tests.sign_in.browser import PASSWORD, Browser, add_person

FIELDS = {"name": "Ada Lovelace", "email": "ada@example.org", "password": PASSWORD}


def opened(settings: Settings) -> str:
    with db.database.connection_context():
        url = service.open_url(settings)
    assert url is not None
    return url


def token_file(settings: Settings) -> Path:
    return settings.data_dir / "setup-token"


@pytest.fixture
def url(app: Flask, settings: Settings) -> str:
    return opened(settings)


@pytest.fixture
def browser(app: Flask, url: str) -> Browser:
    """One that has opened the one-time address."""
    browser = Browser(app)
    assert browser.get(url).location == "/setup/checks"
    return browser


# -- the token ---------------------------------------------------------------------


def test_the_token_lies_in_a_private_file_and_only_its_digest_in_the_database(
    url: str, settings: Settings
) -> None:
    token = token_file(settings).read_text().strip()
    assert url == f"/setup/{token}"
    assert stat.S_IMODE(token_file(settings).stat().st_mode) == 0o600
    assert bytes(SetupState.get().token_hash or b"") == hashlib.sha256(token.encode()).digest()
    assert len(token) >= 43  # 256 bits


def test_the_token_stays_over_restarts(url: str, settings: Settings) -> None:
    create_app(settings)
    assert opened(settings) == url


@pytest.mark.parametrize("content", [None, "", "something else\n", "\xff"])
def test_a_token_file_that_is_lost_or_edited_is_made_anew(
    app: Flask, url: str, settings: Settings, content: str | None
) -> None:
    if content is None:
        token_file(settings).unlink()
    else:
        token_file(settings).write_text(content, "latin-1")
    assert opened(settings) != url
    assert Browser(app).get(url).status_code == 404
    assert Browser(app).get(opened(settings)).status_code == 303


def test_two_servers_that_start_together_tell_the_same_address(app: Flask, settings: Settings) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(lambda _: opened(settings), range(4)))) == 1


def test_a_wrong_token_is_explained(app: Flask, url: str) -> None:
    answer = Browser(app).get("/setup/" + "x" * 43)
    assert answer.status_code == 404
    assert "This setup address is wrong." in answer.text


@pytest.mark.parametrize("method", ["GET", "POST", "checks"])
def test_nobody_gets_to_the_form_without_the_token(app: Flask, url: str, method: str) -> None:
    browser = Browser(app)
    if method != "POST":
        answer = browser.get("/setup/checks" if method == "checks" else "/setup/admin")
    else:
        answer = browser.post("/setup/admin", on="/login", **FIELDS)
    assert (answer.status_code, answer.location) == (303, "/setup")
    assert Person.select().count() == 0


def test_the_page_without_token_says_where_to_look_and_gives_nothing_away(
    app: Flask, url: str, settings: Settings
) -> None:
    answer = Browser(app).get("/setup")
    assert answer.status_code == 200
    assert "setup-token" in answer.text
    assert str(settings.data_dir) not in answer.text
    assert url not in answer.text


def test_the_login_page_points_to_set_up_until_there_is_an_administrator(app: Flask) -> None:
    assert 'href="/setup"' in Browser(app).get("/login").text
    add_person()
    assert 'href="/setup"' not in Browser(app).get("/login").text


# -- the first administrator ---------------------------------------------------------


def test_the_first_administrator_is_signed_in_and_told_what_comes_next(browser: Browser) -> None:
    answer = browser.post("/setup/admin", **FIELDS)
    assert (answer.status_code, answer.location) == (303, "/server/encryption")
    assert "Step 3 of 5" in browser.get(answer.location).text
    assert [(p.email, p.name, p.role) for p in Person.select()] == [
        ("ada@example.org", "Ada Lovelace", "admin")
    ]


def test_the_first_administrator_can_sign_in_elsewhere(app: Flask, browser: Browser) -> None:
    browser.post("/setup/admin", **FIELDS)
    assert Browser(app).sign_in().status_code == 303


def test_set_up_stands_in_activity(browser: Browser) -> None:
    browser.post("/setup/admin", **FIELDS)
    event = Activity.get()
    assert (event.who, event.what, event.address) == ("ada@example.org", "set up", "127.0.0.1")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", " ", "The name is empty"),
        ("email", "ada", "This is not an email address."),
        ("password", "", "Choose a password."),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_changes_nothing(
    browser: Browser, field: str, value: str, message: str
) -> None:
    answer = browser.post("/setup/admin", **FIELDS | {field: value})
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert message in answer.text
    assert PASSWORD not in answer.text
    assert Person.select().count() == 0


@pytest.mark.parametrize("password", ["too short", "password1234", "x" * 129, "Ada Lovelace"])
def test_a_password_that_is_guessed_first_is_refused(browser: Browser, password: str) -> None:
    answer = browser.post("/setup/admin", **FIELDS | {"password": password})
    assert answer.status_code == 422
    assert 'id="password-error"' in answer.text


# -- closed for good -------------------------------------------------------------------


def test_the_token_dies_with_the_first_administrator(
    app: Flask, browser: Browser, url: str, settings: Settings
) -> None:
    browser.post("/setup/admin", **FIELDS)
    assert not token_file(settings).exists()
    assert SetupState.get().token_hash is None
    for path in ("/setup", url, "/setup/admin"):
        assert Browser(app).get(path).status_code == 403
    with db.database.connection_context():
        assert service.open_url(settings) is None


def test_another_browser_that_held_the_token_comes_too_late(app: Flask, browser: Browser, url: str) -> None:
    late = Browser(app)
    late.get(url)
    browser.post("/setup/admin", **FIELDS)
    late.client.application.config["WTF_CSRF_ENABLED"] = False
    answer = late.client.post("/setup/admin", data=FIELDS | {"email": "late@example.org"})
    assert answer.status_code == 403
    assert Person.select().count() == 1


def test_set_up_stays_closed_when_every_administrator_is_gone(
    app: Flask, browser: Browser, settings: Settings
) -> None:
    browser.post("/setup/admin", **FIELDS)
    Person.delete().execute()
    assert Browser(app).get("/setup").status_code == 403
    assert service.open_url(settings) is None


def test_an_administrator_added_in_the_shell_closes_set_up_too(
    app: Flask, url: str, settings: Settings
) -> None:
    add_person()
    assert Browser(app).get(url).status_code == 403
    assert service.open_url(settings) is None
    assert not token_file(settings).exists()


def test_of_two_forms_sent_at_the_same_moment_one_succeeds(
    app: Flask, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    together = Barrier(2)
    really = people.prepare

    def prepare(*arguments: Any) -> Any:
        new = really(*arguments)
        together.wait(60)  # both have seen setup open
        return new

    monkeypatch.setattr(people, "prepare", prepare)

    def send(name: str) -> int:
        browser = Browser(app)
        browser.get(url)
        return browser.client.post("/setup/admin", data=FIELDS | {"email": f"{name}@example.org"}).status_code

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(send, ["ada", "bob"])) == [303, 403]
    assert Person.select().count() == 1


def test_where_closing_fails_there_is_no_administrator_either(
    app: Flask, url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(service, "record", fail)
    with pytest.raises(OSError, match="gone"), db.database.connection_context():
        service.create_admin(settings, "Ada", "ada@example.org", Secret(PASSWORD), None)
    assert Person.select().count() == 0
    assert SetupState.get().closed_at is None
    assert opened(settings) == url


def test_the_session_after_set_up_is_a_new_one(app: Flask, browser: Browser) -> None:
    browser.post("/setup/admin", **FIELDS)
    with browser.client.session_transaction() as content:
        assert "setup" not in content
        assert sessions.find(content["token"])


def test_the_service_refuses_a_second_time(app: Flask, settings: Settings) -> None:
    add_person()
    with pytest.raises(AlreadySetUp), db.database.connection_context():
        service.create_admin(settings, "Bob", "bob@example.org", Secret(PASSWORD), None)


# -- real processes ----------------------------------------------------------------------


def test_the_log_of_a_new_server_tells_the_address_and_it_opens_no_second_time(
    panel_server: PanelServer, cli: Callable[..., Any]
) -> None:
    token = (panel_server.data_dir / "setup-token").read_text().strip()
    line = f"Set up Mailkeep at {panel_server.url}/setup/{token}"
    panel_server.wait_for(line)
    panel_server.restart()
    assert panel_server.log.count(line) == 2
    done = cli(
        "setup", "--admin-email", "a@example.org", "--admin-name", "A", "--password-file", "-", stdin=PASSWORD
    )
    assert done.returncode == 0, done.stderr
    panel_server.restart()
    assert panel_server.log.count("Set up Mailkeep at") == 2
