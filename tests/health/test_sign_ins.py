"""Promises of the checks of consents, apps and secrets kept outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from panel import db
from panel.accounts.auth import Oauth, Outside
from panel.alerts import conditions
from panel.health import causes, heartbeat, metrics, status
from panel.models import Collection
from panel.models.one_row import OneRows
from panel.secret import Secret
from tests.accounts.test_auth import add, app, connect, edit
from tests.encryption.conftest import House
from tests.health.conftest import look, problems
from tests.running import Environ
from tests.sign_in.browser import Browser

DAY = 24 * 3600
NONE_STORED = "No mailbox password is stored here"


@pytest.fixture
def environ(environ: Environ, tmp_path: Path) -> Environ:
    (tmp_path / "secrets").mkdir(mode=0o700)
    return environ | {"PANEL_SECRETS_DIR": str(tmp_path / "secrets")}


@pytest.fixture
def on(house: House) -> House:
    with db.database.connection_context():
        house.enable()
        app(house, "corporate")
    return house


def said(house: House, check: str, *, deep: bool = False) -> str:
    return " ".join(each.message for each in look(house, deep=deep) if each.check == check)


def test_that_no_password_is_stored_is_said(on: House, admin: Browser) -> None:
    with db.database.connection_context():
        add(on, Oauth("corporate"))
        connect(on)
    assert said(on, "sign-in") == f"{NONE_STORED}: 1 mailbox by OAuth2."
    assert NONE_STORED in admin.get("/").text
    with db.database.connection_context():
        edit(on, Outside("support"))
    assert said(on, "sign-in") == f"{NONE_STORED}: 1 mailbox with a secret kept outside."
    with db.database.connection_context():
        on.add("a password")
    assert NONE_STORED not in said(on, "sign-in")
    assert "1 server with a stored password" in said(on, "sign-in")
    with db.database.connection_context():
        edit(on, Secret("another"))
    assert said(on, "sign-in") == "No mailbox signs in by OAuth2 or with a secret kept outside."


def test_a_mailbox_that_is_not_connected_needs_attention_and_does_not_fail(on: House) -> None:
    with db.database.connection_context():
        heartbeat.beat()
        add(on, Oauth("corporate"))
        assert causes.read(10).named == []
    found = problems(on)["mailboxes"]
    assert found.message == "1 mailbox not connected to a provider yet: support@example.org."
    assert found.link and found.link.path == "/accounts?state=attention"
    with db.database.connection_context():
        summary = status.summary(on.settings, on.vault, OneRows())
    assert summary.mail.text == "Needs attention"
    assert summary.states["attention"] == 1 and summary.states["failing"] == 0, "as the list counts them"


def test_an_ended_consent_leads_to_its_mailbox_and_is_no_failure_besides(on: House) -> None:
    with db.database.connection_context():
        uuid = add(on, Oauth("corporate"))
        connect(on)
        on.sql("UPDATE consent SET ended_at = ?, ended_code = 'invalid_grant'", db.now())
        Collection.insert(account=uuid, problem="The provider has ended it.").execute()
    for deep in (False, True):
        found = problems(on, deep=deep)
        assert [name for name in found if "support@example.org" in name] == ["mailbox support@example.org"]
        one = found["mailbox support@example.org"]
        assert one.message == "The provider has ended this mailbox's consent (invalid_grant)."
        assert one.link and one.link.path == f"/accounts/{uuid}"
        assert "mailboxes" not in found
    with db.database.connection_context():
        connect(on)
        on.sql("UPDATE consent SET ended_code = NULL")
    assert "mailbox support@example.org" in problems(on), "until its next run: that is what the last one said"


def test_an_apps_fault_is_one_problem(on: House) -> None:
    with db.database.connection_context():
        for number in range(3):
            address = f"box{number}@example.org"
            uuid = add(on, Oauth("corporate"), address=address)
            Collection.insert(account=uuid, problem="Secret expired.").execute()
        on.sql("UPDATE consent SET connected_at = ?", db.now())
        on.sql("UPDATE oauth_app SET problem = 'Secret expired.', problem_at = ?", db.now())
    found = problems(on)
    assert (found["app corporate"].message, found["app corporate"].count) == ("Secret expired.", 3)
    assert not [name for name in found if name.startswith("mailbox")]


@pytest.mark.parametrize(
    ("days", "says"), [(31, ""), (30, "in 30 days"), (1, "in 1 day."), (-1, "expired on")]
)
def test_the_expiry_of_a_client_secret_is_seen_coming(on: House, days: int, says: str) -> None:
    with db.database.connection_context():
        on.sql("UPDATE oauth_app SET secret_expires_at = ?", db.now() + days * DAY)
    found = problems(on).get("app corporate")
    assert (found is not None) == bool(says)
    if found:
        assert says in found.message and "nobody needs to sign in again" in found.remedy


@pytest.mark.parametrize(
    "planted", ["x'ff'", "'soon'", "10000000000000000000", "-10000000000000", "1e300", "0"]
)
def test_no_time_that_sql_planted_breaks_a_check(on: House, planted: str) -> None:
    with db.database.connection_context():
        add(on, Oauth("corporate"))
        on.sql(
            f"UPDATE oauth_app SET secret_expires_at = {planted}, problem_at = {planted}, problem = {planted}"
        )
        on.sql(f"UPDATE consent SET ended_at = {planted}, connected_at = {planted}, ended_code = {planted}")
    assert [each for each in look(on) if each.check == "sign-in" and each.ok]
    with db.database.connection_context():
        assert conditions.found(on.vault) is not None


def test_outside_secrets_are_read_by_the_doctor_alone(on: House, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    with db.database.connection_context():
        add(on, Outside("support"))
    assert "can be read, and nobody else can change it" in said(on, "outside secrets")
    found = problems(on, deep=True)["outside secret of support@example.org"]
    assert found.message == "support.server is missing, so the secret support was not read."
    (secrets / "support").write_text("outside-marker")
    (secrets / "support.server").write_text("imap.example.org 993 support@example.org")
    assert said(on, "outside secrets", deep=True) == "Every secret kept outside can be read."
    assert not [each for each in look(on, deep=True) if "outside-marker" in str(each)]
    secrets.chmod(0o777)
    assert "can be changed by other users" in problems(on)["outside secrets"].message


def test_one_directory_that_cannot_be_read_is_one_cause(on: House) -> None:
    with db.database.connection_context():
        for number in range(3):
            uuid = add(on, Outside("support"), address=f"box{number}@example.org")
            text = "The directory of PANEL_SECRETS_DIR cannot be opened here (no such file or directory)."
            Collection.insert(account=uuid, problem=text).execute()
            on.sql("UPDATE endpoint SET host = ? WHERE account_id = ?", f"imap{number}.example.org", uuid)
        (cause,) = causes.read(10).named
    assert cause.count == 3


def test_metrics_count_by_how_mailboxes_sign_in(on: House) -> None:
    with db.database.connection_context():
        add(on, Oauth("corporate"))
        add(on, Outside("other"), address="other@example.org")
        text = metrics.text(on.settings, on.vault).decode()
    for name in ("accounts_oauth 1.0", "accounts_outside 1.0", "accounts_without_consent 1.0"):
        assert f"mailkeep_{name}" in text
