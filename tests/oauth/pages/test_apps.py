"""Promises of apps, on their pages and in the shell: checked, sealed, named by their redirect address, used by mailboxes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from urllib.parse import quote

import pytest
from flask import Flask

from panel import db
from panel.config import Settings
from panel.errors import PanelError
from panel.models import OauthApp
from panel.models.oauth import AppPlace, new_uid
from panel.oauth import app_rules, apps
from panel.vault import credential
from tests import running
from tests.encryption.conftest import House
from tests.oauth.pages.connecting import CLIENT_SECRET, Connecting, path_of
from tests.sign_in.browser import Browser, add_person, later
from tests.terminal import Terminal

Cli = Callable[..., subprocess.CompletedProcess[str]]
SECRET = "MARKER8Q~client.secret-of-Contoso"
GUID = "0f3d6d4b-1c5a-4f0e-9d3e-6a1f9b0c2d3e"


def form(**over: str) -> dict[str, str]:
    return {
        "uid": new_uid(), "provider": "microsoft", "name": "Contoso", "tenant": GUID, "client_id": GUID,
        "client_secret": SECRET, "expires": "", "access": "delegated", **over,
    }  # fmt: skip


def place(**over: object) -> AppPlace:
    values: dict[str, object] = {
        "provider": "issuer",
        "issuer": "https://login.example.org",
        "client_id": "mailkeep",
    }
    return app_rules.place(new_uid(), **{"name": "x", **values, **over})  # type: ignore[arg-type]


def stored() -> list[OauthApp]:
    with db.database.connection_context():
        return list(OauthApp.select())


def test_an_app_is_added_in_the_browser_with_its_redirect_address_first(admin: Browser, house: House) -> None:
    page = admin.get("/server/oauth/new?provider=microsoft").text
    uid = re.findall(r'name="uid"[^>]*value="([0-9a-f]{32})"', page)[0]
    redirect = f"http://localhost/oauth/callback/{uid}"
    assert redirect in page
    answer = admin.post(
        "/server/oauth/new", **form(uid=uid, expires="2099-11-26", client_secret=f" {SECRET}\n")
    )
    assert answer.location == f"/server/oauth/{uid}"
    shown = admin.get(answer.location).text
    assert redirect in shown and "Contoso" in shown and SECRET not in shown
    (row,) = stored()
    assert (row.tenant, row.client_id, row.secret_expires_at) == (GUID, GUID, 4099420799)
    with db.database.connection_context():
        assert credential.open_row(row, house.vault).reveal() == SECRET
    assert house.files_with("MARKER8Q") == []
    assert "MARKER8Q" not in admin.get("/activity").text + admin.get("/server/oauth").text


def test_going_on_leads_back_to_the_mailbox(admin: Browser) -> None:
    answer = admin.post("/server/oauth/new", **form(back="/accounts/new?provider=microsoft"))
    page = admin.get(answer.location).text
    assert answer.location == "/accounts/new?provider=microsoft"
    assert "Contoso" in page and "No app is registered at Microsoft" not in page
    for back, to in (
        ("/accounts/new?provider=google", "/accounts/new?provider=google"),
        ("//evil", "/server/oauth"),
    ):
        page = admin.get(f"/server/oauth/new?back={quote(back)}").text
        assert f'href="{to}">Cancel' in page
    answer = admin.post("/server/oauth/new", **form(name="B", back="https://evil.example"))
    assert answer.location.startswith("/server/oauth/")


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"name": ""}, "name"), ({"name": "x" * 1024}, "name"), ({"name": "a\r\nb"}, "name"), ({"name": "contoso"}, "name"),
        ({"tenant": ""}, "tenant"), ({"tenant": "common"}, "tenant"), ({"tenant": "Organizations"}, "tenant"),
        ({"tenant": "x"}, "tenant"), ({"tenant": "a/../b"}, "tenant"), ({"tenant": "127.0.0.1"}, "tenant"),
        ({"tenant": "x" * 1024}, "tenant"), ({"client_id": ""}, "client_id"), ({"client_id": "a b"}, "client_id"),
        ({"client_id": "ü"}, "client_id"), ({"client_id": "x" * 1024}, "client_id"),
        ({"client_secret": GUID}, "client_secret"), ({"client_secret": "a\tb"}, "client_secret"),
        ({"client_secret": "pässword🐑"}, "client_secret"), ({"client_secret": "", "access": "application"}, "client_secret"),
        ({"client_secret": "", "provider": "google"}, "client_secret"), ({"expires": "tomorrow"}, "expires"),
        ({"expires": "2" * 1024}, "expires"), ({"provider": "evil"}, "provider"), ({"access": "root"}, "access"),
        ({"provider": "issuer", "issuer": ""}, "issuer"), ({"provider": "issuer", "issuer": "http://127.0.0.1:1"}, "issuer"),
        ({"provider": "issuer", "issuer": "http://login.example.org"}, "issuer"),
        ({"provider": "issuer", "issuer": "https://u:p@login.example.org"}, "issuer"),
        ({"provider": "issuer", "issuer": "https://login.example.org/?a=b"}, "issuer"),
        ({"provider": "issuer", "issuer": "javascript:alert(1)"}, "issuer"), ({"provider": "issuer", "issuer": "https://[::1"}, "issuer"),
        ({"provider": "issuer", "issuer": "https://x/" + "y" * 1024}, "issuer"),
        ({"provider": "issuer", "issuer": "https://login.example.org", "scopes": 'a"b'}, "scopes"),
        ({"provider": "issuer", "issuer": "https://login.example.org", "scopes": "s " * 1024}, "scopes"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_app_is_named_beside_its_field(
    admin: Browser, over: dict[str, str], field: str
) -> None:
    admin.post("/server/oauth/new", **form())
    answer = admin.post("/server/oauth/new", **form(**{"name": "Another", **over}))
    assert answer.status_code == 422
    assert (
        f'id="{field}-error"' in answer.text or f'id="{field}-0-error"' in answer.text or field == "access"
    ), answer.text
    assert "MARKER8Q" not in answer.text
    assert len(stored()) == 1


def test_a_client_secret_may_have_spaces_inside(admin: Browser) -> None:
    answer = admin.post("/server/oauth/new", **form(client_secret=f"two {SECRET} words"))
    assert (answer.status_code, len(stored())) == (303, 1)


def test_an_uid_that_is_not_ours_is_refused(admin: Browser) -> None:
    first = form()
    admin.post("/server/oauth/new", **first)
    for uid in ("", "x", "../../x", first["uid"], "A" * 32):
        assert admin.post("/server/oauth/new", **form(name="Another", uid=uid)).status_code == 422
    assert len(stored()) == 1


@pytest.mark.parametrize(
    ("issuer", "in_shell", "taken"),
    [
        ("http://127.0.0.1:8080/realms/x", True, True), ("http://localhost:1", True, True), ("http://[::1]:1", True, True),
        ("http://127.0.0.1:8080", False, False), ("http://127.0.0.1.evil.example", True, False),
        ("http://localhost.evil.example", True, False), ("http://192.0.2.1", True, False), ("https://192.0.2.1", False, True),
        ("https://x.example/.well-known/openid-configuration", False, True),
    ],
)  # fmt: skip
def test_plain_http_is_for_an_issuer_on_this_server_added_in_the_shell(
    issuer: str, in_shell: bool, taken: bool
) -> None:
    if taken:
        assert place(issuer=issuer, in_shell=in_shell).issuer in issuer
    else:
        with pytest.raises(PanelError):
            place(issuer=issuer, in_shell=in_shell)


@pytest.mark.parametrize(
    ("url", "expected", "back"),
    [
        ("", "http://localhost:8000", False), ("https://mail.example.org", "https://mail.example.org", True),
        ("https://example.org/mail/", "https://example.org/mail", True), ("http://mail.lan:8000", "http://localhost:8000", False),
        ("http://localhost:9000", "http://localhost:9000", True),
    ],
)  # fmt: skip
def test_the_redirect_address_is_one_that_providers_take(url: str, expected: str, back: bool) -> None:
    settings = Settings.load({"PANEL_ENV_FILE": "/dev/null", **({"PANEL_URL": url} if url else {})})
    assert apps.redirect_address(settings, "abc") == f"{expected}/oauth/callback/abc"
    assert apps.comes_back(settings) is back


def seen_on(connecting: Connecting, where: str) -> str:
    """What the form on that page says that it showed."""
    found = re.search(r'name="seen"[^>]* value="([^"]+)"', connecting.admin.get(where).text)
    assert found
    return found[1]


def test_a_client_secret_is_replaced_in_place(connecting: Connecting) -> None:
    uuid = connecting.connected()
    before = connecting.consent(uuid)
    with connecting.database():
        OauthApp.update(problem="The client secret has expired.", problem_at=db.now()).execute()
    where = f"/server/oauth/{connecting.uid}"
    assert "The client secret has expired." in connecting.admin.get(where).text
    seen = seen_on(connecting, where)
    refused = connecting.admin.post(f"{where}/secret", on=where, client_secret="x" * 4097, seen=seen)
    assert refused.status_code in (413, 422)
    answer = connecting.admin.post(
        f"{where}/secret", on=where, client_secret="another", expires="2099-01-02", seen=seen
    )
    assert answer.location == where
    with connecting.database():
        row = OauthApp.get()
        assert credential.open_row(row, connecting.house.vault).reveal() == "another"
        assert (row.problem, row.secret_expires_at) == (None, 4071081599)
    after = connecting.consent(uuid)
    assert (after.rev, after.connected_at) == (before.rev, before.connected_at)


def test_a_client_secret_is_stored_for_the_app_that_was_shown_alone(connecting: Connecting) -> None:
    where = f"/server/oauth/{connecting.uid}"
    with connecting.database():
        db.database.execute_sql("UPDATE oauth_app SET issuer = 'https://id.example.org'")
    seen = seen_on(connecting, where)
    with connecting.database():
        db.database.execute_sql("UPDATE oauth_app SET issuer = ?", (connecting.issuer.url,))
    answer = connecting.admin.post(f"{where}/secret", on=where, client_secret="another", seen=seen)
    assert answer.status_code == 409 and "not the one that was shown" in answer.text
    with connecting.database():
        row = OauthApp.get(OauthApp.uid == connecting.uid)
        assert credential.open_row(row, connecting.house.vault).reveal() == CLIENT_SECRET


def test_on_a_terminal_an_app_is_shown_before_its_client_secret_is_asked_for(connecting: Connecting) -> None:
    command = [".venv/bin/python", "-m", "flask", "oauth", "set-secret", "Company"]
    environ = running.process_environ(connecting.house.settings.environ)
    with Terminal(command, environ) as shown:
        shown.wait_for(f"Company: Other issuer, {connecting.issuer.url}, client ID {connecting.client_id}")
        for question in ("Client secret of Company:", "Again:"):
            shown.wait_for(question)
            shown.enter("typed on a terminal")
        assert shown.end() == 0
    with connecting.database():
        row = OauthApp.get(OauthApp.uid == connecting.uid)
        assert credential.open_row(row, connecting.house.vault).reveal() == "typed on a terminal"


def test_an_app_that_was_edited_gets_no_secret(connecting: Connecting) -> None:
    connecting.house.sql("UPDATE oauth_app SET issuer = 'https://evil.example'")
    where = f"/server/oauth/{connecting.uid}"
    page = connecting.admin.get(where).text
    assert "changed outside Mailkeep" in page
    answer = connecting.admin.post(
        f"{where}/secret", on=where, client_secret="another", seen=seen_on(connecting, where)
    )
    assert answer.status_code == 503
    with pytest.raises(PanelError), connecting.database():
        credential.open_row(OauthApp.get(), connecting.house.vault)


def test_an_app_stays_while_mailboxes_use_it(connecting: Connecting) -> None:
    address = connecting.user()
    connecting.connected(address)
    where = f"/server/oauth/{connecting.uid}"
    assert "Remove app</button>" not in connecting.admin.get(where).text
    answer = connecting.admin.post(f"{where}/remove", on=where)
    assert answer.status_code == 409
    assert f"1 mailbox signs in through “Company”: {address}." in answer.text
    with connecting.database():
        connecting.house.sql("DELETE FROM consent")
    assert connecting.admin.post(f"{where}/remove", on=where).location == "/server/oauth"
    assert not stored()
    assert connecting.admin.get(where).status_code == 404


def test_its_pages_say_when_a_secret_expires(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    admin.post("/server/oauth/new", **form(expires="2099-11-26"))
    assert "Needs attention" not in admin.get("/server/oauth").text.partition("<main")[2]
    with db.database.connection_context():
        OauthApp.update(secret_expires_at=db.now() + 86_400 * 20).execute()
    assert "Client secret expires" in admin.get("/server/oauth").text
    later(monkeypatch, 86_400 * 21)
    admin.sign_in()
    assert "Failing" in admin.get("/server/oauth").text


def test_without_encryption_no_app_is_stored(app: Flask, settings: Settings) -> None:
    add_person()
    browser = Browser(app)
    browser.sign_in()
    empty = browser.get("/server/oauth").text.partition("<main")[2]
    assert re.findall(r'class="button[^"]*" href="([^"]*)"', empty) == [
        "/server/encryption"
    ]  # one thing to do
    assert "Turn on encryption first." in browser.get("/server/oauth/new").text
    answer = browser.post("/server/oauth/new", **form())
    assert answer.status_code == 503 and "ncryption" in answer.text
    assert not stored()


# -- in the shell --------------------------------------------------------------------------------


def test_the_shell_does_the_same(cli: Cli, connecting: Connecting) -> None:
    done = cli(
        "oauth", "add", "--provider", "issuer", "--issuer", connecting.issuer.url, "--client-id", "public", "--", "-N",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(cli("oauth", "show", "--json", "--", "-N").stdout)
    assert found["redirect"] in done.stdout.splitlines()
    assert (found["provider"], found["issuer"], found["access"]) == (
        "issuer",
        connecting.issuer.url,
        "delegated",
    )
    refused = cli("oauth", "set-secret", "Company", "--client-secret-file", "-", stdin="new secret \n")
    assert refused.returncode == 2
    done = cli(
        "oauth", "set-secret", "Company", "--client-secret-expires", "2099-11-26", "--client-secret-file", "-",
        stdin=f"{CLIENT_SECRET}\n",
    )  # fmt: skip
    assert done.returncode == 0 and "MARKER" not in done.stdout
    assert "expires_at: 2099-11-26\n" in cli("oauth", "show", "Company").stdout
    assert "0 mailboxes, client secret expires 2099-11-26." in cli("oauth", "list").stdout
    with connecting.database():
        row = OauthApp.get(OauthApp.name == "Company")
        assert credential.open_row(row, connecting.house.vault).reveal() == CLIENT_SECRET
    connecting.connected()
    refused = cli("oauth", "remove", "Company", "--yes")
    assert refused.returncode == 3 and "1 mailbox signs in" in refused.stderr
    assert cli("oauth", "remove", "--yes", "--", "-N").returncode == 0
    listed = json.loads(cli("oauth", "list", "--json").stdout)
    assert [(one["name"], one["mailboxes"]) for one in listed] == [("Company", 1)]
    for wrong in (
        ("--provider", "x"),
        ("--provider", "microsoft", "--tenant", "common"),
        ("--provider", "issuer", "--issuer", "http://x.example"),
    ):
        assert cli("oauth", "add", "B", *wrong, "--client-id", "c").returncode == 2
    assert cli("oauth", "show", "nothing").returncode == 3


def test_an_app_that_nobody_signs_in_through_has_no_redirect_address_to_register(
    cli: Cli, connecting: Connecting
) -> None:
    added = cli(
        "oauth", "add", "Robot", "--provider", "microsoft", "--tenant", "contoso.example", "--client-id", "c",
        "--client-secret-file", "-", "--application", stdin=CLIENT_SECRET,
    )  # fmt: skip
    assert added.stdout == "Robot was added. Nobody signs in through it, so it needs no redirect address.\n"
    for name, there in (("Robot", False), ("Company", True)):
        uid = json.loads(cli("oauth", "show", name, "--json").stdout)["uid"]
        assert ("Register exactly" in connecting.admin.get(f"/server/oauth/{uid}").text) is there


def test_the_shell_refuses_a_device_code_where_the_provider_has_none(
    cli: Cli, connecting: Connecting
) -> None:
    connecting.known_app("google")
    server = "--host", "imap.gmail.com", "--port", "993", "--auth", "oauth", "--app", "google"
    assert cli("accounts", "add", "office@example.net", *server).returncode == 0
    refused = cli("oauth", "connect", "office@example.net", "--device")
    assert refused.returncode == 3 and "no device code for mail. Connect in a browser." in refused.stderr
    assert "at-fault" not in refused.stderr


def test_a_mailbox_is_connected_from_the_shell(cli: Cli, connecting: Connecting) -> None:
    address = connecting.user()
    added = cli(
        "accounts", "add", address, "--host", "localhost", "--port", str(connecting.dovecot.tls_port),
        "--auth", "oauth", "--app", "Company",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    with connecting.shell("oauth", "connect", address) as shell:
        url = connecting.line(shell, connecting.issuer.url)
        out, _ = shell.communicate(connecting.issuer.sign_in(url, address) + "\n", timeout=120)
        assert shell.returncode == 0, out
    assert f"Signed in as {address}." in out and f"{address} is connected as {address}." in out
    assert connecting.consent(connecting.uuid(address)).connected_at
    listed = json.loads(cli("accounts", "list", "--json").stdout)
    assert [(one["auth"], one["consent"]) for one in listed] == [("oauth", "ok")]
    collected = cli("collect", "--once")
    assert collected.returncode == 0, collected.stderr


def test_or_with_a_code_for_another_device(connecting: Connecting) -> None:
    address = connecting.user()
    connecting.waiting(address)
    with connecting.shell("oauth", "connect", address, "--device") as shell:
        connecting.line(shell, connecting.issuer.url)
        code = connecting.line(shell, "")
        connecting.issuer.enter(code, address)
        out, _ = shell.communicate(timeout=120)
        assert shell.returncode == 0, out
    assert f"{address} is connected as {address}." in out


@pytest.mark.parametrize(
    "pasted", ["\n", "hello\n", "http://localhost/oauth/callback/x?code=1&state=2\n", "x" * 9000]
)
def test_a_wrong_address_connects_nothing(connecting: Connecting, pasted: str) -> None:
    address = connecting.user()
    connecting.waiting(address)
    with connecting.shell("oauth", "connect", address) as shell:
        connecting.line(shell, connecting.issuer.url)
        _, errors = shell.communicate(pasted, timeout=120)
    assert shell.returncode == 3, errors
    assert connecting.consent(connecting.uuid(address)).connected_at is None
    assert connecting.issuer.log() == []
    with connecting.database():
        assert connecting.house.sql("SELECT count(*) FROM pending") == [(0,)]


@pytest.mark.parametrize(("signed_in", "typed"), [(True, True), (False, True), (False, False)])
def test_a_browser_that_comes_back_to_the_panel_goes_on_in_the_shell(
    connecting: Connecting, signed_in: bool, typed: bool
) -> None:
    address = connecting.user()
    connecting.waiting(address)
    browser = connecting.admin if signed_in else Browser(connecting.app)
    with connecting.shell("oauth", "connect", address) as shell:
        url = connecting.line(shell, connecting.issuer.url)
        if not typed and shell.stdin is not None:
            shell.stdin.close()  # a script: nobody types
        ended_at = connecting.issuer.sign_in(url, address)
        answer = browser.get(path_of(ended_at))
        assert answer.location == ("/accounts" if signed_in else "/login?next=/accounts")
        assert "goes on in the shell" in browser.get(answer.location).text
        assert browser.get(path_of(ended_at)).status_code == 303  # once more
        assert shell.wait(timeout=120) == 0, shell.communicate()
    assert len(connecting.issuer.log()) == 1
    assert connecting.consent(connecting.uuid(address)).signs_in_as == address


def test_but_no_code_of_another_app_does(connecting: Connecting) -> None:
    other = connecting.add_app("Rogue", client_id="rogue")
    address = connecting.user()
    connecting.waiting(address)
    with connecting.shell("oauth", "connect", address) as shell:
        ended_at = connecting.issuer.sign_in(connecting.line(shell, connecting.issuer.url), address)
        connecting.admin.get(path_of(ended_at).replace(connecting.uid, other))
        _, errors = shell.communicate("\n", timeout=120)
    assert shell.returncode == 3, errors
    assert connecting.issuer.log() == []
