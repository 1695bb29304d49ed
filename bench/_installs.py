"""Installs of Mailkeep for benchmarks, with mailboxes in them."""

from __future__ import annotations

from collections.abc import Mapping

from panel import create_app, db, install
from panel.config import Settings
from panel.models import Account, Endpoint
from panel.secret import Secret
from tests.servers.hostile import Talk

PASSWORD = "correct horse battery staple"


def made(environ: Mapping[str, str]) -> Settings:
    """A new install; the models work on it from now on."""
    settings = Settings.load(environ)
    install.prepare(settings)
    create_app(settings)
    return settings


def add(
    name: str,
    port: int,
    host: str = "localhost",
    *,
    begin: str = "all",
    secret: str = PASSWORD,
    **server: str,
) -> str:
    """A mailbox whose user has that name; its uuid. IMAP over TLS unless `server` says otherwise."""
    account = Account.create(address=f"{name}@example.org", begin=begin, created_at=db.now())
    usual = {"protocol": "imap", "security": "tls", "auth_method": "plain", "kind": "password"}
    endpoint = Endpoint(
        account=account, direction="in", host=host, port=port, username=name, token_url="",
        address=account.address, **usual | server,
    )  # fmt: skip
    endpoint.secret = Secret(secret)
    endpoint.save()
    return str(account.uuid)


def hang(talk: Talk) -> None:
    """A mail server that greets with one byte and says no more."""
    talk.send(b"*")
    talk.line()
