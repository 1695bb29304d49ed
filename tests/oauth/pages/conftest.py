"""An administrator of an install whose encryption is on, an issuer, and a Dovecot that takes its tokens."""

from __future__ import annotations

import pytest
from flask import Flask

from panel import db
from panel.config import Settings
from tests.encryption.conftest import House
from tests.oauth.pages.connecting import Connecting
from tests.running import Environ
from tests.servers.dovecot import DovecotServer
from tests.servers.issuer import Issuer
from tests.sign_in.browser import Browser, add_person


@pytest.fixture
def environ(environ: Environ, oauth_dovecot: DovecotServer) -> Environ:
    ports = ",".join(map(str, sorted({465, 587, 993, 995, *oauth_dovecot.ports})))
    url = {"PANEL_URL": "http://localhost"}  # where the tests' browser is: providers redirect to it
    return environ | url | {"PANEL_MAIL_PORTS": ports, "PANEL_MAIL_CA_FILE": str(oauth_dovecot.ca_file)}


@pytest.fixture
def house(app: Flask, settings: Settings) -> House:
    house = House(settings, app.extensions["mailkeep"].vault)
    with db.database.connection_context():
        house.enable()
    return house


@pytest.fixture
def admin(app: Flask, house: House) -> Browser:
    add_person()
    browser = Browser(app)
    assert browser.sign_in().status_code == 303
    return browser


@pytest.fixture
def connecting(
    app: Flask, house: House, admin: Browser, issuer: Issuer, oauth_dovecot: DovecotServer
) -> Connecting:
    """What is needed to connect a mailbox at `issuer`, with an app that was added in the shell."""
    return Connecting(app, house, admin, issuer, oauth_dovecot)
