"""A real Dovecot that asks who a token belongs to: both mechanisms, three protocols, long tokens, odd users."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from panel.errors import MailError
from panel.mail import client, sasl_oauth
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.mail.pop3 import Pop3Session
from panel.mail.server import MailServer
from panel.mail.smtp import SmtpSession
from panel.secret import Secret
from tests.servers import dovecot as real
from tests.servers.certificates import Authority
from tests.servers.dovecot import DovecotServer
from tests.servers.fixtures import _without
from tests.servers.smtp import SmtpServer

MAIL = b"Subject: x\r\n\r\nmail\r\n"


class Introspection(ThreadingHTTPServer):
    """Says of each token whose it is (RFC 7662); 500 while it is `down`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.owners: dict[str, str] = {}
        self.down = False
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    server: Introspection

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        owner = self.server.owners.get(form["token"][0])
        body = json.dumps({"active": owner is not None, "mailbox": owner}).encode()
        self.send_response(500 if self.server.down else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def introspection() -> Iterator[Introspection]:
    server = Introspection()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, introspection: Introspection) -> Iterator[DovecotServer]:
    if not real.installed() or not real.submits():
        _without("needs a real Dovecot: apt-get install dovecot-imapd dovecot-pop3d dovecot-submissiond")
    relay = SmtpServer(Authority(tmp_path_factory.mktemp("relay")).good(), auth_required=False)
    url = f"http://127.0.0.1:{introspection.server_address[1]}"
    dovecot = DovecotServer(tmp_path_factory.mktemp("token-dovecot"), url, relay)
    yield dovecot
    dovecot.stop()
    relay.stop()


@pytest.fixture(params=["XOAUTH2", "OAUTHBEARER"])
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    chosen = [one for one in sasl_oauth.MECHANISMS if one.name == request.param]
    monkeypatch.setattr(client, "MECHANISMS", chosen)
    return chosen[0].name


def sign_in(server: DovecotServer, protocol: str, user: str, token: str) -> None:
    """Log in and use the mailbox. Raises MailError."""
    policy = Policy(frozenset(server.ports), ca_file=server.ca_file, deadline=60)
    port = {
        "imap": server.tls_port, "imap by STARTTLS": server.starttls_port, "pop3": server.pop3_port,
        "smtp": server.submission_port,
    }[protocol]  # fmt: skip
    security = "tls" if protocol in ("imap", "pop3") else "starttls"
    where = MailServer(protocol.split(" ")[0], "localhost", port, security, user, "oauth")
    if where.protocol == "imap":
        with ImapSession(where, Secret(token), "INBOX", policy) as imap:
            assert [raw for _, raw in imap.fetch(imap.uids(0))] == [MAIL]
    elif where.protocol == "pop3":
        with Pop3Session(where, Secret(token), policy) as pop:
            assert [raw for _, raw, _ in pop.fetch([1])] == [MAIL]
    else:
        message = EmailMessage()
        message["From"] = message["To"] = "somebody@example.com"
        with SmtpSession(where, Secret(token), policy) as smtp:
            smtp.send(message, "somebody@example.com", ["somebody@example.com"])


def granted(introspection: Introspection, server: DovecotServer, user: str, size: int = 2500) -> str:
    """A token of `size` characters for a mailbox with a message in it."""
    token = secrets.token_urlsafe(size)[:size]
    introspection.owners[token] = user
    server.deliver(user, MAIL)
    return token


PROTOCOLS = ["imap", "imap by STARTTLS", "pop3", "smtp"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [20, 900, 1500, 2500, 4096, 5000])
def test_tokens_of_every_length_let_in(
    introspection: Introspection, server: DovecotServer, mechanism: str, protocol: str, size: int
) -> None:
    user = f"u{secrets.token_hex(6)}@example.org"
    sign_in(server, protocol, user, granted(introspection, server, user, size))


@pytest.mark.parametrize("protocol", PROTOCOLS[2:] + PROTOCOLS[:1])
@pytest.mark.parametrize("start", ["ärger", "🔑", "a,b=c", "with space", "--user", "=2C"])
def test_users_of_every_kind_let_in(
    introspection: Introspection, server: DovecotServer, mechanism: str, protocol: str, start: str
) -> None:
    user = f"{start}.{secrets.token_hex(6)}@example.org"
    sign_in(server, protocol, user, granted(introspection, server, user))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_token_that_is_not_good_is_known_to_be_refused(
    introspection: Introspection, server: DovecotServer, mechanism: str, protocol: str
) -> None:
    user = f"u{secrets.token_hex(6)}@example.org"
    granted(introspection, server, user)
    token = granted(introspection, server, "another@example.org")
    for wrong in (token, secrets.token_urlsafe(3000)):  # somebody else's, and nobody's
        with pytest.raises(MailError, match="refused the access token") as caught:
            sign_in(server, protocol, user, wrong)
        error = caught.value
        assert (error.step, error.reason, error.token_refused) == ("login", "token-refused", True)
        assert wrong[:16] not in str(error)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_provider_that_is_away_costs_no_token(
    introspection: Introspection, server: DovecotServer, mechanism: str, protocol: str
) -> None:
    user = f"u{secrets.token_hex(6)}@example.org"
    token = granted(introspection, server, user)
    introspection.down = True
    try:
        with pytest.raises(MailError) as caught:
            sign_in(server, protocol, user, token)
    finally:
        introspection.down = False
    assert (caught.value.permanent, caught.value.token_refused) == (False, False), str(caught.value)
    sign_in(server, protocol, user, token)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_token_that_is_too_long_is_named_as_such(
    introspection: Introspection, server: DovecotServer, mechanism: str, protocol: str
) -> None:
    user = f"u{secrets.token_hex(6)}@example.org"
    with pytest.raises(MailError) as caught:
        sign_in(server, protocol, user, granted(introspection, server, user, 12_000))
    assert (caught.value.reason, caught.value.token_refused) == ("token-too-long", False)
