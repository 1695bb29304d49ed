"""A connected mailbox is collected and sends like any other, end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from panel.accounts import probe
from panel.audit import Actor
from panel.collect.round import Collector
from panel.errors import AppFault, ConsentNeeded, TokenUnavailable
from panel.mail.smtp import probe_message
from panel.models import Account, Collection, Endpoint
from panel.secret import Secret
from panel.sending import outbox, service
from panel.submission.passwords import SendingMailbox
from panel.submission.relay import Servers
from tests import running
from tests.collect.conftest import letter
from tests.oauth.conftest import PANEL, Office
from tests.running import Environ, PanelServer
from tests.servers.certificates import Authority
from tests.servers.dovecot import DovecotServer
from tests.servers.hostile import ScriptedServer
from tests.servers.imap import plainly
from tests.servers.token_servers import TokenImap, exchange


@pytest.fixture
def environ(environ: Environ, oauth_dovecot: DovecotServer) -> Environ:
    return environ | {
        "PANEL_MAIL_CA_FILE": str(oauth_dovecot.ca_file),
        "PANEL_MAIL_PORTS": ",".join(str(port) for port in oauth_dovecot.ports),
    }


def collect(office: Office, account: Account) -> int:
    outcome = Collector(office.settings, office.vault).collect(account.uuid, force=True)
    assert outcome is not None
    return outcome.delivered


def row(account: Account) -> Collection:
    return Collection.get_by_id(account.uuid)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_mail_is_collected_by_access_token(
    office: Office, oauth_dovecot: DovecotServer, protocol: str
) -> None:
    port = oauth_dovecot.tls_port if protocol == "imap" else oauth_dovecot.pop3_port
    account = office.add_mailbox(office.add_app(), oauth_dovecot, protocol=protocol, port=port)
    office.connect(account)
    for number in range(3):
        oauth_dovecot.deliver(str(account.address), letter(number))
    assert collect(office, account) == 3
    oauth_dovecot.deliver(str(account.address), letter(4))
    assert collect(office, account) == 1
    assert office.refreshes() == 1
    office.issuer.revoke(str(account.address), only="access")
    oauth_dovecot.deliver(str(account.address), letter(5))
    assert collect(office, account) == 1
    assert office.refreshes() == 2
    spool = office.settings.mail_spool / account.uuid / "new"
    assert len(list(spool.iterdir())) == 5


def test_mail_is_sent_by_access_token(office: Office, oauth_dovecot: DovecotServer) -> None:
    assert oauth_dovecot.relay is not None
    account = office.add_mailbox(
        office.add_app(), oauth_dovecot, direction="out", protocol="smtp", port=oauth_dovecot.submission_port,
        security="starttls",
    )  # fmt: skip
    office.connect(account)
    before = len(oauth_dovecot.relay.taken)
    steps = list(
        outbox.send(probe_message, ["admin@example.org"], account.uuid, office.settings, office.vault)
    )
    assert [step.ok for step in steps] == [True], steps
    assert len(oauth_dovecot.relay.taken) == before + 1


def test_an_ended_consent_is_a_problem_of_the_mailbox_within_one_round(
    office: Office, oauth_dovecot: DovecotServer
) -> None:
    account = office.add_mailbox(office.add_app(), oauth_dovecot)
    office.connect(account)
    assert collect(office, account) == 0
    office.issuer.revoke(str(account.address))
    with pytest.raises(ConsentNeeded):
        collect(office, account)
    assert (row(account).permanent, row(account).remedy) == (
        True,
        "Connect it again; mail waits on the server.",
    )
    asked = office.asked()
    for _ in range(3):
        with pytest.raises(ConsentNeeded):
            collect(office, account)
    assert office.asked() == asked
    oauth_dovecot.deliver(str(account.address), letter(7))
    office.connect(account)
    assert collect(office, account) == 1
    assert row(account).problem is None


def test_a_fault_of_the_app_is_over_within_minutes_of_its_end(
    office: Office, oauth_dovecot: DovecotServer
) -> None:
    account = office.add_mailbox(office.add_app(), oauth_dovecot)
    office.connect(account)
    app = office.app_of(account)
    app.secret = Secret("wrong")
    app.save()
    for _ in range(8):
        with pytest.raises(AppFault):
            collect(office, account)
    assert row(account).waits == 300
    assert office.app_of(account).problem is not None
    app = office.app_of(account)
    app.secret = Secret(PANEL.secret)
    app.save()
    assert collect(office, account) == 0
    assert office.app_of(account).problem is None


def test_a_provider_that_is_down_is_no_fault_of_the_mailbox(
    office: Office, oauth_dovecot: DovecotServer
) -> None:
    account = office.add_mailbox(office.add_app(), oauth_dovecot)
    office.connect(account)
    office.issuer.fault(status=429, headers={"Retry-After": "1000"})
    with pytest.raises(TokenUnavailable):
        collect(office, account)
    assert (row(account).permanent, row(account).waits) == (False, 1000)


def test_a_connection_test_shows_the_steps_to_the_token_too(
    office: Office, oauth_dovecot: DovecotServer
) -> None:
    account = office.add_mailbox(office.add_app(), oauth_dovecot)
    office.connect(account)
    one = probe.stored(office.endpoint(account), office.settings, office.vault)
    steps = list(probe.run([one], "INBOX", office.settings, Actor("admin@example.org"), "x"))
    assert [step.name for step in steps] == probe.plan([one])
    assert [step.name for step in steps][:2] == ["app", "token"]
    assert all(step.ok for step in steps)
    office.issuer.revoke(str(account.address))
    steps = list(probe.run([one], "INBOX", office.settings, Actor("admin@example.org"), "x"))
    assert [(step.name, step.ok) for step in steps] == [("app", True), ("token", False)]
    assert steps[-1].remedy == "Connect it again; mail waits on the server."
    assert office.consent(account).ended_at is not None


def test_a_message_is_sent_for_a_test_by_access_token(office: Office, oauth_dovecot: DovecotServer) -> None:
    assert oauth_dovecot.relay is not None
    account = office.add_mailbox(office.add_app(), oauth_dovecot)
    office.connect(account)
    sending = Endpoint(
        account=account, direction="out", protocol="smtp", host="localhost", port=oauth_dovecot.submission_port,
        security="starttls", username=account.address, auth_method="oauth", token_url="",
        address=account.address, kind="consent",
    )  # fmt: skip
    sending.secret = Secret(office.consent(account).uid)
    sending.save()
    before = len(oauth_dovecot.relay.taken)
    actor = Actor("admin@example.org")
    steps = list(service.send_test(account.uuid, office.settings, office.vault, actor))
    assert [step.name for step in steps if step.ok] == [
        "app",
        "token",
        "name",
        "connect",
        "tls",
        "login",
        "send",
    ]
    assert len(oauth_dovecot.relay.taken) == before + 1


def test_a_session_that_ends_with_its_token_is_begun_again_and_no_failure(
    office: Office, certificates: Authority
) -> None:
    """As at Exchange: it lets in, and says goodbye before the second message."""
    account = office.connected()
    server = exchange("imap", office.token(account))
    assert isinstance(server, TokenImap)
    server.mail = {1: letter(1), 2: letter(2), 3: letter(3)}
    ended: list[int] = []

    def fetched(number: int, uid: int, raw: bytes, items: bytes) -> bytes:
        if uid == 2 and b"BODY" in items and not ended:
            ended.append(uid)
            return b"* BYE Session invalidated - AccessTokenExpired\r\n"
        return plainly(number, uid, raw, items)

    server.fetched = fetched
    with ScriptedServer(server, certificates.good()) as listening:
        add_server(office, account, port=listening.port)
        ports, ca_file = frozenset({listening.port}), certificates.ca_file
        settings = replace(office.settings, mail_ports=ports, mail_ca_file=ca_file)
        assert collect(replace(office, settings=settings), account) == 3
    assert ended == [2]
    assert len(server.sasl.tokens) == 2
    assert row(account).problem is None
    spool = office.settings.mail_spool / account.uuid / "new"
    assert len(list(spool.iterdir())) == 3


def add_server(office: Office, account: Account, **over: object) -> None:
    """Another server in the place of the mailbox's."""
    endpoint = office.endpoint(account)
    endpoint.secret = Secret(office.consent(account).uid)
    endpoint.save(place=replace(endpoint.place, **over))  # type: ignore[arg-type]


