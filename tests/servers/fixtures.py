"""Fixtures: the Dovecot of this test run, and certificates good and bad."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import dovecot as real
from tests.servers.certificates import Authority
from tests.servers.smtp import SmtpServer


@pytest.fixture(scope="session")
def dovecot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.DovecotServer]:
    """One real Dovecot for the whole run; every test adds users of its own."""
    if not real.installed():
        missing = "needs a real Dovecot: apt-get install dovecot-imapd dovecot-pop3d"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    server = real.DovecotServer(tmp_path_factory.mktemp("dovecot"))
    yield server
    server.stop()


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
