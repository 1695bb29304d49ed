"""A mailbox that sends through a real SMTP server, and the submission server of its install."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from flask import Flask

from panel import db
from panel.audit import Actor
from panel.config import Settings
from panel.models import Account
from panel.secret import Secret
from panel.submission import passwords
from panel.submission.server import SubmissionServer
from panel.submission.service import serving
from tests.encryption.conftest import House, new_endpoint
from tests.running import Environ
from tests.servers.certificates import Authority
from tests.servers.smtp import SmtpServer
from tests.submission.sink import Sink

ADDRESS = "help@example.org"
UPSTREAM_PASSWORD = "what the provider knows"
MESSAGE = b"From: Help <help@example.org>\r\nTo: ada@example.net\r\nSubject: Re: printer\r\n\r\nIt is on.\r\n"


@pytest.fixture
def environ(environ: Environ, smtp: SmtpServer, sink: Sink, certificates: Authority) -> Environ:
    ports = f"143,465,587,993,{smtp.tls_port},{smtp.starttls_port},{sink.port}"
    return environ | {"PANEL_MAIL_PORTS": ports, "PANEL_MAIL_CA_FILE": str(certificates.ca_file)}


@pytest.fixture
def house(app: Flask, settings: Settings) -> Iterator[House]:
    house = House(settings, app.extensions["mailkeep"].vault)
    with db.database.connection_context():
        house.enable()
    yield house


@dataclass
class Desk:
    """The submission server of one install, and what its only mailbox needs to send."""

    house: House
    port: int
    uuid: str
    server: SubmissionServer
    connections: list[smtplib.SMTP] = field(default_factory=list)
    password: str = ""

    def new_password(self, *aliases: str) -> str:
        with db.database.connection_context():
            made = passwords.create(self.uuid, aliases, Actor())
        self.password = made.reveal()
        return self.password

    def client(self, **options: float) -> smtplib.SMTP:
        """A client that has not signed in."""
        made = smtplib.SMTP("127.0.0.1", self.port, local_hostname="desk", timeout=options.get("timeout", 60))
        self.connections.append(made)
        return made

    def signed_in(self, **options: float) -> smtplib.SMTP:
        client = self.client(**options)
        client.login(ADDRESS, self.password)
        return client

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)


def add_mailbox(house: House, address: str, host: str, port: int, password: str, **over: object) -> str:
    """A mailbox that collects and sends; its uuid."""
    account = Account.create(address=address, created_at=db.now())
    out = {"direction": "out", "protocol": "smtp", "host": host, "port": port} | over
    for endpoint in (new_endpoint(account), new_endpoint(account, **out)):
        endpoint.secret = Secret(password)
        endpoint.save()
    return str(account.uuid)


@contextlib.contextmanager
def running(house: House, uuid: str) -> Iterator[Desk]:
    """The submission server of the install, in threads of the test."""
    listening = socket.create_server(("127.0.0.1", 0))
    control, theirs = socket.socketpair()
    server = SubmissionServer(listening, theirs, serving(house.settings, house.vault))
    thread = threading.Thread(target=server.run, args=(5.0,), daemon=True)
    desk = Desk(house, listening.getsockname()[1], uuid, server)
    thread.start()
    try:
        yield desk
    finally:
        for client in desk.connections:
            client.close()
        server.stop()
        control.send(b"?")  # so that it notices at once
        thread.join(60)
        control.close()
        theirs.close()
    assert not thread.is_alive()


@pytest.fixture
def desk(house: House, smtp: SmtpServer) -> Iterator[Desk]:
    smtp.users[ADDRESS.encode()] = UPSTREAM_PASSWORD.encode()
    with db.database.connection_context():
        uuid = add_mailbox(house, ADDRESS, "localhost", smtp.tls_port, UPSTREAM_PASSWORD)
    with running(house, uuid) as desk:
        desk.new_password()
        yield desk


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        sink.think.set()
        yield sink


@pytest.fixture
def sinking(house: House, sink: Sink) -> Iterator[Desk]:
    """A desk whose mailbox sends through `sink`."""
    with db.database.connection_context():
        uuid = add_mailbox(house, ADDRESS, "127.0.0.1", sink.port, UPSTREAM_PASSWORD, security="none")
    with running(house, uuid) as desk:
        desk.new_password()
        yield desk
