"""An administrator in front of the accounts pages of an install that trusts the test's Dovecot."""

from __future__ import annotations

import pytest

from panel import db
from panel.accounts import service
from panel.accounts.forms import settings_digest
from panel.accounts.importing import Wanted
from panel.models import Endpoint
from panel.secret import Secret
from tests.running import Environ
from tests.servers.dovecot import DovecotServer


@pytest.fixture
def environ(environ: Environ, dovecot: DovecotServer) -> Environ:
    ports = f"110,143,465,587,993,995,{dovecot.tls_port},{dovecot.starttls_port}"
    return environ | {"PANEL_MAIL_PORTS": ports, "PANEL_MAIL_CA_FILE": str(dovecot.ca_file)}


def form(**over: str) -> dict[str, str]:
    """What a person fills in, who saves it anyway: the test of a server that is not there has failed."""
    values = {
        "address": "support@example.org", "protocol": "imap", "host": "imap.example.org", "port": "993",
        "security": "tls", "username": "", "password": "hunter2hunter2", "folder": "INBOX", "begin": "now",
        "interval": "60", **over,
    }  # fmt: skip
    return values | {"force": settings_digest(values)}


def secret_of(one: Wanted) -> str:
    """The password that a line of an import names."""
    assert isinstance(one.login.auth, Secret)
    return one.login.auth.reveal()


def stored(address: str = "support@example.org") -> Endpoint:
    """The account's server as it stands in the database."""
    with db.database.connection_context():
        return service.find(address)[1]
