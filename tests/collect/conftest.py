"""An install whose accounts collect from a real Dovecot."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from panel import create_app, db
from panel.audit import Actor
from panel.collect import due
from panel.collect.round import Collector, Outcome
from panel.config import Settings
from panel.models import Account, Collection, Endpoint, Message, Skipped
from panel.secret import Secret
from panel.vault import turn_on, unfinished
from panel.vault.vault import Vault
from tests import installs, running, warm
from tests.installs import BOTH
from tests.running import Environ
from tests.servers.dovecot import DovecotServer

PASSWORD = "correct horse  battery"
# For a program: kills its own process at call `number` of `step` of `owner`, before or after it.
DEADLY = """
import itertools
real, calls = getattr(owner, step), itertools.count(1)
def deadly(*arguments, **named):
    call = next(calls)
    if when == "before" and call == number:
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*arguments, **named)
    if when == "after" and call == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, step, deadly)
"""


@dataclass(frozen=True)
class PostOffice:
    """One install and the mail server its accounts are on, as a test holds them."""

    environ: Environ
    settings: Settings
    dovecot: DovecotServer

    @property
    def vault(self) -> Vault:
        return Vault.of(self.settings, db.database)

    @property
    def collector(self) -> Collector:
        return Collector(self.settings, self.vault)

    def reaching(self, *ports: int) -> PostOffice:
        """The same, allowed to connect to these ports only."""
        return replace(self, settings=replace(self.settings, mail_ports=frozenset(ports)))

    def add(self, *messages: bytes, begin: str = "all", **over: Any) -> Account:
        """An account with a mailbox of its own on the server that holds `messages`."""
        user = over.pop("username", None) or f"u{secrets.token_hex(5)}"
        self.dovecot.add_user(user, PASSWORD)
        for raw in messages:
            self.dovecot.deliver(user, raw)
        account = Account.create(address=f"{user}@example.org", begin=begin, created_at=db.now())
        values = {
            "direction": "in", "protocol": "imap", "host": "localhost", "port": self.dovecot.tls_port,
            "security": "tls", "username": user, "auth_method": "plain", "token_url": "",
            "address": account.address, "kind": "password",
        }  # fmt: skip
        endpoint = Endpoint(account=account, **{**values, **over})
        endpoint.secret = Secret(PASSWORD)
        endpoint.save()
        return account

    def endpoint(self, account: Account) -> Endpoint:
        return Endpoint.get(Endpoint.account == account)

    def user(self, account: Account) -> str:
        return str(account.address).partition("@")[0]

    def deliver(self, account: Account, *messages: bytes) -> None:
        for raw in messages:
            self.dovecot.deliver(self.user(account), raw)

    def collect(self, account: Account) -> Outcome:
        outcome = self.collector.collect(account.uuid, force=True)
        assert outcome is not None, "somebody else collects it"
        return outcome

    def spool(self, account: Account) -> Path:
        return self.settings.mail_spool / account.uuid

    def mail(self, account: Account) -> list[bytes]:
        """What lies in new/, sorted."""
        return sorted(path.read_bytes() for path in (self.spool(account) / "new").iterdir())

    def row(self, account: Account) -> Collection:
        return Collection.get_by_id(account.uuid)

    def fetched(self, account: Account) -> list[Message]:
        return list(Message.select().where(Message.account == account))

    def skipped(self, account: Account) -> list[Skipped]:
        return list(Skipped.select().where(Skipped.account == account))

    def encrypt(self) -> None:
        turn_on.turn_on(self.vault, BOTH, Actor("admin@example.org"))
        unfinished.resume(self.vault)

    def sql(self, statement: str, *values: object) -> None:
        db.database.execute_sql(statement, values)

    def process(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """`flask collect ARGUMENTS…` as a process that can be killed."""
        return self._start(["-m", "flask", "collect", *arguments], environ)

    def python(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """A process that runs `code` on this install; `collector` is there by name."""
        head = (
            "import os, signal, sys\nfrom panel import create_app, db\nfrom panel.config import Settings\n"
            "from panel.collect.round import Collector\nfrom panel.vault.vault import Vault\n"
            "s = Settings.load()\ncreate_app(s)\ndb.database.connect()\n"
            "collector = Collector(s, Vault.of(s, db.database))\n"
        )
        return self._start(["-c", head + code, *arguments], {})

    def _start(self, arguments: list[str], environ: dict[str, str]) -> subprocess.Popen[str]:
        return warm.Popen(
            arguments,
            env=running.process_environ({**self.environ, **environ}),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture
def post(environ: Environ, dovecot: DovecotServer) -> Iterator[PostOffice]:
    environ["PANEL_MAIL_CA_FILE"] = str(dovecot.ca_file)
    environ["PANEL_MAIL_PORTS"] = f"{dovecot.tls_port},{dovecot.starttls_port}"
    settings = Settings.load(environ)
    installs.prepare(settings)
    create_app(settings)
    with db.database.connection_context():
        yield PostOffice(environ, settings, dovecot)


def due_uuids() -> list[str]:
    return [account.uuid for account in due.accounts()]


def letter(number: int, body: bytes = b"Hello.\r\n") -> bytes:
    """A message unlike any other."""
    head = f"From: a@example.com\r\nSubject: {number}\r\nMessage-ID: <{number}@example.com>\r\n\r\n"
    return head.encode() + body
