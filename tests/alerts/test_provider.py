"""Promises of alerts about consents and apps, with a real provider behind them."""

from __future__ import annotations

import pytest

from panel import db
from panel.alerts import conditions
from panel.alerts.conditions import Condition
from panel.audit import Actor
from panel.collect.round import Collector
from panel.errors import AppFault, ConsentNeeded
from panel.models import Account, Consent, OauthApp
from panel.oauth import apps
from panel.secret import Secret
from tests.oauth.conftest import PANEL, Office, office  # noqa: F401
from tests.running import Environ
from tests.servers.dovecot import DovecotServer


@pytest.fixture
def environ(environ: Environ, oauth_dovecot: DovecotServer) -> Environ:
    ports = ",".join(str(port) for port in oauth_dovecot.ports)
    return environ | {"PANEL_MAIL_CA_FILE": str(oauth_dovecot.ca_file), "PANEL_MAIL_PORTS": ports}


def collect(office: Office, account: Account) -> None:
    Collector(office.settings, office.vault).collect(account.uuid, force=True)


def found(office: Office) -> list[Condition]:
    """What is alerted to now; a mailbox that fails like any other would be after its usual hour."""
    db.database.execute_sql("UPDATE collection SET failing_since = failing_since - 7200")
    every = conditions.found(office.vault)
    return [each for each in every if each.name not in ("worker-silent", "backup-unverified")]


def test_a_revoked_consent_is_one_alert_within_one_round(
    office: Office,
    oauth_dovecot: DovecotServer,
) -> None:
    account = office.add_mailbox(office.add_app(), oauth_dovecot)
    office.connect(account)
    collect(office, account)
    assert found(office) == []
    office.issuer.revoke(str(account.address))
    with pytest.raises(ConsentNeeded):
        collect(office, account)
    (alert,) = found(office)
    assert (alert.name, alert.path) == ("consent-ended", f"/accounts/{account.uuid}")
    office.connect(account)
    collect(office, account)
    assert found(office) == []


def test_a_wrong_client_secret_is_one_alert_for_all_mailboxes_of_the_app(
    office: Office,
    oauth_dovecot: DovecotServer,
) -> None:
    app = office.add_app()
    accounts = [office.add_mailbox(app, oauth_dovecot) for _ in range(4)]
    for account in accounts:
        office.connect(account)
    apps.set_secret(
        office.vault, str(app.uid), Secret("not-the-secret"), None, Actor("ada"), app.place.digest
    )
    for account in accounts:
        with pytest.raises(AppFault):
            collect(office, account)
    (alert,) = found(office)
    assert (alert.name, alert.mailboxes, alert.path) == ("app-fault", 4, f"/server/oauth/{app.uid}")
    assert not Consent.select().where(Consent.ended_at.is_null(False)).exists(), "no consent is lost by it"
    app = OauthApp.get(OauthApp.uid == app.uid)
    app.secret = Secret(PANEL.secret)  # which has spaces, as those of no provider that a form takes
    app.save()
    for account in accounts:
        collect(office, account)
    assert found(office) == []
