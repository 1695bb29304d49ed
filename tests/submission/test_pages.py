"""The password is made on a page or in the shell, shown once, and ended there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from flask import Flask

from panel import db
from panel.models import Activity, SubmissionPassword
from panel.submission import passwords
from tests.encryption.conftest import House
from tests.running import Environ
from tests.sign_in.browser import PASSWORD, Browser, add_person
from tests.submission.conftest import ADDRESS, UPSTREAM_PASSWORD, add_mailbox

SHOWN = re.compile(r"\b[a-z2-7]{32}\b")


@pytest.fixture
def environ(environ: Environ) -> Environ:
    return environ | {"PANEL_SUBMISSION_BIND": "127.0.0.1:2587"}


@pytest.fixture
def uuid(house: House) -> str:
    with db.database.connection_context():
        return add_mailbox(house, ADDRESS, "smtp.example.org", 465, UPSTREAM_PASSWORD)


@pytest.fixture
def admin(app: Flask, uuid: str) -> Browser:
    add_person()
    browser = Browser(app)
    assert browser.sign_in().status_code == 303
    return browser


def is_right(house: House, password: str) -> bool:
    with db.database.connection_context():
        try:
            return bool(passwords.check(house.vault, ADDRESS, password.encode(), "1001"))
        except passwords.WrongPassword:
            return False


def test_a_password_is_shown_once(admin: Browser, uuid: str, house: House) -> None:
    page = f"/accounts/{uuid}/submission"
    assert f'href="{page}"' in admin.get(f"/accounts/{uuid}/sending").text
    shown = admin.post(page, aliases="sales@example.org  büro@example.org")
    [password] = set(SHOWN.findall(shown.text))
    assert shown.status_code == 200 and shown.headers["Cache-Control"] == "no-store"
    assert (
        "127.0.0.1" in shown.text
        and "2587" in shown.text
        and "sales@example.org, büro@example.org" in shown.text.replace("<wbr>", "")
    )
    assert is_right(house, password)
    again = admin.get(page).text
    assert password not in again and 'value="sales@example.org büro@example.org"' in again
    assert "Nothing has been sent yet" in again
    [other] = set(SHOWN.findall(admin.post(page, aliases="").text))
    assert is_right(house, other) and not is_right(house, password)
    with db.database.connection_context():
        assert [
            (e.who, e.subject)
            for e in Activity.select().where(Activity.what == "submission password created")
        ] == [("ada@example.org", ADDRESS)] * 2


def test_it_takes_the_persons_own_password(
    admin: Browser, uuid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panel.web.access.recently_authenticated", lambda: False)
    page = f"/accounts/{uuid}/submission"
    for path, fields in ((page, {"aliases": ""}), (f"{page}/remove", {})):
        asked = admin.post(path, on=page, **fields)
        assert asked.status_code in (303, 401, 403, 200) and not SHOWN.search(asked.text)
    with db.database.connection_context():
        assert not SubmissionPassword.select().exists()


@pytest.mark.parametrize(
    "aliases",
    ["no-address", "a@b@", "x" * 400 + "@example.org", "a@example.org,b@example.org", "<a@example.org>"],
)
def test_what_is_no_address_is_no_alias(admin: Browser, uuid: str, aliases: str) -> None:
    refused = admin.post(f"/accounts/{uuid}/submission", aliases=aliases)
    assert refused.status_code == 422 and not SHOWN.search(refused.text)
    with db.database.connection_context():
        assert not SubmissionPassword.select().exists()


def test_it_is_ended(admin: Browser, uuid: str, house: House) -> None:
    page = f"/accounts/{uuid}/submission"
    [password] = set(SHOWN.findall(admin.post(page, aliases="").text))
    assert admin.post(f"{page}/remove", on=page).status_code == 303
    assert not is_right(house, password)
    assert "No helpdesk can send" in admin.get(page).text


def test_a_mailbox_that_sends_nothing_gets_none(admin: Browser, uuid: str, house: House) -> None:
    with db.database.connection_context():
        house.sql("DELETE FROM endpoint WHERE direction = 'out'")
    page = f"/accounts/{uuid}/submission"
    assert "does not send mail" in admin.get(page).text


def test_the_shell_does_the_same(
    uuid: str, house: House, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = cli(
        "sending", "submission-password", ADDRESS, "--alias", "sales@example.org", "--alias", "x@example.org"
    )
    assert (done.returncode, done.stderr) == (0, "") and SHOWN.fullmatch(done.stdout.strip())
    assert is_right(house, done.stdout.strip())
    with db.database.connection_context():
        found = passwords.info(uuid)
        assert found is not None and found.aliases == ("sales@example.org", "x@example.org")
    refused = cli("sending", "submission-password", ADDRESS, "--remove")
    assert refused.returncode == 3 and "--yes" in refused.stderr
    assert cli("sending", "submission-password", ADDRESS, "--remove", "--yes").returncode == 0
    assert cli("sending", "submission-password", ADDRESS, "--remove", "--yes").returncode == 3
    assert cli("sending", "submission-password", "nobody@example.org").returncode == 3
    assert PASSWORD not in done.stdout
