"""Promises of the live test: each step when it happens, in a real browser; no stored password to another server."""

from __future__ import annotations

import http.client
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from panel import db
from panel.models import Activity
from tests import running
from tests.accounts.conftest import form, stored
from tests.browser.fixtures import CheckAxe
from tests.encryption.conftest import House
from tests.running import Environ, PanelServer
from tests.servers.certificates import Authority
from tests.servers.dovecot import DovecotServer
from tests.servers.hostile import RogueServer, ScriptedServer, Talk, greet, serve_folder
from tests.sign_in.browser import Browser
from tests.web import linter

NEW = "/accounts/new"
OWN, OWN_PASSWORD = "dana@example.org", "correct horse battery staple"


@dataclass(frozen=True)
class Gate:
    """A mail server that answers the log-in no sooner than the test opens it."""

    server: ScriptedServer
    opened: threading.Event

    @property
    def typed(self) -> dict[str, str]:
        return {
            "address": "slow@example.org",
            "host": "localhost",
            "port": str(self.server.port),
            "password": "p",
        }


@pytest.fixture
def gate(certificates: Authority) -> Iterator[Gate]:
    opened = threading.Event()

    def script(talk: Talk) -> None:
        greet(talk)
        tag, _ = talk.command()
        opened.wait(60)
        talk.send(tag + b" OK at last\r\n")
        serve_folder(talk)

    with ScriptedServer(script, certificates.good()) as server:
        yield Gate(server, opened)
        opened.set()


@pytest.fixture
def rogue(certificates: Authority) -> Iterator[RogueServer]:
    with RogueServer(certificates.good()) as server:
        yield server


