"""An administrator of an install whose account sends through a real SMTP server."""

from __future__ import annotations

import pytest

from tests.running import Environ
from tests.servers.certificates import Authority
from tests.servers.smtp import SmtpServer

ADDRESS = "support@example.org"


@pytest.fixture
def environ(environ: Environ, smtp: SmtpServer, certificates: Authority) -> Environ:
    ports = f"143,993,465,587,{smtp.tls_port},{smtp.starttls_port}"
    return environ | {"PANEL_MAIL_PORTS": ports, "PANEL_MAIL_CA_FILE": str(certificates.ca_file)}
