"""What the tests of panel.mail share."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from panel.errors import MailError
from panel.mail.imap import ImapSession, probe
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.mail.session import ProbeStep
from panel.secret import Secret
from tests.servers.certificates import Authority
from tests.servers.dovecot import DovecotServer
from tests.servers.hostile import ScriptedServer

PASSWORD = "correct horse battery staple"
USERS = itertools.count(1)


@pytest.fixture
def user(dovecot: DovecotServer) -> str:
    """A fresh mailbox, whose password is PASSWORD."""
    name = f"user{next(USERS)}@example.com"
    dovecot.add_user(name, PASSWORD)
    return name


@pytest.fixture
def policy(dovecot: DovecotServer) -> Policy:
    """Reaches the Dovecot of the tests, and trusts it."""
    return Policy(frozenset({dovecot.tls_port, dovecot.starttls_port}), ca_file=dovecot.ca_file, deadline=60)


@pytest.fixture
def endpoint(dovecot: DovecotServer, user: str) -> MailServer:
    """The mailbox of `user`, over TLS."""
    return MailServer("imap", "localhost", dovecot.tls_port, "tls", user)


@pytest.fixture
def session(endpoint: MailServer, policy: Policy) -> Callable[..., ImapSession]:
    """Opens a folder of `user`: `with session() as imap:`."""

    def open_folder(folder: str = "INBOX") -> ImapSession:
        return ImapSession(endpoint, Secret(PASSWORD), folder, policy)

    return open_folder


@pytest.fixture
def trusting(certificates: Authority) -> Callable[..., Policy]:
    """A policy for a scripted server: `trusting(server, deadline=2)`."""

    def policy(server: ScriptedServer, **limits: object) -> Policy:
        limits = {"deadline": 60.0, "ca_file": certificates.ca_file} | limits
        return Policy(frozenset({server.port}), **limits)  # type: ignore[arg-type]

    return policy


def at(server: ScriptedServer, security: str = "tls") -> MailServer:
    """The endpoint of somebody on a scripted server."""
    return MailServer("imap", "localhost", server.port, security, "somebody@example.com")


def tried(
    endpoint: MailServer, policy: Policy, password: str = PASSWORD, folder: str = "INBOX"
) -> list[ProbeStep]:
    """All steps of a trial."""
    return list(probe(endpoint, Secret(password), folder, policy))


def failure(endpoint: MailServer, policy: Policy, password: str = PASSWORD) -> MailError:
    """The error with which a session fails to open."""
    with pytest.raises(MailError) as caught:
        with ImapSession(endpoint, Secret(password), "INBOX", policy):
            pass
    return caught.value
