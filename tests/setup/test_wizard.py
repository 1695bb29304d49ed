"""The steps after the first administrator: only theirs, resumed where they stopped, closed for good."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from panel import db
from panel.accounts import removal
from panel.audit import Actor
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
def admin(app: Flask, settings: Settings) -> Browser:
    """The first administrator, just made."""
    browser = Browser(app)
    browser.get(opened(settings))
    assert browser.post("/setup/admin", **FIELDS).location == "/server/encryption"
    return browser


def step(browser: Browser) -> str:
    """Where /setup leads."""
    return browser.get("/setup").location or ""


def add_mailbox(browser: Browser) -> str:
    """Add it without a test of the server; where that leads."""
    return browser.post("/accounts/new", **form()).location or ""


def test_one_goes_from_step_to_step_and_ends_on_the_overview(
    app: Flask, admin: Browser, house: House
) -> None:
    assert step(admin) == "/server/encryption"
    page = admin.get("/server/encryption").text
    assert "<title>Step 3 of 5: Encryption ·" in page and 'aria-label="Main"' not in page
    assert "Encrypt mailbox passwords" in page and "passwords are encrypted" not in page
    assert admin.post("/server/encryption/enable", on="/server/encryption", **BOXES).status_code == 303
    assert admin.get("/server/encryption").location == "/accounts/new"  # where that leads
    with db.database.connection_context():
        unfinished.resume(house.vault)
        assert house.state is State.ON
    assert "<title>Step 4 of 5: First mailbox ·" in admin.get(step(admin)).text
    assert admin.get(add_mailbox(admin)).location == "/"
    overview = admin.get("/").text
    assert "Mailkeep is set up. Mail of support@example.org is collected now" in overview
    assert 'aria-label="Main"' in overview and "Setup" not in overview
    for path in ("/setup", "/setup/checks", "/setup/admin"):
        assert admin.get(path).status_code == 403
    assert SetupState.get().closed_at
    assert [event.what for event in Activity.select().where(Activity.what.startswith("set"))] == [
        "set up", "setup finished",
    ]  # fmt: skip


def test_both_may_be_put_off_and_the_navigation_says_so(admin: Browser) -> None:
    assert admin.post("/setup/later", on="/server/encryption").location == "/accounts/new"
    assert admin.post("/setup/later", on="/accounts/new").location == "/"
    assert admin.get("/").location == "/"
    assert "Mailkeep is set up. No mailboxes yet: add the first one to collect mail." in admin.get("/").text
    for path in ("/", "/accounts", "/people"):
        assert '<span class="count warn">Off</span>' in admin.get(path).text
    assert admin.post("/setup/later", on="/people").status_code == 403


def test_a_mailbox_that_was_removed_again_is_none(admin: Browser, house: House) -> None:
    admin.post("/setup/later", on="/server/encryption")
    with db.database.connection_context():
        removal.remove(house.add().account_id, Actor())
    assert step(admin) == "/accounts/new"
    assert admin.post("/setup/later", on="/accounts/new").location == "/"
    admin.get("/")
    assert "Mailkeep is set up. No mailboxes yet" in admin.get("/").text


def test_every_page_leads_on_and_none_traps(admin: Browser) -> None:
    for path in ("/", "/accounts", "/people", "/activity", "/profile"):
        page = admin.get(path)
        assert page.status_code == 200
        assert 'href="/server/encryption">Encryption</a>' in page.text
        assert 'aria-current="step">Encryption' in page.text


def test_a_form_with_a_mistake_stays_in_its_step(admin: Browser) -> None:
    refused = admin.post("/server/encryption/enable", on="/server/encryption")
    assert refused.status_code == 422 and "<title>Step 3 of 5" in refused.text
    admin.post("/setup/later", on="/server/encryption")
    refused = admin.post("/accounts/new", **form(host=""))
    assert refused.status_code == 422 and "<title>Step 4 of 5" in refused.text


def test_polls_and_posts_are_never_led_on(admin: Browser) -> None:
    admin.post("/setup/later", on="/server/encryption")
    admin.post("/setup/later", on="/accounts/new")
    assert admin.client.get("/", headers={"HX-Request": "true"}).status_code in (200, 204)
    assert SetupState.get().closed_at is None
    admin.get("/")
    assert SetupState.get().closed_at


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
    assert other.post("/setup/later", on="/profile").status_code == 403
    for path in ("/", "/accounts"):
        other.get(path)
    assert SetupState.get().closed_at is None


def test_nobody_takes_the_steps_before_there_is_an_administrator(app: Flask, settings: Settings) -> None:
    browser = Browser(app)
    browser.get(opened(settings))
    assert (browser.post("/setup/later", on="/setup/admin").location or "").startswith("/login")
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


def test_a_good_machine_goes_on_by_itself_and_a_bad_one_says_what_to_do(
    app: Flask, settings: Settings
) -> None:
    browser = Browser(app)
    browser.get(opened(settings))
    assert browser.get("/setup/checks").location == "/setup/admin"
    assert "<title>Step 2 of 5: First administrator ·" in browser.get("/setup/admin").text
    settings.data_dir.chmod(0o755)
    page = browser.get("/setup/checks").text
    assert "<title>Step 1 of 5: Checks ·" in page and "chmod -R go=" in page and "Continue anyway" in page
    settings.data_dir.chmod(0o700)
    assert browser.get("/setup/checks").location == "/setup/admin"


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
    assert step(admin) == "/"
    with db.database.connection_context():
        Account.delete().execute()
        assert service.step_of(1, house.vault) is service.Step.MAILBOX
