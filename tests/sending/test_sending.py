"""Promises of sending: a password of its own record, for its own server, sealed like every other."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable

import pytest

from panel import db
from panel.accounts import service as accounts
from panel.errors import NotFound
from panel.models import Activity, Endpoint
from panel.sending import service
from panel.vault import credential, unfinished
from panel.vault.state import State
from tests.accounts.conftest import form
from tests.collect.conftest import due_uuids
from tests.encryption.conftest import House
from tests.sending.conftest import ADDRESS
from tests.servers.hostile import ScriptedServer
from tests.servers.smtp import SmtpServer
from tests.sign_in.browser import Browser

NEW = "/accounts/new"
TYPED = [" leading", "trailing ", "Grüße", "🗝️🔑", "\"'\\%s", "x", "x" * 1024, "--leading", "AQGfPEHSB6rlsQ=="]


def new(smtp: SmtpServer, **over: str) -> dict[str, str]:
    values = {
        "sends": "y", "same_password": "y", "sending-host": "localhost", "sending-port": str(smtp.tls_port),
        "sending-security": "tls", "sending-username": "", **over,
    }  # fmt: skip
    return form(**values)


def uuid() -> str:
    with db.database.connection_context():
        return str(accounts.find(ADDRESS)[0].uuid)


def opened(house: House, direction: str) -> str:
    with db.database.connection_context():
        endpoint = Endpoint.get(Endpoint.direction == direction)
        return credential.open_for(endpoint, house.vault).secret.reveal()


def sent(smtp: SmtpServer, **over: str) -> dict[str, str]:
    return {
        "host": "localhost", "port": str(smtp.tls_port), "security": "tls", "username": "", **over,
    }  # fmt: skip


@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("typed", TYPED, ids=lambda t: ascii(t[:12]))
def test_the_same_password_is_sealed_twice_each_record_for_its_own_server(
    admin: Browser, house: House, smtp: SmtpServer, typed: str, on: bool
) -> None:
    if on:
        with db.database.connection_context():
            house.enable()
    assert admin.post(NEW, **new(smtp, password=typed)).status_code == 303
    assert opened(house, "in") == opened(house, "out") == typed
    with db.database.connection_context():
        records = [row.sealed for row in Endpoint.select()]
    assert len(set(records)) == (2 if on else 1)


def test_another_password_for_sending_is_kept_apart(admin: Browser, house: House, smtp: SmtpServer) -> None:
    typed = new(smtp, same_password="", **{"sending-password": "the other"})
    assert admin.post(NEW, **typed).status_code == 303
    assert (opened(house, "in"), opened(house, "out")) == ("hunter2hunter2", "the other")


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"sending-host": ""}, "The name of the mail server is empty."),
        ({"sending-port": "22"}, "Port 22 is not allowed"),
        ({"sending-port": "many"}, "Enter the port as a number."),
        ({"sending-security": "none", "sending-host": "smtp.example.org"}, "Without TLS the password"),
        ({"same_password": "", "sending-password": ""}, "The password is empty."),
    ],
)
def test_bad_input_for_sending_is_422_beside_its_field_and_stores_nothing(
    admin: Browser, smtp: SmtpServer, over: dict[str, str], message: str
) -> None:
    response = admin.post(NEW, **{**new(smtp), **over})
    assert response.status_code == 422 and message in response.text
    assert '<details id="sending" open>' in response.text
    with db.database.connection_context():
        assert not Endpoint.select().exists()


def test_an_account_that_only_collects_can_be_made_to_send(
    admin: Browser, house: House, smtp: SmtpServer
) -> None:
    admin.post(NEW, **form())
    assert "This mailbox only collects mail." in admin.get(f"/accounts/{uuid()}").text
    page = f"/accounts/{uuid()}/sending"
    refused = admin.post(page, **sent(smtp))
    assert refused.status_code == 422 and "needs its password" in refused.text
    assert admin.post(page, **sent(smtp, password="for sending")).status_code == 303
    assert opened(house, "out") == "for sending"
    assert f"localhost:{smtp.tls_port}" in admin.get(f"/accounts/{uuid()}").text


def test_a_changed_server_wants_the_password_again(admin: Browser, house: House, smtp: SmtpServer) -> None:
    admin.post(NEW, **new(smtp))
    page = f"/accounts/{uuid()}/sending"
    for over in ({"host": "127.0.0.1"}, {"port": "587"}, {"security": "starttls"}, {"username": "other"}):
        refused = admin.post(page, **{**sent(smtp), **over})
        assert refused.status_code == 422
        assert "changed mail server needs its password" in refused.text
    assert opened(house, "out") == "hunter2hunter2"
    assert admin.post(page, **sent(smtp, username="other", password="new")).status_code == 303
    assert opened(house, "out") == "new"


def test_an_old_form_overwrites_nothing(admin: Browser, house: House, smtp: SmtpServer) -> None:
    admin.post(NEW, **new(smtp))
    page = f"/accounts/{uuid()}/sending"
    admin.post(page, **sent(smtp, password="newer", rev="1"))
    stale = admin.post(page, **sent(smtp, password="older", rev="1"))
    assert stale.status_code == 409 and "has been changed since" in stale.text
    assert opened(house, "out") == "newer"


def test_the_test_message_arrives(admin: Browser, smtp: SmtpServer) -> None:
    smtp.users[ADDRESS.encode()] = b"hunter2hunter2"
    admin.post(NEW, **new(smtp))
    page = f"/accounts/{uuid()}/sending"
    response = admin.post(f"{page}/test", on=page)
    assert "Sent</" in response.text
    assert [taken.recipients for taken in smtp.taken] == [[ADDRESS]]
    smtp.users.clear()
    response = admin.post(f"{page}/test", on=page)
    assert "Not sent</" in response.text and "refused the username or password" in response.text


def test_a_server_edited_by_sql_is_named_and_sees_no_login(
    admin: Browser, house: House, smtp: SmtpServer
) -> None:
    admin.post(NEW, **new(smtp))
    with db.database.connection_context():
        house.enable()
    page = f"/accounts/{uuid()}/sending"
    with ScriptedServer(lambda talk: talk.send(b"220 rogue\r\n")) as rogue:
        with db.database.connection_context():
            house.sql(f"UPDATE endpoint SET port = {smtp.starttls_port} WHERE direction = 'out'")
        response = admin.post(f"{page}/test", on=page)
        assert response.status_code == 422 or response.status_code >= 400
        assert rogue.connections == 0
    with db.database.connection_context():
        status = house.vault.latest()
        assert status.state is State.INCONSISTENT
        assert [f.reason.startswith("The password for sending:") for f in status.failures] == [True]
        assert due_uuids() == [uuid()]  # collecting goes on
    shown = admin.get(page)
    assert "which may have been changed" in " ".join(shown.text.split())
    retyped = admin.post(page, **sent(smtp, port=str(smtp.starttls_port), security="starttls"))
    assert retyped.status_code == 422


def test_forgetting_leaves_no_record_and_collecting_alone(
    admin: Browser, house: House, smtp: SmtpServer
) -> None:
    admin.post(NEW, **new(smtp))
    page = f"/accounts/{uuid()}/sending"
    assert admin.post(f"{page}/remove", on=page).status_code == 303
    with db.database.connection_context():
        assert [row.direction for row in Endpoint.select()] == ["in"]
        with pytest.raises(NotFound):
            service.find(accounts.find(ADDRESS)[0].uuid)


def test_every_change_is_in_the_activity_without_a_value(admin: Browser, smtp: SmtpServer) -> None:
    admin.post(NEW, **form())
    page = f"/accounts/{uuid()}/sending"
    admin.post(page, **sent(smtp, password="for sending"))
    admin.post(f"{page}/remove", on=page)
    with db.database.connection_context():
        events = [(e.what, e.subject) for e in Activity.select().where(Activity.what.startswith("sending"))]
        details = " ".join(e.detail for e in Activity.select())
    assert events == [("sending changed", ADDRESS), ("sending removed", ADDRESS)]
    assert "for sending" not in details


def test_turning_encryption_off_writes_both_back(admin: Browser, house: House, smtp: SmtpServer) -> None:
    admin.post(NEW, **new(smtp))
    with db.database.connection_context():
        house.enable()
        house.disable()
        assert house.vault.latest().state is State.OFF
        unfinished.settle(house.vault)
    assert opened(house, "in") == opened(house, "out") == "hunter2hunter2"


def test_the_shell_does_the_same(
    admin: Browser, smtp: SmtpServer, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    admin.post(NEW, **form())
    done = cli(
        "sending", "set", ADDRESS, "--host", "localhost", "--port", str(smtp.tls_port),
        "--password-file", "-", stdin="for sending\n",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{ADDRESS} sends through localhost now.\n")
    smtp.users[ADDRESS.encode()] = b"for sending"
    done = cli("sending", "test", ADDRESS)
    assert done.returncode == 0 and "ok  send: localhost accepted a message" in done.stdout
    smtp.users.clear()
    done = cli("sending", "test", ADDRESS)
    assert done.returncode == 1 and "FAILED  login" in done.stdout
    assert cli("sending", "remove", ADDRESS, "--yes").returncode == 0
    gone = cli("sending", "test", ADDRESS)
    assert gone.returncode != 0 and "does not send mail" in gone.stderr
    [shown] = json.loads(cli("accounts", "list", "--json").stdout)
    assert shown["address"] == ADDRESS


@pytest.mark.parametrize(("security", "port"), [("tls", 465), ("starttls", 587)])
def test_an_empty_port_is_the_usual_one(
    admin: Browser, house: House, smtp: SmtpServer, security: str, port: int
) -> None:
    assert (
        admin.post(NEW, **new(smtp, **{"sending-port": "", "sending-security": security})).status_code == 303
    )
    with db.database.connection_context():
        assert Endpoint.get(Endpoint.direction == "out").port == port
    page = f"/accounts/{uuid()}/sending"
    assert admin.post(page, **sent(smtp, host="other.example.org", port="", password="x")).status_code == 303
    with db.database.connection_context():
        assert Endpoint.get(Endpoint.direction == "out").port == 465


def test_the_page_of_a_mailbox_leads_there_and_back(admin: Browser, smtp: SmtpServer) -> None:
    admin.post(NEW, **form())
    mailbox = f"/accounts/{uuid()}"
    assert f'<a href="{mailbox}/sending">Set up</a>' in admin.get(mailbox).text
    assert f'<a href="{mailbox}">{ADDRESS}</a>' in admin.get(f"{mailbox}/sending").text
    assert re.search(r'href="/accounts" aria-current="page"', admin.get(f"{mailbox}/sending").text)
