"""The steps after the first administrator: only theirs, resumed where they stopped, closed for good."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from panel import db
from panel.config import Settings
from panel.models import Account, Activity, SetupState
from panel.setup import checks, service
from panel.vault import unfinished
from panel.vault.keystore import KeyStore
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.accounts.conftest import form
from tests.encryption.conftest import House
from tests.running import Environ
from tests.setup.test_setup import FIELDS, opened
from tests.sign_in.browser import PASSWORD, Browser, add_person

BOXES = {"understand_key_loss": "y", "backup_prepared": "y"}


@pytest.fixture
def environ(environ: Environ) -> Environ:
    return environ | {"PANEL_MAIL_PORTS": "993"}


@pytest.fixture
def house(app: Flask, settings: Settings) -> House:
    return House(settings, app.extensions["mailkeep"].vault)


@pytest.fixture
def admin(app: Flask, settings: Settings) -> Browser:
    """The first administrator, just made."""
    browser = Browser(app)
    browser.get(opened(settings))
    assert browser.post("/setup/admin", **FIELDS).location == "/server/encryption"
    return browser


def step(browser: Browser) -> str:
    """Where /setup leads."""
    return browser.get("/setup").location or ""


def test_one_goes_from_step_to_step_and_is_finished(app: Flask, admin: Browser, house: House) -> None:
    assert step(admin) == "/server/encryption"
    assert admin.post("/server/encryption/enable", on="/server/encryption", **BOXES).status_code == 303
    with db.database.connection_context():
        unfinished.resume(house.vault)
        assert house.state is State.ON
    assert step(admin) == "/accounts/new"
    assert admin.post("/accounts/new", **form()).status_code == 303
    assert step(admin) == "/setup/summary"
    summary = admin.get("/setup/summary").text
    assert "support@example.org has not been collected yet." in summary
    with db.database.connection_context():
        assert (house.vault.latest().found or "?") in summary
    assert admin.post("/setup/finish", on="/setup/summary").location == "/"
    assert "Set-up" not in admin.get("/").text.replace("Set-up address", "")
    for path in ("/setup", "/setup/summary", "/setup/checks", "/setup/admin"):
        assert admin.get(path).status_code == 403
    assert SetupState.get().closed_at
    assert [event.what for event in Activity.select().where(Activity.what.startswith("set"))] == [
        "set up", "setup finished",
    ]  # fmt: skip


def test_both_may_be_put_off_and_the_navigation_says_off(admin: Browser) -> None:
    assert admin.post("/setup/later", on="/server/encryption").location == "/accounts/new"
    assert admin.post("/setup/later", on="/accounts/new").location == "/setup/summary"
    assert "Encryption is off" in admin.get("/setup/summary").text
    admin.post("/setup/finish", on="/setup/summary")
    for path in ("/", "/accounts", "/people"):
        assert '<span class="count warn">Off</span>' in admin.get(path).text


def test_every_page_leads_on_and_none_traps(admin: Browser) -> None:
    for path in ("/", "/accounts", "/people", "/activity", "/profile"):
        page = admin.get(path)
        assert page.status_code == 200
        assert 'href="/server/encryption">Turn on encryption</a>' in page.text
        assert 'aria-current="step">Encryption' in page.text


def test_it_goes_on_after_signing_out_and_in_again(app: Flask, admin: Browser) -> None:
    admin.post("/setup/later", on="/server/encryption")
    admin.post("/logout", on="/confirm")
    assert admin.get("/setup").status_code == 403
    again = Browser(app, "192.0.2.1")
    again.sign_in()
    assert step(again) == "/accounts/new"


@pytest.mark.parametrize("role", ["admin", "agent", "user"])
def test_nobody_else_sees_or_takes_the_steps(app: Flask, admin: Browser, role: str) -> None:
    add_person("other@example.org", role)
    other = Browser(app)
    other.sign_in("other@example.org")
    assert 'aria-current="step"' not in other.get("/profile").text
    assert other.get("/setup/summary").status_code == 403
    for path in ("/setup/later", "/setup/finish"):
        assert other.post(path, on="/profile").status_code == 403
    assert SetupState.get().closed_at is None


def test_nobody_takes_the_steps_before_there_is_an_administrator(app: Flask, settings: Settings) -> None:
    browser = Browser(app)
    browser.get(opened(settings))
    assert browser.get("/setup/summary").location == "/login?next=/setup/summary"
    assert (browser.post("/setup/finish", on="/setup/admin").location or "").startswith("/login")
    assert SetupState.get().closed_at is None


def test_in_the_shell_all_is_done_at_once(
    app: Flask, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = cli(
        "setup",
        "--admin-email",
        "ada@example.org",
        "--admin-name",
        "Ada",
        "--password-file",
        "-",
        stdin=PASSWORD,
    )
    assert done.returncode == 0, done.stderr
    browser = Browser(app)
    browser.sign_in()
    assert browser.get("/setup").status_code == 403
    assert 'aria-current="step"' not in browser.get("/").text


def test_an_install_from_before_the_steps_is_finished(app: Flask) -> None:
    add_person()
    SetupState.update(closed_at=1, token_hash=None).execute()
    browser = Browser(app)
    browser.sign_in()
    assert browser.get("/setup").status_code == 403


# -- the checks ------------------------------------------------------------------------


def test_a_good_machine_is_told_ready(app: Flask, settings: Settings) -> None:
    browser = Browser(app)
    browser.get(opened(settings))
    page = browser.get("/setup/checks")
    assert "This server is ready" in page.text
    assert "The key file will be" in page.text


def test_a_failing_check_is_shown_with_its_remedy(
    app: Flask, house: House, settings: Settings, tmp_path: Path
) -> None:
    place = tmp_path / "for everybody"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    store = Vault(db.database, KeyStore(place / "key.bin", settings.data_dir))
    with db.database.connection_context():
        found = {c.check: c for c in checks.run(settings, store, exposed=True)}
        assert found["key file"].remedy == f"Run: chmod go-w '{place}'"
        assert "plain HTTP" in found["connection"].message and "PANEL_URL" in found["connection"].remedy
        place.rmdir()
        gone = {c.check: c for c in checks.run(settings, store, exposed=False)}
        assert "does not exist" in gone["key file"].message
        settings.data_dir.chmod(0o755)
        modes = {c.check: c for c in checks.run(settings, house.vault, exposed=False)}
        assert "chmod -R go=" in modes["file modes"].remedy


def test_an_account_made_elsewhere_counts_as_the_first_mailbox(admin: Browser, house: House) -> None:
    with db.database.connection_context():
        house.add()
    admin.post("/setup/later", on="/server/encryption")
    assert step(admin) == "/setup/summary"
    with db.database.connection_context():
        Account.delete().execute()
        assert service.step_of(1, house.vault) is service.Step.MAILBOX
