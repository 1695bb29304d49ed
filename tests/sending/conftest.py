"""An administrator of an install whose account sends through a real SMTP server."""

from __future__ import annotations

import pytest
from flask import Flask

from panel.config import Settings
from tests.encryption.conftest import House
from tests.running import Environ
from tests.servers.certificates import Authority
from tests.servers.smtp import SmtpServer
from tests.sign_in.browser import Browser, add_person

ADDRESS = "support@example.org"


@pytest.fixture
def environ(environ: Environ, smtp: SmtpServer, certificates: Authority) -> Environ:
    ports = f"143,993,465,587,{smtp.tls_port},{smtp.starttls_port}"
    return environ | {"PANEL_MAIL_PORTS": ports, "PANEL_MAIL_CA_FILE": str(certificates.ca_file)}


@pytest.fixture
def house(app: Flask, settings: Settings) -> House:
    return House(settings, app.extensions["mailkeep"].vault)


@pytest.fixture
def admin(app: Flask) -> Browser:
    add_person()
    browser = Browser(app)
    assert browser.sign_in().status_code == 303
    return browser
