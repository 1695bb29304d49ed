"""Promises against an administrator who also writes the database: a consent stays with the servers that it was
given for, whatever records of before are put back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from panel import db
from panel.accounts import connecting, service
from panel.accounts.auth import Oauth
from panel.accounts.service import Seen
from panel.audit import Actor
from panel.errors import PanelError
from panel.mail.server import MailServer
from panel.models import Account
from panel.models.oauth import new_uid
from panel.oauth import apps, flows
from panel.oauth.flow_rows import Owner
from panel.oauth.login import with_login
from panel.sending import service as sending
from panel.vault.credential import Credential
from tests.oauth.conftest import Office, office  # noqa: F401
from tests.servers.issuer import Client

ADA, EVE = Actor("ada@example.org"), Actor("eve@example.org")
Rows = list[dict[str, Any]]


def rows(table: str) -> Rows:
    cursor = db.database.execute_sql(f"SELECT * FROM {table}")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def put_back(table: str, found: Rows, *, first: bool = True) -> None:
    """As they were, all others gone; or before those that are there."""
    if first:
        db.database.execute_sql(f"DELETE FROM {table}")
    for row in found:
        marks = ", ".join("?" * len(row))
        db.database.execute_sql(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values())
        )


def move(office: Office, account: Account, host: str) -> None:
    endpoint = office.endpoint(account)
    app = office.app_of(account)
    box = service.mailbox_of(Account.get_by_id(account.uuid))
    where = replace(endpoint.server, host=host, auth_method="plain")
    service.edit(office.vault, account.uuid, box, where, Oauth(app.name), Seen(), EVE)


def require_shown_to_nobody(office: Office, account: Account, direction: str = "in") -> None:
    def use(login: Credential) -> None:
        pytest.fail(f"{login.server.host} was shown the access token")

    with pytest.raises(PanelError):
        with_login(office.endpoint(account, direction), office.in_new_process().vault, office.settings, use)


def test_a_consent_of_before_it_was_given_does_not_move_the_given_one_to_another_server(
    office: Office,
) -> None:
    account = office.add_mailbox(office.add_app())
    waiting = rows("consent")
    office.connect(account)
    given = rows("consent")
    put_back("consent", waiting)
    move(office, account, "rogue.example.org")
    put_back("consent", given)
    require_shown_to_nobody(office, account)


def test_a_server_that_was_entered_before_the_consent_was_given_does_not_get_it_afterwards(
    office: Office,
) -> None:
    account = office.add_mailbox(office.add_app())
    move(office, account, "rogue.example.org")
    rogue = rows("endpoint")
    move(office, account, "localhost")
    office.connect(account)
    put_back("endpoint", rogue)
    require_shown_to_nobody(office, account)


def test_a_given_consent_that_is_put_beside_a_waiting_one_is_not_taken_for_it(office: Office) -> None:
    account = office.add_mailbox(office.add_app())
    office.connect(account)
    given = rows("consent")
    move(office, account, "rogue.example.org")
    new = [{**row, "id": 99} for row in rows("consent")]
    put_back("consent", given + new)
    move(office, account, "rogue.example.org")
    put_back("consent", given)
    require_shown_to_nobody(office, account)


def connect(office: Office, account: Account) -> None:
    """As pages and shell do it."""
    owner = Owner("ada@example.org", "session 1")
    flow = connecting.begin(office.vault, office.settings, account.uuid, owner)
    assert flow
    app, answer = flows.parse(office.issuer.sign_in(flow.url, str(account.address)))
    found = flows.redeem(office.vault, office.settings, app, answer, owner)
    connecting.confirm(office.vault, account.uuid, found.uid, owner, ADA)


def test_a_server_that_is_put_back_after_the_consent_was_given_was_not_shown_and_gets_none(
    office: Office,
) -> None:
    uid, client = new_uid(), f"client-{new_uid()}"
    office.issuer.register(Client(client, "secret", (apps.redirect_address(office.settings, uid),)))
    account = office.add_mailbox(office.add_app("secret", uid=uid, client_id=client))
    rogue = MailServer("smtp", "rogue.example.org", 465, "tls", "x")
    sending.store(office.vault, account.uuid, rogue, Oauth(uid), Seen(), EVE)
    hidden = [row for row in rows("endpoint") if row["direction"] == "out"]
    office.sql("DELETE FROM endpoint WHERE direction = 'out'")
    connect(office, account)
    put_back("endpoint", hidden, first=False)
    assert office.token(account)
    require_shown_to_nobody(office, account, "out")


def test_both_servers_that_were_shown_sign_in_by_it(office: Office) -> None:
    uid, client = new_uid(), f"client-{new_uid()}"
    office.issuer.register(Client(client, "secret", (apps.redirect_address(office.settings, uid),)))
    account = office.add_mailbox(office.add_app("secret", uid=uid, client_id=client))
    smtp = MailServer("smtp", "smtp.example.org", 465, "tls", "x")
    sending.store(office.vault, account.uuid, smtp, Oauth(uid), Seen(), ADA)
    for _ in range(2):  # and again
        connect(office, account)
        for direction, host in (("in", "localhost"), ("out", "smtp.example.org")):
            endpoint = office.endpoint(account, direction)
            found = with_login(endpoint, office.vault, office.settings, lambda login: login.server.host)
            assert found == host
