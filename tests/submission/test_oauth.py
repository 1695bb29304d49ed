"""A helpdesk sends through a mailbox that has no password, by the access token of a real provider."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from panel.audit import Actor
from panel.models import Account
from panel.submission import passwords
from tests.encryption.conftest import House
from tests.oauth.conftest import Office, office
from tests.running import Environ
from tests.servers.dovecot import DovecotServer
from tests.submission.conftest import MESSAGE, Desk, running

__all__ = ["office"]  # the fixture
ADA = "ada@example.net"


@pytest.fixture
def environ(environ: Environ, oauth_dovecot: DovecotServer) -> Environ:
    ports = ",".join(str(port) for port in oauth_dovecot.ports)
    return environ | {"PANEL_MAIL_CA_FILE": str(oauth_dovecot.ca_file), "PANEL_MAIL_PORTS": ports}


@pytest.fixture
def account(office: Office, oauth_dovecot: DovecotServer) -> Account:
    return office.add_mailbox(
        office.add_app(), oauth_dovecot, direction="out", protocol="smtp", port=oauth_dovecot.submission_port,
        security="starttls",
    )  # fmt: skip


@pytest.fixture
def desk(office: Office, account: Account) -> Iterator[Desk]:
    with running(House(office.settings, office.vault), account.uuid) as desk:
        desk.password = passwords.create(account.uuid, [], Actor()).reveal()
        yield desk


def send(desk: Desk, account: Account) -> tuple[int, bytes]:
    """The answer to one message, or to the MAIL that was refused."""
    with desk.client() as client:
        client.login(account.address, desk.password)
        answer = client.mail(account.address)
        if answer[0] != 250:
            return answer
        client.rcpt(ADA)
        return client.data(MESSAGE.replace(b"help@example.org", account.address.encode()))


def test_a_helpdesk_sends_by_access_token(
    desk: Desk, office: Office, account: Account, oauth_dovecot: DovecotServer
) -> None:
    assert oauth_dovecot.relay is not None
    office.connect(account)
    before = len(oauth_dovecot.relay.taken)
    for _ in range(2):
        assert send(desk, account) == (250, b"2.0.0 localhost accepted it.")
    assert office.refreshes() == 1
    office.issuer.revoke(str(account.address), only="access")
    assert send(desk, account)[0] == 250 and office.refreshes() == 2
    taken = oauth_dovecot.relay.taken[before:]
    assert [(one.sender, one.recipients) for one in taken] == [(account.address, [ADA])] * 3


def test_a_mailbox_that_waits_for_its_consent_is_a_reason_to_wait(
    desk: Desk, office: Office, account: Account
) -> None:
    code, text = send(desk, account)
    assert code == 451 and b"onnect" in text
    office.connect(account)
    assert send(desk, account)[0] == 250
    office.issuer.revoke(str(account.address))
    code, text = send(desk, account)
    assert code == 451 and b"onnect it again" in text
    asked = office.asked()
    assert send(desk, account)[0] == 451 and office.asked() == asked
    office.connect(account)
    assert send(desk, account)[0] == 250
