"""Overview, doctor and metrics say whether helpdesks can send."""

from __future__ import annotations

import dataclasses

import pytest

from panel import db
from panel.accounts import service as accounts
from panel.audit import Actor
from panel.health import checks
from panel.health.check import Check
from panel.health.metrics import text
from panel.models import Endpoint
from panel.secret import Secret
from panel.submission import passwords
from tests.encryption.conftest import House
from tests.running import Environ, free_port
from tests.servers.smtp import SmtpServer
from tests.submission.conftest import ADDRESS, MESSAGE, UPSTREAM_PASSWORD, Desk, add_mailbox

ADA = "ada@example.net"


@pytest.fixture
def environ(environ: Environ) -> Environ:
    return environ | {"PANEL_SUBMISSION_BIND": f"127.0.0.1:{free_port()}"}


def found(house: House, *, deep: bool = False) -> list[Check]:
    with db.database.connection_context():
        results = checks.run(checks.gather(house.settings, house.vault, deep=deep))
    return [check for check in results if check.check == "helpdesk sending"]


def test_what_was_sent_is_counted(desk: Desk, house: House) -> None:
    [check] = found(house)
    assert check.ok and check.status == "Pending" and "as 1 mailbox. Sent: nothing yet." in check.message
    with desk.signed_in() as client:
        client.sendmail(ADDRESS, [ADA], MESSAGE)
    [check] = found(house)
    assert check.status == "OK" and "1 message, the last one" in check.message
    with db.database.connection_context():
        numbers = text(house.settings, house.vault).decode()
    assert (
        "mailkeep_submission_mailboxes 1.0" in numbers and "mailkeep_submission_sent_messages 1.0" in numbers
    )


def test_a_mailbox_whose_server_refuses_is_named_until_it_works(
    desk: Desk, house: House, smtp: SmtpServer
) -> None:
    users = dict(smtp.users)
    smtp.users.clear()
    with desk.signed_in() as client:
        assert client.mail(ADDRESS)[0] == 451
    [check] = found(house)
    assert not check.ok and ADDRESS in check.message and "refused the username or password" in check.message
    assert check.remedy and check.link and check.link.path.endswith("/sending")
    smtp.users |= users
    with db.database.connection_context():
        endpoint = Endpoint.get(Endpoint.direction == "out")
        endpoint.secret = Secret(UPSTREAM_PASSWORD)
        endpoint.save()
    with desk.signed_in() as client:
        client.sendmail(ADDRESS, [ADA], MESSAGE)
    [check] = found(house)
    assert check.ok


def test_a_server_that_does_not_answer_is_found_by_doctor(desk: Desk, house: House) -> None:
    [check] = found(house, deep=True)
    assert not check.ok and "does not answer" in check.message


def test_nothing_is_said_where_no_helpdesk_sends(house: House, environ: Environ) -> None:
    [check] = found(house)
    assert check.status == "Pending" and "No mailbox" in check.message
    with db.database.connection_context():
        add_mailbox(house, ADDRESS, "localhost", 465, UPSTREAM_PASSWORD)
        passwords.create(accounts.find_account(ADDRESS).uuid, [], Actor())
    off = dataclasses.replace(house.settings, submission_bind=None)
    [check] = found(House(off, house.vault), deep=True)
    assert not check.ok and "PANEL_SUBMISSION_BIND" in check.remedy
    with db.database.connection_context():
        passwords.remove(accounts.find_account(ADDRESS).uuid, Actor())
    [check] = found(House(off, house.vault), deep=True)
    assert check.ok and "off" in check.message
