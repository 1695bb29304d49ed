"""The servers that the tests of OAuth2 rely on: a token of the issuer lets in, and no other."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from panel.mail import imap, pop3, smtp
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.mail.session import ProbeStep
from panel.models.oauth import AppPlace
from panel.oauth import client
from panel.secret import Secret
from tests.servers.dovecot import DovecotServer
from tests.servers.issuer import CLIENTS, Issuer

PANEL = CLIENTS[0]


def app_of(issuer: Issuer, **over: str) -> AppPlace:
    values = {
        "uid": "app", "name": "App", "provider": "issuer", "tenant": "", "issuer": issuer.url,
        "client_id": PANEL.id, "scopes": "mail", "access": "delegated",
    }  # fmt: skip
    return AppPlace(**{**values, **over})


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_dovecot_takes_the_access_token_of_its_mailbox_alone(
    issuer: Issuer, oauth_dovecot: DovecotServer, protocol: str
) -> None:
    user = f"u{secrets.token_hex(5)}@example.org"
    oauth_dovecot.maildir(user)
    policy = Policy(frozenset(oauth_dovecot.ports), ca_file=oauth_dovecot.ca_file)
    code, verifier = issuer.consent(user)
    tokens = client.redeem_code(
        app_of(issuer), Secret(PANEL.secret), code, verifier, PANEL.redirects[0], issuer.url, policy
    )
    port = {
        "imap": oauth_dovecot.tls_port,
        "pop3": oauth_dovecot.pop3_port,
        "smtp": oauth_dovecot.submission_port,
    }
    security = "starttls" if protocol == "smtp" else "tls"
    where = MailServer(protocol, "localhost", port[protocol], security, user, "oauth")

    def sign_in(token: Secret) -> ProbeStep:
        if protocol == "imap":
            return list(imap.probe(where, token, "INBOX", policy))[-1]
        steps = pop3.probe(where, token, policy) if protocol == "pop3" else smtp.probe(where, token, policy)
        return list(steps)[-1]

    assert sign_in(tokens.access).ok
    assert not sign_in(Secret("another token")).ok
    where = replace(where, username="somebody.else@example.org")
    assert not sign_in(tokens.access).ok