def test_the_worker_collects_with_few_tokens(
    office: Office, oauth_dovecot: DovecotServer, environ: Environ, tmp_path: Path
) -> None:
    accounts = [office.add_mailbox(office.add_app(), oauth_dovecot) for _ in range(3)]
    for number, account in enumerate(accounts):
        office.connect(account)
        oauth_dovecot.deliver(str(account.address), letter(number))
    office.issuer.forget()
    server = PanelServer(environ, tmp_path / "server.log")
    server.start()
    try:
        spools = [office.settings.mail_spool / account.uuid / "new" for account in accounts]
        running.wait_until(
            lambda: all(path.is_dir() and list(path.iterdir()) for path in spools), lambda: server.log
        )
    finally:
        server.stop()
    assert office.refreshes() == 3
    for account in accounts:
        assert office.stored(account) not in server.log


def test_a_helpdesk_sends_through_a_connected_mailbox(office: Office, oauth_dovecot: DovecotServer) -> None:
    account = office.add_mailbox(
        office.add_app(), oauth_dovecot, direction="out", protocol="smtp", port=oauth_dovecot.submission_port,
        security="starttls",
    )  # fmt: skip
    address, rev = str(account.address), office.endpoint(account, "out").rev
    mailbox = SendingMailbox(account.uuid, address, frozenset({address}), "", rev)
    servers = Servers(office.settings, office.vault)
    with pytest.raises(ConsentNeeded):
        servers.connect(mailbox)
    office.connect(account)
    servers.connect(mailbox).close()
    office.issuer.revoke(address, only="access")
    servers.connect(mailbox).close()
    assert office.refreshes() == 2
