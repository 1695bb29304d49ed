"""Promises of moving a mailbox from its password to its provider and back, in place; and of its sending."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from panel import db
from panel.accounts import rules, service
from panel.accounts.service import New
from panel.audit import Actor
from panel.models import Account, Consent, Endpoint
from panel.secret import Secret
from panel.vault import credential
from tests.oauth.pages.connecting import Connecting

Cli = Callable[..., subprocess.CompletedProcess[str]]
MESSAGE = b"From: a@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


@contextmanager
def database() -> Iterator[None]:
    with db.database.connection_context():
        yield


def add(connecting: Connecting, address: str) -> str:
    """A mailbox with a password; its uuid."""
    where = rules.server(
        connecting.house.settings, "imap", "localhost", connecting.dovecot.tls_port, "tls", address
    )
    new = New(rules.mailbox(address), where, Secret("hunter2hunter2"), "all")
    with database():
        return service.add(connecting.house.vault, new, Actor("ada@example.org"))


def edited(connecting: Connecting, uuid: str, address: str, **over: str) -> dict[str, str]:
    """The form of the mailbox as it stands on its page, with what is typed."""
    page = connecting.admin.get(f"/accounts/{uuid}/edit").text
    values = dict(re.findall(r'<input[^>]*name="(rev|seen|account)"[^>]*value="([^"]*)"', page))
    return connecting.form(address, **{**values, **over})


def kinds(uuid: str) -> dict[str, str]:
    with database():
        return {
            str(row.direction): str(row.kind) for row in Endpoint.select().where(Endpoint.account == uuid)
        }


def test_a_password_mailbox_is_moved_in_place_and_back(connecting: Connecting) -> None:
    address = connecting.user()
    uuid = add(connecting, address)
    with database():
        begun = Account.get(Account.uuid == uuid).created_at
    answer = connecting.admin.post(
        f"/accounts/{uuid}/edit", on=f"/accounts/{uuid}/edit", **edited(connecting, uuid, address)
    )
    assert "None is stored, so it cannot be empty." in connecting.admin.get(f"/accounts/{uuid}/edit").text
    page = connecting.follow(answer)  # on to the provider at once
    assert page.headers["Refresh"]
    assert kinds(uuid) == {"in": "consent"}
    connecting.confirm(connecting.come_back(connecting.sign_in(page, address)))
    assert connecting.consent(uuid).connected_at
    with database():
        assert Account.get().created_at == begun and Account.select().count() == 1

    values = edited(connecting, uuid, address, auth="password", password="")
    refused = connecting.admin.post(f"/accounts/{uuid}/edit", on=f"/accounts/{uuid}/edit", **values)
    assert refused.status_code == 422 and "No password is stored for this server." in refused.text
    values = edited(connecting, uuid, address, auth="password", password="another password")
    assert (
        connecting.admin.post(f"/accounts/{uuid}/edit", on=f"/accounts/{uuid}/edit", **values).status_code
        == 303
    )
    assert kinds(uuid) == {"in": "password"}
    with database():
        assert not Consent.select().exists()
        row = Endpoint.get(Endpoint.account == uuid)
        assert credential.open_row(row, connecting.house.vault).reveal() == "another password"


def test_nothing_is_delivered_twice_or_lost_on_the_way(connecting: Connecting, cli: Cli) -> None:
    address = connecting.user()
    uuid = connecting.connected(address)
    spool = connecting.house.settings.mail_spool / uuid

    def collected() -> int:
        done = cli("collect", "--once", "--account", address)
        assert done.returncode == 0, done.stderr
        return len(list(spool.glob("new/*")))

    connecting.dovecot.deliver(address, MESSAGE)
    assert collected() == 1
    values = edited(connecting, uuid, address, auth="password", password="another password")
    assert (
        connecting.admin.post(f"/accounts/{uuid}/edit", on=f"/accounts/{uuid}/edit", **values).status_code
        == 303
    )
    connecting.dovecot.deliver(address, MESSAGE)
    values = edited(connecting, uuid, address)
    answer = connecting.admin.post(f"/accounts/{uuid}/edit", on=f"/accounts/{uuid}/edit", **values)
    connecting.confirm(connecting.come_back(connecting.sign_in(connecting.follow(answer), address)))
    assert collected() == 2


def test_saving_what_stands_there_keeps_the_consent(connecting: Connecting) -> None:
    address = connecting.user()
    uuid = connecting.connected(address)
    before = connecting.consent(uuid)
    values = edited(connecting, uuid, address, interval="120", signs_in_as=before.signs_in_as)
    answer = connecting.admin.post(f"/accounts/{uuid}/edit", on=f"/accounts/{uuid}/edit", **values)
    assert "collecting=" in answer.location
    after = connecting.consent(uuid)
    assert (after.uid, after.connected_at) == (before.uid, before.connected_at)
    with database():
        assert Account.get().interval == 120


@pytest.mark.parametrize(
    "over", [{"port": "993"}, {"username": "x@example.org"}, {"signs_in_as": "bob@example.org"}]
)
def test_a_token_goes_to_no_server_that_nobody_consented_to(
    connecting: Connecting, over: dict[str, str]
) -> None:
    address = connecting.user()
    uuid = connecting.connected(address)
    values = edited(connecting, uuid, address, **over)
    answer = connecting.admin.post(f"/accounts/{uuid}/edit", on=f"/accounts/{uuid}/edit", **values)
    assert "/connect/" in answer.location
    consent = connecting.consent(uuid)
    assert consent.connected_at is None and consent.subject == ""
    with database():
        assert credential.open_row(consent, connecting.house.vault).reveal() == ""


@pytest.mark.parametrize("provider", ["microsoft", "google"])
def test_the_big_providers_are_reached_at_their_own_servers_alone(
    connecting: Connecting, provider: str
) -> None:
    app = connecting.known_app(provider)
    host = {"microsoft": "outlook.office365.com", "google": "imap.gmail.com"}[provider]
    smtp = {"microsoft": "smtp.office365.com", "google": "smtp.gmail.com"}[provider]
    evil = {"host": "evil.example.org", "port": "993", "sending-host": "evil.example.org", "sends": "y"}
    form = connecting.form(
        "office@example.org", provider=provider, signs_in_as="delegate@example.org", **evil
    )
    page = connecting.follow(
        connecting.admin.post("/accounts/new", **form | {f"app_{provider}": app, "app": ""})
    )
    url = page.headers["Refresh"].removeprefix("0; url=")
    assert url.startswith(
        {
            "microsoft": "https://login.microsoftonline.com/contoso.example/",
            "google": "https://accounts.google.com/",
        }[provider]
    )
    assert "login_hint=delegate%40example.org" in url and "code_challenge_method=S256" in url
    with database():
        servers = {str(row.direction): str(row.host) for row in Endpoint.select()}
    assert servers == {"in": host, "out": smtp}
    direct = connecting.form(
        "other@example.org", provider="other", app=app, host="evil.example.org", port="993"
    )
    refused = connecting.admin.post("/accounts/new", **direct)
    assert refused.status_code == 422 and "own servers only" in refused.text
    uuid = connecting.uuid("office@example.org")
    values = edited(
        connecting, uuid, address="office@example.org", app=app, host="evil.example.org", port="993"
    )
    refused = connecting.admin.post(f"/accounts/{uuid}/edit", on=f"/accounts/{uuid}/edit", **values)
    assert refused.status_code == 422 and "own servers only" in refused.text


def test_one_consent_serves_sending_too(connecting: Connecting) -> None:
    address = connecting.user()
    uuid = connecting.connected(address)
    before = connecting.consent(uuid)
    page = connecting.admin.get(f"/accounts/{uuid}/sending").text
    assert re.search(r'checked[^>]*value="oauth"', page)
    values = {
        "auth": "oauth", "app": connecting.uid, "host": "localhost", "security": "starttls",
        "port": str(connecting.dovecot.submission_port), "username": "", "signs_in_as": before.signs_in_as,
    }  # fmt: skip
    answer = connecting.admin.post(f"/accounts/{uuid}/sending", **values)
    assert answer.status_code == 303, answer.text
    assert kinds(uuid) == {"in": "consent", "out": "consent"}
    with database():
        assert Consent.select().count() == 1
        held = {credential.open_row(row, connecting.house.vault).reveal() for row in Endpoint.select()}
    assert held == {connecting.consent(uuid).uid}
    shown = connecting.admin.get(f"/accounts/{uuid}").text
    assert "Waiting for consent." in shown  # a server was added that nobody consented to
    connecting.confirm(connecting.come_back(connecting.sign_in(connecting.connect(uuid), address)))
    assert connecting.consent(uuid).connected_at
    sent = connecting.admin.post(f"/accounts/{uuid}/sending/test", on=f"/accounts/{uuid}/sending").text
    assert "Access token" in sent and "Not sent" not in sent, sent


def test_the_shell_says_that_sending_waits_for_its_consent(cli: Cli, connecting: Connecting) -> None:
    uuid = connecting.connected()
    done = cli(
        "sending", "set", uuid, "--host", "localhost", "--security", "starttls",
        "--port", str(connecting.dovecot.submission_port), "--auth", "oauth", "--app", "Company",
    )  # fmt: skip
    assert done.returncode == 0 and "It waits for its consent. To connect it: " in done.stdout, done.stderr
    connecting.confirm(connecting.come_back(connecting.sign_in(connecting.connect(uuid), "a@example.org")))
    again = cli(
        "sending", "set", uuid, "--host", "localhost", "--security", "starttls",
        "--port", str(connecting.dovecot.submission_port), "--auth", "oauth", "--app", "Company",
    )  # fmt: skip
    assert again.returncode == 0 and "waits" not in again.stdout, again.stderr


def test_the_connection_test_shows_the_steps_of_the_token(connecting: Connecting) -> None:
    uuid = connecting.connected()
    page = connecting.admin.post(f"/accounts/{uuid}/test", on=f"/accounts/{uuid}").text
    names = re.findall(r"<strong>(App|Access token|DNS|Connect|TLS|Sign in|Folder)</strong>", page)
    assert names == ["App", "Access token", "DNS", "Connect", "TLS", "Sign in", "Folder"]
    assert "Test passed" in page
