"""An install with encryption on, an app at a real provider, and mailboxes that are connected through it."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from panel import create_app, db
from panel.audit import Actor
from panel.config import Settings
from panel.mail.policy import Policy
from panel.models import Account, Consent, Endpoint, OauthApp
from panel.models.oauth import new_uid
from panel.oauth import client
from panel.oauth.tokens import TokenRequest
from panel.secret import Secret
from panel.vault import credential, turn_on, unfinished
from panel.vault.vault import Vault
from tests import installs, running, warm
from tests.installs import BOTH
from tests.running import Environ
from tests.servers.dovecot import DovecotServer
from tests.servers.issuer import CLIENTS, Issuer

PANEL = CLIENTS[0]


@dataclass(frozen=True)
class Office:
    """The install, its vault (one for each process), and the provider, as a test holds them."""

    environ: Environ
    settings: Settings
    vault: Vault
    issuer: Issuer

    def add_app(self, secret: str = PANEL.secret, **over: Any) -> OauthApp:
        """An app of the provider; `over`: other bound columns."""
        values = {
            "uid": new_uid(), "name": f"App {secrets.token_hex(3)}", "provider": "issuer", "tenant": "",
            "issuer": self.issuer.url, "client_id": PANEL.id, "scopes": "mail", "access": "delegated",
            "kind": "client-secret",
        }  # fmt: skip
        app = OauthApp(**{**values, **over}, created_at=db.now())
        app.secret = Secret(secret)
        app.save()
        return app

    def add_mailbox(
        self, app: OauthApp, server: DovecotServer | None = None, user: str = "", **over: Any
    ) -> Account:
        """A mailbox that waits for its consent; `over`: other bound columns of its server."""
        user = user or f"u{secrets.token_hex(5)}@example.org"
        if server is not None:
            server.maildir(user)
        account = Account.create(address=user, begin="all", created_at=db.now())
        consent = Consent(
            uid=new_uid(), app=app.uid, account=account, signs_in_as="", subject="", kind="refresh-token",
            created_at=db.now(),
        )  # fmt: skip
        consent.secret = Secret("")
        consent.save()
        values = {
            "direction": "in", "protocol": "imap", "host": "localhost", "port": server.tls_port if server else 993,
            "security": "tls", "username": user, "auth_method": "oauth", "token_url": "",
            "address": user, "kind": "consent",
        }  # fmt: skip
        endpoint = Endpoint(account=account, **{**values, **over})
        endpoint.secret = Secret(consent.uid)
        endpoint.save()
        return account

    def connect(self, account: Account, person: str = "") -> None:
        """Connect it: `person` signs in and consents, or the mailbox itself."""
        person, row = person or str(account.address), self.consent(account)
        app = OauthApp.get(OauthApp.uid == row.app)
        code, verifier = self.issuer.consent(person)
        secret = credential.open_row(app, self.vault)
        tokens = client.redeem_code(
            app.place, secret, code, verifier, PANEL.redirects[0], self.issuer.url, Policy.of(self.settings)
        )
        assert tokens.refresh
        row.subject = tokens.id_claims.subject
        row.secret = tokens.refresh
        row.connected_at, row.ended_at, row.ended_code = db.now(), None, None
        row.save()
        self.issuer.forget()

    def connected(self, **app: Any) -> Account:
        """A mailbox that is connected, by an app of its own."""
        account = self.add_mailbox(self.add_app(**app))
        self.connect(account)
        return account

    def consent(self, account: Account) -> Consent:
        return Consent.get(Consent.account == account)

    def app_of(self, account: Account) -> OauthApp:
        return OauthApp.get(OauthApp.uid == self.consent(account).app)

    def endpoint(self, account: Account, direction: str = "in") -> Endpoint:
        return Endpoint.get(Endpoint.account == account, Endpoint.direction == direction)

    def request(self, account: Account, **over: Any) -> TokenRequest:
        return TokenRequest(self.consent(account).uid, account.uuid, self.vault, self.settings, **over)

    def token(self, account: Account, **over: Any) -> str:
        """The access token, as collecting gets it."""
        return self.request(account, **over).token().secret.reveal()

    def stored(self, account: Account) -> str:
        """The refresh token, as it is stored."""
        return credential.open_row(self.consent(account), self.vault).reveal()

    def in_new_process(self) -> Office:
        """The same install, as a process sees it that has no memory yet."""
        return Office(self.environ, self.settings, Vault.of(self.settings, db.database), self.issuer)

    def refreshes(self) -> int:
        """How many refresh tokens the provider was sent."""
        return sum(entry["form"].get("grant_type") == "refresh_token" for entry in self.issuer.log())

    def asked(self) -> int:
        """How often the provider's token endpoint was called."""
        return len(self.issuer.log())

    def sql(self, statement: str, *values: object) -> None:
        db.database.execute_sql(statement, values)

    def python(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Another process that runs `code` on this install; `request(consent, account)` is there by name."""
        head = (
            "import os, signal, sys, time\nfrom panel import create_app, db\nfrom panel.config import Settings\n"
            "from panel.oauth.tokens import TokenRequest\nfrom panel.vault.vault import Vault\n"
            "s = Settings.load()\ncreate_app(s)\ndb.database.connect()\nvault = Vault.of(s, db.database)\n"
            "def request(*ids, **over): return TokenRequest(*ids, vault, s, **over)\n"
        )
        return warm.Popen(
            ["-c", head + code, *arguments],
            env=running.process_environ(self.environ),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def opened(environ: Environ, issuer: Issuer) -> Iterator[Office]:
    """A new install with `environ`, encryption on."""
    settings = Settings.load(environ)
    installs.prepare(settings)
    create_app(settings)
    with db.database.connection_context():
        vault = Vault.of(settings, db.database)
        turn_on.turn_on(vault, BOTH, Actor("admin@example.org"))
        unfinished.resume(vault)
        yield Office(environ, settings, vault, issuer)


@pytest.fixture
def office(environ: Environ, issuer: Issuer) -> Iterator[Office]:
    with opened(environ, issuer) as office:
        yield office