@pytest.fixture
def environ(
    environ: Environ,
    dovecot: DovecotServer,
    certificates: Authority,
    rogue: RogueServer,
    gate: Gate,
    tmp_path: Path,
) -> Environ:
    """This install may reach all three servers and trusts their certificates."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(dovecot.ca_file.read_bytes() + certificates.ca_file.read_bytes())
    ports = f"{environ['PANEL_MAIL_PORTS']},{rogue.port},{gate.server.port}"
    return environ | {"PANEL_MAIL_CA_FILE": str(bundle), "PANEL_MAIL_PORTS": ports}


def steps(html: str) -> list[str]:
    return re.findall(r'<li class="(?:good|bad)">.*?<strong>([^<]+)</strong>', html, re.DOTALL)


# -- whom a password is shown to ------------------------------------------------------


@pytest.mark.parametrize("encrypted", [False, True], ids=["in clear", "encrypted"])
def test_no_other_server_ever_sees_a_log_in_with_the_stored_password(
    admin: Browser, house: House, rogue: RogueServer, dovecot: DovecotServer, encrypted: bool
) -> None:
    dovecot.add_user("own@example.org", "MARKER")
    mine = form(address="own@example.org", host="localhost", port=str(dovecot.tls_port), password="MARKER")
    assert admin.post(NEW, **mine).status_code == 303
    row = stored("own@example.org")
    if encrypted:
        with db.database.connection_context():
            house.enable()
    elsewhere = mine | {
        "port": str(rogue.port), "password": "", "account": row.account.uuid, "rev": str(row.rev),
    }  # fmt: skip
    assert admin.post("/accounts/test", on=NEW, **elsewhere).status_code == 422
    assert admin.post(f"/accounts/{row.account.uuid}/edit", **elsewhere).status_code == 422
    assert rogue.connections == 0


def test_a_sealed_password_is_not_tested_on_a_server_that_sql_put_there(
    admin: Browser, house: House, rogue: RogueServer
) -> None:
    admin.post(NEW, **form(host="localhost"))
    with db.database.connection_context():
        house.enable()
        house.sql("UPDATE endpoint SET port = ?", rogue.port)
    row = stored()
    typed = form(
        host="localhost", port=str(rogue.port), password="", account=row.account.uuid, rev=str(row.rev)
    )
    response = admin.post("/accounts/test", on=NEW, **typed)
    assert response.status_code == 503
    assert "changed" in response.text
    assert not rogue.saw_login


def test_a_typed_password_is_tested_on_the_typed_server_and_not_stored(
    admin: Browser, house: House, rogue: RogueServer
) -> None:
    admin.post(NEW, **form())
    row = stored()
    typed = form(host="localhost", port=str(rogue.port), password="another", account=row.account.uuid)
    assert "Sign in" in steps(admin.post("/accounts/test", on=NEW, **typed).text)
    assert rogue.saw_login
    with db.database.connection_context():
        assert house.opened(stored()) == "hunter2hunter2"
    assert stored().port == 993


# -- without scripts ------------------------------------------------------------------


def test_below_the_steps_stands_the_form_as_it_was_typed_but_the_password(
    admin: Browser, dovecot: DovecotServer
) -> None:
    typed = form(
        host="localhost", port=str(dovecot.tls_port), folder="Tickets", begin="all", password="MARKER"
    )
    page = admin.post("/accounts/test", on=NEW, **typed).text
    assert steps(page)[-1] == "Sign in"
    assert "Test failed" in page
    assert 'action="/accounts/new"' in page
    assert 'value="Tickets"' in page
    assert "MARKER" not in page


def test_the_contract_s_fields_alone_are_enough(admin: Browser, dovecot: DovecotServer) -> None:
    dovecot.add_user("few@example.org", "right")
    names = ("address", "protocol", "host", "port", "security", "username", "password")
    typed = form(address="few@example.org", host="localhost", port=str(dovecot.tls_port), password="right")
    page = admin.post("/accounts/test", on=NEW, **{name: typed[name] for name in names}).text
    assert len(steps(page)) == 5
    assert "Test passed" in page


def test_a_test_that_cannot_begin_says_why_in_the_form(admin: Browser, gate: Gate) -> None:
    response = admin.post("/accounts/test", on=NEW, **form(port="abc"))
    assert response.status_code == 422
    assert "Enter the port as a number." in response.text
    response = admin.post("/accounts/test", on=NEW, **form(**gate.typed) | {"password": ""})
    assert (response.status_code, 'id="password-error"' in response.text) == (422, True)
    assert gate.server.connections == 0


def test_a_page_without_scripts_grows_step_by_step(panel_server: PanelServer, gate: Gate) -> None:
    cookie, token = signed_in(panel_server)
    host = panel_server.environ["PANEL_BIND"]
    connection = http.client.HTTPConnection(host, timeout=60)
    body = urlencode(form(**gate.typed) | {"csrf_token": token})
    kind = "application/x-www-form-urlencoded"
    connection.request("POST", "/accounts/test", body, {"Content-Type": kind, "Cookie": cookie})
    response = connection.getresponse()
    seen = ""
    while "TLS" not in steps(seen):
        seen += response.readline().decode()
    assert steps(seen) == ["DNS", "Connect", "TLS"]
    assert not gate.opened.is_set()
    add_by_shell_while_a_test_waits(panel_server)
    gate.opened.set()
    seen += response.read().decode()
    assert steps(seen)[:4] == ["DNS", "Connect", "TLS", "Sign in"]
    assert "</html>" in seen
    assert linter.problems(seen) == []


def add_by_shell_while_a_test_waits(server: PanelServer) -> None:
    """The database is free meanwhile: another process writes to it at once."""
    options = ["--host", "imap.example.org", "--password-file", "-", "other@example.org"]
    done = running.flask(server.environ, "accounts", "add", *options, stdin="p")
    assert done.returncode == 0, done.stderr


def set_up(server: PanelServer) -> None:
    options = ["--admin-email", OWN, "--admin-name", "Dana", "--password-file", "-"]
    assert running.flask(server.environ, "setup", *options, stdin=OWN_PASSWORD).returncode == 0


def signed_in(server: PanelServer) -> tuple[str, str]:
    """The cookie and the CSRF token of an administrator."""
    set_up(server)
    connection = http.client.HTTPConnection(server.environ["PANEL_BIND"], timeout=60)

    def ask(method: str, path: str, cookie: str = "", **fields: str) -> tuple[str, str]:
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        connection.request(method, path, urlencode(fields), kind)
        response = connection.getresponse()
        found = re.search(r'name="csrf_token" value="([^"]+)"', response.read().decode())
        return (response.headers["Set-Cookie"] or cookie).split(";")[0], found[1] if found else ""

    cookie, token = ask("GET", "/login")
    cookie, _ = ask("POST", "/login", cookie, email=OWN, password=OWN_PASSWORD, csrf_token=token)
    return ask("GET", NEW, cookie)


# -- in a browser ---------------------------------------------------------------------


@pytest.fixture
def new_page(panel_server: PanelServer, page: Page, gate: Gate) -> Page:
    """The form of a new account, filled in for the slow server."""
    set_up(panel_server)
    page.goto(f"{panel_server.url}/login")
    page.get_by_label("Email address").fill(OWN)
    page.locator("#password").fill(OWN_PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login" not in url)
    page.goto(panel_server.url + NEW)
    page.get_by_label("Email address").fill(gate.typed["address"])
    page.get_by_label("Mail server", exact=True).fill("localhost")
    page.get_by_label("Port", exact=True).fill(gate.typed["port"])
    page.locator("#password").fill("p")
    return page


@pytest.mark.browser
def test_in_a_browser_each_step_appears_when_it_is_done(new_page: Page, gate: Gate, axe: CheckAxe) -> None:
    button = new_page.get_by_role("button", name="Test connection")
    button.click()
    expect(new_page.locator("#test li strong")).to_have_text(["DNS", "Connect", "TLS"])
    expect(new_page.locator("#test li").nth(3)).to_contain_text("Sign in …")
    button.click(force=True)  # once more while it runs: no second test
    gate.opened.set()
    expect(new_page.locator("#test li strong").nth(3)).to_have_text("Sign in")
    expect(new_page.locator("#test")).to_contain_text("Test passed")
    assert new_page.locator("#password").input_value() == "p", "the form is still as it was"
    new_page.wait_for_timeout(1500)  # the stream has ended: it is not asked for again
    assert gate.server.connections == 1
    axe(new_page)


@pytest.mark.browser
def test_in_a_browser_a_test_that_cannot_begin_says_why(
    new_page: Page, panel_server: PanelServer, gate: Gate
) -> None:
    new_page.get_by_label("Port", exact=True).fill("22")
    new_page.get_by_role("button", name="Test connection").click()
    expect(new_page.locator("#test")).to_contain_text("Port 22 is not allowed for mail servers")
    assert gate.server.connections == 0


@pytest.mark.browser
def test_in_a_browser_a_test_after_five_minutes_asks_for_the_own_password_first(
    new_page: Page, panel_server: PanelServer, gate: Gate
) -> None:
    gate.opened.set()
    with closing(sqlite3.connect(panel_server.data_dir / "panel.db", timeout=60)) as database, database:
        database.execute("UPDATE session SET confirmed_at = confirmed_at - 301")
    new_page.get_by_role("button", name="Test connection").click()
    new_page.get_by_label("Your password").fill(OWN_PASSWORD)
    new_page.get_by_role("button", name="Continue").click()
    expect(new_page.locator("main li strong").nth(3)).to_have_text("Sign in")
    assert gate.server.connections == 1


def test_every_test_is_kept_in_activity_without_its_password(admin: Browser, dovecot: DovecotServer) -> None:
    admin.post(
        "/accounts/test", on=NEW, **form(host="localhost", port=str(dovecot.tls_port), password="MARKER")
    )
    with db.database.connection_context():
        event = Activity.select().order_by(Activity.id.desc()).get()
    assert (event.what, event.subject, event.detail) == ("connection tested", "support@example.org", "")


@pytest.mark.browser
def test_axe_finds_nothing_in_an_account_with_every_trouble(
    new_page: Page, panel_server: PanelServer, gate: Gate, axe: CheckAxe
) -> None:
    add_by_shell_while_a_test_waits(panel_server)
    now = int(time.time())
    with closing(sqlite3.connect(panel_server.data_dir / "panel.db", timeout=60)) as database, database:
        (uuid,) = database.execute("SELECT uuid FROM account").fetchone()
        database.execute("UPDATE account SET paused_at = ?", (now,))
        database.execute("DELETE FROM collection")
        database.execute(
            "INSERT INTO collection (account_id, last_uid, begin_below, permanent, failures, next_due_at, leased_until,"
            " problem, remedy) VALUES (?, 0, 0, 0, 1, ?, 0, 'The server says no.', 'Ask it nicely.')",
            (uuid, now + 900),
        )
        database.execute(
            "INSERT INTO skipped (account_id, uidvalidity, uid, size, reason, at) VALUES (?, 1, 7, 99000000, 'Too large.', ?)",
            (uuid, now),
        )
    new_page.goto(f"{panel_server.url}/accounts")
    expect(new_page.locator("main")).to_contain_text("The server says no.")
    axe(new_page)
    new_page.get_by_role("link", name="other@example.org", exact=True).click()
    expect(new_page.locator("main")).to_contain_text("Too large.")
    axe(new_page)
    new_page.get_by_role("link", name="Edit").first.click()
    new_page.get_by_label("Port", exact=True).fill("143")
    new_page.get_by_role("button", name="Save").click()
    expect(new_page.locator(".problem")).to_be_focused()
    axe(new_page)
    new_page.goto(f"{panel_server.url}/accounts/{uuid}/remove")
    axe(new_page)
