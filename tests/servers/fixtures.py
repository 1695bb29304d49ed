"""Fixtures: the Dovecot of this test run, and certificates good and bad."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import dovecot as real
from tests.servers import issuer as issuers
from tests.servers.certificates import Authority
from tests.servers.issuer import Issuer
from tests.servers.smtp import SmtpServer


@pytest.fixture(scope="session")
def dovecot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.DovecotServer]:
    """One real Dovecot for the whole run; every test adds users of its own."""
    if not real.installed():
        _without("needs a real Dovecot: apt-get install dovecot-imapd dovecot-pop3d")
    server = real.DovecotServer(tmp_path_factory.mktemp("dovecot"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def running_issuer() -> Iterator[Issuer]:
    """One OAuth2 provider for the whole run."""
    if missing := issuers.missing():
        _without(missing)
    server = Issuer()
    yield server
    server.stop()


@pytest.fixture
def issuer(running_issuer: Issuer) -> Issuer:
    """The OAuth2 provider of this run with its first settings and an empty log."""
    running_issuer.reset()
    return running_issuer


@pytest.fixture(scope="session")
def oauth_dovecot(
    tmp_path_factory: pytest.TempPathFactory, running_issuer: Issuer
) -> Iterator[real.DovecotServer]:
    """A Dovecot that takes the access tokens of `issuer`, for IMAP, POP3 and submission; no passwords needed."""
    if not real.installed() or not real.submits():
        _without("needs a real Dovecot: apt-get install dovecot-imapd dovecot-pop3d dovecot-submissiond")
    relay = SmtpServer(Authority(tmp_path_factory.mktemp("relay")).good(), auth_required=False)
    server = real.DovecotServer(tmp_path_factory.mktemp("oauth-dovecot"), running_issuer.url, relay)
    yield server
    server.stop()
    relay.stop()


def _without(missing: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that issues certificates good, expired, self-signed and for another name."""
    return Authority(Path(tmp_path_factory.mktemp("authority")))


@pytest.fixture
def smtp(certificates: Authority) -> Iterator[SmtpServer]:
    """A real SMTP server that keeps what it is handed."""
    server = SmtpServer(certificates.good())
    yield server
    server.stop()
