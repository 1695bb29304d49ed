"""An install with an account that sends through a real SMTP server, a real webhook, and a clock to turn."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from panel import db
from panel.alerts import alert_log, service, watch
from panel.alerts.watch import Watch
from panel.audit import Actor
from panel.config import Settings
from panel.health import heartbeat
from panel.models import Account, Alert, Collection, Endpoint, Heartbeat
from panel.secret import Secret
from tests.alerts.receiver import Receiver
from tests.encryption.conftest import House, new_endpoint
from tests.running import Environ
from tests.servers.certificates import Authority
from tests.servers.smtp import SmtpServer
from tests.sign_in.browser import Browser, add_person

TO = "ops@example.net"
MINUTE, HOUR, DAY = 60, 3600, 24 * 3600


@dataclass
class Clock:
    """What the panel takes for the time. Turn it by `+=` on `at`."""

    at: int


@dataclass
class World:
    """One install and its receivers. `pass_` lets time go by, with a check every `step` seconds."""

    house: House
    clock: Clock
    watch: Watch
    smtp: SmtpServer
    receiver: Receiver
    worker_lives: bool = True

    def check(self) -> None:
        if self.worker_lives:
            Heartbeat.update(beat_at=self.clock.at).execute()
        self.watch.check()

    def next_check(self) -> None:
        self.clock.at += watch.CHECK_SECONDS
        self.check()

    def pass_(self, seconds: int, step: int = MINUTE) -> None:
        until = self.clock.at + seconds
        while self.clock.at < until:
            self.clock.at = min(self.clock.at + step, until)
            self.check()

    def send_to(self, *, mail: bool = False, webhook: bool = False) -> None:
        service.store((TO,) if mail else (), "", self.receiver.url if webhook else "", Actor("ada"))

    def sender(self) -> Endpoint:
        """An account that sends through the SMTP server, its password right."""
        endpoint = self.house.add("for collecting")
        name = endpoint.account.address
        self.smtp.users[name.encode()] = b"for sending"
        return add_sending(self.smtp, endpoint.account, "for sending")

    def fail(self, problem: str = "The server refused the password.", **over: Any) -> Account:
        """An account that has been failing for an hour."""
        account: Account = self.house.add().account
        fail(account, problem, self.clock.at - HOUR, **over)
        return account

    @property
    def subjects(self) -> list[str]:
        return [header(taken.data, "subject") for taken in self.smtp.taken]

    @property
    def open(self) -> list[str]:
        return [entry.condition for entry in alert_log.open_alerts()]


def header(data: bytes, name: str) -> str:
    return str(email.message_from_bytes(data, policy=email.policy.default)[name]).strip()


def text_of(data: bytes) -> str:
    body: str = email.message_from_bytes(data, policy=email.policy.default).get_content()
    return body


def add_sending(smtp: SmtpServer, account: Account, password: str) -> Endpoint:
    endpoint = new_endpoint(
        account,
        direction="out",
        protocol="smtp",
        host="localhost",
        port=smtp.tls_port,
        username=account.address,
    )
    endpoint.secret = Secret(password)
    endpoint.save()
    return endpoint


def fail(account: Account, problem: str, since: int, **over: Any) -> None:
    values: dict[str, Any] = {
        "problem": problem, "remedy": "Enter it again.", "last_success_at": since, "failing_since": since,
        "failures": 9, "next_due_at": db.now() + 40_000, "waits": 86_400, **over,
    }  # fmt: skip
    Collection.insert(account=account, **values).on_conflict(
        conflict_target=[Collection.account], update=values
    ).execute()


def recover(account: Account) -> None:
    Collection.update(problem=None, failing_since=None).where(Collection.account == account.uuid).execute()


@pytest.fixture
def environ(environ: Environ, smtp: SmtpServer, certificates: Authority) -> Environ:
    ports = f"143,993,465,587,{smtp.tls_port},{smtp.starttls_port}"
    return environ | {
        "PANEL_MAIL_PORTS": ports,
        "PANEL_MAIL_CA_FILE": str(certificates.ca_file),
        "PANEL_URL": "http://panel.example.org/mailkeep",
    }


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(db.now())
    monkeypatch.setattr(db, "now", lambda: clock.at)
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: float(clock.at)))
    return clock


@pytest.fixture
def world(
    app: Flask, settings: Settings, smtp: SmtpServer, receiver: Receiver, clock: Clock
) -> Iterator[World]:
    vault = app.extensions["mailkeep"].vault
    db.database.connect(reuse_if_open=True)
    heartbeat.beat()
    yield World(House(settings, vault), clock, Watch(settings, vault), smtp, receiver)
    if not db.database.is_closed():  # a request of the test's own browser closes it, the next query opens it
        db.database.close()


@pytest.fixture
def admin(app: Flask, world: World) -> Browser:
    add_person()
    browser = Browser(app)
    assert browser.sign_in().status_code == 303
    return browser


def prove(house: House) -> None:
    house.prove()


def rows() -> list[Alert]:
    return list(Alert.select().order_by(Alert.id))


QUIET_PERIOD = alert_log.QUIET_PERIOD
