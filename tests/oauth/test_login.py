"""One way to sign in for collecting, sending and testing, whatever the mailbox has."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from panel import db
from panel.config import Settings
from panel.errors import ConsentNeeded, MailError, Tampered
from panel.mail import imap, pop3, smtp
from panel.mail.policy import Policy
from panel.mail.session import ProbeStep
from panel.models import Account, Endpoint
from panel.oauth import login
from panel.oauth.login import with_login
from panel.secret import Secret
from panel.vault.credential import Credential
from tests.oauth.conftest import Office
from tests.running import Environ
from tests.servers.dovecot import DovecotServer


@pytest.fixture
def environ(environ: Environ, oauth_dovecot: DovecotServer) -> Environ:
    ports = [*oauth_dovecot.ports]
    return environ | {
        "PANEL_MAIL_CA_FILE": str(oauth_dovecot.ca_file),
        "PANEL_MAIL_PORTS": ",".join(str(port) for port in ports),
    }


def steps_of(opened: Credential, settings: Settings) -> Iterator[ProbeStep]:
    policy = Policy.of(settings)
    if opened.server.protocol == "imap":
        return imap.probe(opened.server, opened.secret, "INBOX", policy)
    if opened.server.protocol == "pop3":
        return pop3.probe(opened.server, opened.secret, policy)
    return smtp.probe(opened.server, opened.secret, policy)


def sign_in(office: Office, account: Account) -> ProbeStep:
    """The last step of signing in, its error raised as collecting meets it."""

    def use(opened: Credential) -> ProbeStep:
        step = list(steps_of(opened, office.settings))[-1]
        if step.error is not None:
            raise step.error
        assert step.ok, step.message
        return step

    return with_login(office.endpoint(account), office.vault, office.settings, use)


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_a_connected_mailbox_signs_in(office: Office, oauth_dovecot: DovecotServer, protocol: str) -> None:
    port = {
        "imap": oauth_dovecot.tls_port,
        "pop3": oauth_dovecot.pop3_port,
        "smtp": oauth_dovecot.submission_port,
    }
    security = "starttls" if protocol == "smtp" else "tls"
    where: dict[str, Any] = {"protocol": protocol, "port": port[protocol], "security": security}
    account = office.add_mailbox(office.add_app(), oauth_dovecot, **where)
    office.connect(account)
    sign_in(office, account)
    sign_in(office, account)
    assert office.refreshes() == 1


def test_a_password_and_a_waiting_consent(office: Office, oauth_dovecot: DovecotServer) -> None:
    user = f"u{secrets.token_hex(5)}@example.org"
    oauth_dovecot.add_user(user, "the password")
    account = Account.create(address=user, begin="all", created_at=db.now())
    endpoint = Endpoint(
        account=account, direction="in", protocol="imap", host="localhost", port=oauth_dovecot.tls_port,
        security="tls", username=user, auth_method="plain", token_url="", address=user, kind="password",
    )  # fmt: skip
    endpoint.secret = Secret("the password")
    endpoint.save()
    sign_in(office, account)
    with pytest.raises(ConsentNeeded):
        sign_in(office, office.add_mailbox(office.add_app(), oauth_dovecot))
    assert office.asked() == 0


def test_a_token_that_the_server_refuses_is_renewed_once(
    office: Office, oauth_dovecot: DovecotServer
) -> None:
    account = office.add_mailbox(office.add_app(), oauth_dovecot)
    office.connect(account)
    sign_in(office, account)
    office.issuer.revoke(str(account.address), only="access")
    sign_in(office, account)
    assert office.refreshes() == 2
    office.issuer.set(mailboxes={str(account.address): "somebody.else@example.org"})
    office.issuer.revoke(str(account.address), only="access")
    for _ in range(4):
        with pytest.raises(MailError, match="refused"):
            sign_in(office, account)
    assert office.refreshes() == 3  # and not at each round


def test_a_shared_mailbox_is_opened_by_the_token_of_who_may(
    office: Office, oauth_dovecot: DovecotServer
) -> None:
    person = f"delegate{secrets.token_hex(4)}@example.org"
    account = office.add_mailbox(office.add_app(), oauth_dovecot)
    office.issuer.set(mailboxes={person: str(account.address)})
    office.connect(account, person)
    sign_in(office, account)


def test_a_session_that_ended_by_the_servers_clock_is_begun_again_once(
    office: Office, oauth_dovecot: DovecotServer
) -> None:
    account = office.connected()
    tried = []

    def use(opened: Credential) -> int:
        tried.append(opened.secret.reveal())
        if len(tried) == 1 or len(tried) > 2:
            raise MailError("fetch", "The session ended.", session_ended=True)
        return len(tried)

    def again() -> int:
        return with_login(office.endpoint(account), office.vault, office.settings, use)

    assert again() == 2
    assert tried[0] == tried[1]
    with pytest.raises(MailError):
        again()
    assert len(tried) == 4
    assert office.refreshes() == 1


def test_who_signed_in_is_named_where_the_mailbox_does_not_open(
    office: Office, oauth_dovecot: DovecotServer
) -> None:
    account = office.add_mailbox(office.add_app(), username="shared@example.org")
    office.connect(account)

    def use(opened: Credential) -> None:
        raise MailError("login", "accepted, but cannot open", reason="not-connected")

    with pytest.raises(MailError) as error:
        with_login(office.endpoint(account), office.vault, office.settings, use)
    assert str(error.value) == (
        "Signed in as shared@example.org, but may not open this mailbox. "
        "Check that the mailbox exists and has a plan with mail access. Exchange also answers this way while it is busy."
    )


@pytest.mark.parametrize("column", ["host", "port", "username", "auth_method", "kind", "address"])
def test_a_server_that_sql_redirected_is_shown_no_token(
    office: Office, oauth_dovecot: DovecotServer, column: str
) -> None:
    account = office.add_mailbox(office.add_app(), oauth_dovecot)
    office.connect(account)
    value = {"port": oauth_dovecot.pop3_port, "kind": "reference"}.get(column, "evil.example.org")
    office.sql(f"UPDATE endpoint SET {column} = ?", value)
    shown: list[Credential] = []
    with pytest.raises(Tampered):
        with_login(office.endpoint(account), office.vault, office.settings, shown.append)
    assert (shown, office.asked()) == ([], 0)


def test_the_test_of_a_connection_has_steps_for_app_and_token(
    office: Office, oauth_dovecot: DovecotServer
) -> None:
    account = office.add_mailbox(office.add_app(), oauth_dovecot)
    steps, opened = steps_and_login(office, account)
    assert [(step.name, step.ok) for step in steps] == [("app", True), ("token", False)]
    assert (opened, office.asked()) == (None, 0)
    office.connect(account)
    steps, opened = steps_and_login(office, account)
    assert [(step.name, step.ok) for step in steps] == [("app", True), ("token", True)]
    assert opened is not None
    assert list(steps_of(opened, office.settings))[-1].ok
    steps, again = steps_and_login(office, account)
    assert again is not None
    assert again.secret.reveal() != opened.secret.reveal()  # a fresh one each time


def steps_and_login(office: Office, account: Account) -> tuple[list[ProbeStep], Credential | None]:
    found: list[Credential | None] = []

    def run() -> Iterator[ProbeStep]:
        found.append((yield from login.token_steps(office.endpoint(account), office.vault, office.settings)))

    steps = list(run())
    return steps, found[0]


def test_a_reference_is_read_outside(
    office: Office, oauth_dovecot: DovecotServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    user = f"u{secrets.token_hex(5)}@example.org"
    oauth_dovecot.add_user(user, "kept outside")
    outside = tmp_path_factory.mktemp("outside")
    (outside / "mailbox").write_text("kept outside")
    (outside / "mailbox.server").write_text(f"localhost {oauth_dovecot.tls_port} {user}\n")
    account = Account.create(address=user, begin="all", created_at=db.now())
    endpoint = Endpoint(
        account=account, direction="in", protocol="imap", host="localhost", port=oauth_dovecot.tls_port,
        security="tls", username=user, auth_method="plain", token_url="", address=user, kind="reference",
    )  # fmt: skip
    endpoint.secret = Secret("mailbox")
    endpoint.save()
    settings = replace(office.settings, secrets_dir=outside)
    sign_in(replace(office, settings=settings), account)
