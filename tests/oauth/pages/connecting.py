"""How tests connect mailboxes: an app at the test's issuer, mailboxes in its Dovecot, and people with browsers."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from urllib.parse import urlsplit

from flask import Flask
from werkzeug.test import TestResponse

from panel import db
from panel.accounts import rules, service
from panel.accounts.auth import Oauth
from panel.accounts.service import New
from panel.audit import Actor
from panel.models import Consent
from panel.models.oauth import new_uid
from panel.oauth import app_rules, apps
from panel.secret import Secret
from tests import warm
from tests.encryption.conftest import House
from tests.running import process_environ
from tests.servers.dovecot import DovecotServer
from tests.servers.issuer import Client, Issuer
from tests.sign_in.browser import Browser

CLIENT_SECRET = "MARKER-of-the-client-secret+/%&=:~"


class Connecting:
    """An app `Company` at the issuer, and what an administrator does with it."""

    def __init__(
        self, app: Flask, house: House, admin: Browser, issuer: Issuer, dovecot: DovecotServer
    ) -> None:
        self.app, self.house, self.admin, self.issuer, self.dovecot = app, house, admin, issuer, dovecot
        self.client_id = f"client-{secrets.token_hex(6)}"
        self.uid = self.add_app()

    def add_app(self, name: str = "Company", access: str = "delegated", client_id: str = "") -> str:
        """Add an app at the issuer, here and there; its uid."""
        client_id = client_id or self.client_id
        place = app_rules.place(
            new_uid(), name, "issuer", issuer=self.issuer.url, client_id=client_id, scopes="mail",
            access=access, in_shell=True,
        )  # fmt: skip
        with self.database():
            apps.add(self.house.vault, place, Secret(CLIENT_SECRET), None, Actor())
        self.issuer.register(Client(client_id, CLIENT_SECRET, (self.redirect(place.uid),)))
        return place.uid

    def known_app(self, provider: str, access: str = "delegated") -> str:
        """An app at Microsoft or Google; its uid."""
        place = app_rules.place(
            new_uid(), provider, provider, tenant="contoso.example" if provider == "microsoft" else "",
            client_id="f00d", access=access,
        )  # fmt: skip
        with self.database():
            return apps.add(self.house.vault, place, Secret(CLIENT_SECRET), None, Actor())

    def redirect(self, uid: str) -> str:
        return apps.redirect_address(self.house.settings, uid)

    @contextmanager
    def database(self) -> Iterator[None]:
        with db.database.connection_context():
            yield

    def user(self) -> str:
        """A new mailbox in the Dovecot: its address."""
        address = f"u{secrets.token_hex(5)}@example.org"
        self.dovecot.maildir(address)
        return address

    def form(self, address: str, **over: str) -> dict[str, str]:
        """What is filled in to add `address`."""
        return {
            "address": address, "provider": "other", "auth": "oauth", "app": self.uid, "protocol": "imap",
            "host": "localhost", "port": str(self.dovecot.tls_port), "security": "tls", "username": "",
            "folder": "INBOX", "begin": "all", "interval": "60", "on_server": "keep", **over,
        }  # fmt: skip

    def add(self, address: str, **over: str) -> TestResponse:
        """Add the mailbox in the browser; the page that leads to the provider."""
        return self.follow(self.admin.post("/accounts/new", **self.form(address, **over)))

    def waiting(self, address: str, app: str = "") -> str:
        """Add the mailbox in the shell; its uuid."""
        settings = self.house.settings
        where = rules.server(settings, "imap", "localhost", self.dovecot.tls_port, "tls", address)
        new = New(rules.mailbox(address), where, Oauth(app or self.uid), "all")
        with self.database():
            return service.add(self.house.vault, new, Actor())

    def follow(self, answer: TestResponse) -> TestResponse:
        """Where a redirect leads to."""
        assert answer.status_code == 303, (
            answer.status_code,
            re.findall(r"<main.*</main>", answer.text, re.DOTALL),
        )
        return self.admin.get(answer.location)

    def connect(self, uuid: str, **fields: str) -> TestResponse:
        """Press Connect on the mailbox's page; the page that leads to the provider."""
        return self.follow(self.admin.post(f"/accounts/{uuid}/connect", on=f"/accounts/{uuid}", **fields))

    def provider_url(self, page: TestResponse) -> str:
        """Where that page leads to."""
        found = re.search(rf'href="({re.escape(self.issuer.url)}[^"]+)"', page.text)
        assert found, page.text
        return unescape(found[1])

    def sign_in(self, page: TestResponse, account: str) -> str:
        """Sign in at the provider as `account`; the address that the browser ends at."""
        return self.issuer.sign_in(self.provider_url(page), account)

    def come_back(self, ended_at: str) -> TestResponse:
        """The browser asks for the redirect address, and goes where it leads to."""
        return self.follow(self.admin.get(path_of(ended_at)))

    def confirm(self, page: TestResponse) -> TestResponse:
        """Press “Connect mailbox” on the page that says who signed in."""
        return self.admin.post(f"{page.request.path}/confirm", on=page.request.path)

    def connected(self, address: str = "", as_: str = "") -> str:
        """Add a mailbox and connect it; its uuid."""
        address = address or self.user()
        page = self.add(address)
        done = self.confirm(self.come_back(self.sign_in(page, as_ or address)))
        assert done.status_code == 303, done.text
        return self.uuid(address)

    def shell(self, *arguments: str) -> warm.Popen[str]:
        """`flask ARGUMENTS…` while it runs."""
        pipe, environ = subprocess.PIPE, process_environ(self.house.settings.environ)
        return warm.Popen(
            ["-m", "flask", *arguments], env=environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    def line(self, shell: warm.Popen[str], begin: str) -> str:
        """The next line that it prints and that begins so."""
        assert shell.stdout is not None
        for line in shell.stdout:
            if line.startswith(begin):
                return line.rstrip()
        raise AssertionError(shell.communicate()[1])

    def uuid(self, address: str) -> str:
        with self.database():
            return service.find(address)[0].uuid

    def consent(self, uuid: str) -> Consent:
        with self.database():
            return Consent.get(Consent.account == uuid)


def path_of(url: str) -> str:
    """Path and query of an address."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"
