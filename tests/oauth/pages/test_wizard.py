"""Promise of setup: the first mailbox may be one that signs in at its provider."""

from __future__ import annotations

import re

from flask import Flask

from panel import db
from panel.config import Settings
from panel.models import SetupState
from tests.encryption.conftest import House
from tests.oauth.pages.connecting import CLIENT_SECRET, Connecting
from tests.servers.dovecot import DovecotServer
from tests.servers.issuer import Issuer
from tests.setup.test_setup import FIELDS, opened
from tests.sign_in.browser import Browser


def begun(app: Flask, settings: Settings) -> Browser:
    """The first administrator, who has just been created."""
    browser = Browser(app)
    browser.get(opened(settings))
    assert browser.post("/setup/admin", **FIELDS).status_code == 303
    return browser


def test_the_first_mailbox_is_connected_and_setup_ends(
    app: Flask, settings: Settings, issuer: Issuer, oauth_dovecot: DovecotServer
) -> None:
    admin = begun(app, settings)
    page = admin.get("/accounts/new?provider=microsoft").text
    assert "Turn on encryption first." in page and "No app is registered" not in page
    house = House(settings, app.extensions["mailkeep"].vault)
    with db.database.connection_context():
        house.enable()
    page = admin.get("/accounts/new?provider=microsoft").text
    assert "Turn on encryption first." not in page and "Step 4 of 5" in page
    assert "No app is registered at Microsoft yet." in page
    link = re.findall(r'href="(/server/oauth/new\?[^"]+)">Add the app', page)[0].replace("&amp;", "&")
    form = admin.get(link).text
    assert "Setup continues with step 4 of 5" in form
    values = dict(re.findall(r'name="(uid|back)"[^>]*value="([^"]*)"', form))
    answer = admin.post(
        "/server/oauth/new", on=link, provider="microsoft", name="Contoso", tenant="contoso.example", client_id="f00d",
        client_secret=CLIENT_SECRET, **values,
    )  # fmt: skip
    assert answer.location == "/accounts/new?provider=microsoft"
    assert "Contoso" in admin.get(answer.location).text

    connecting = Connecting(app, house, admin, issuer, oauth_dovecot)
    address = connecting.user()
    came = connecting.come_back(connecting.sign_in(connecting.add(address), address))
    assert "Signed in as" in came.text
    done = connecting.follow(connecting.confirm(came))
    assert done.location == "/"
    assert f"Mail of {address} is collected now" in admin.get("/").text
    with db.database.connection_context():
        assert SetupState.get().closed_at


def test_who_does_not_connect_it_is_told_so(
    app: Flask, settings: Settings, issuer: Issuer, oauth_dovecot: DovecotServer
) -> None:
    admin = begun(app, settings)
    house = House(settings, app.extensions["mailkeep"].vault)
    with db.database.connection_context():
        house.enable()
    connecting = Connecting(app, house, admin, issuer, oauth_dovecot)
    page = connecting.add(connecting.user())
    where = page.request.path
    answer = admin.post(f"{where}/cancel", on=where)
    assert admin.get(answer.location).location == "/"
    assert "is not connected yet: open it under Mailboxes" in admin.get("/").text
