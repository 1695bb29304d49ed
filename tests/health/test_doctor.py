"""Promises of `flask doctor`: each thing that is wrong is named with its mend, and nothing else is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from flask import Flask

from panel import db
from panel.config import Settings
from panel.health import checks
from panel.models import Collection, Encryption
from tests.encryption.conftest import House

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def house(app: Flask, settings: Settings) -> House:
    return House(settings, app.extensions["mailkeep"].keystore)


@pytest.fixture
def well(house: House) -> House:
    """An install with nothing to complain of."""
    with db.database.connection_context():
        account = house.add().account
        house.enable()
        Encryption.update(backup_proved_at=db.now()).execute()
        Collection.insert(account=account, last_success_at=db.now()).execute()
    return house


def wrong(cli: Cli) -> dict[str, tuple[str, str]]:
    """What is not ok: check → says, mend."""
    done = cli("doctor", "--json")
    found = json.loads(done.stdout)
    assert all(set(each) == {"check", "ok", "says", "mend"} for each in found)
    bad = {each["check"]: (each["says"], each["mend"]) for each in found if not each["ok"]}
    assert done.returncode == (1 if bad else 0)
    assert all(mend for _, mend in bad.values())
    return bad


def test_a_well_install_is_said_to_be_well(cli: Cli, well: House) -> None:
    assert wrong(cli) == {}
    assert "NOT OK" not in cli("doctor").stdout


def test_passwords_in_clear_are_named(cli: Cli, house: House) -> None:
    with db.database.connection_context():
        house.add()
    assert "1 of 1 passwords" in wrong(cli)["encryption"][0]


def test_a_missing_key_is_named_with_its_mend(cli: Cli, well: House) -> None:
    well.key_file.unlink()
    says, mend = wrong(cli)["encryption"]
    assert "missing" in says
    assert "Put it back" in mend


def test_an_unproved_backup_is_named(cli: Cli, well: House) -> None:
    with db.database.connection_context():
        Encryption.update(backup_proved_at=None).execute()
    assert set(wrong(cli)) == {"key backup"}


def test_a_file_that_others_can_read_is_named(cli: Cli, well: House) -> None:
    (well.data / "secret-key").chmod(0o644)
    says, mend = wrong(cli)["file modes"]
    assert "secret-key" in says
    assert "chmod -R go=" in mend


def test_a_failing_account_and_a_silent_worker_are_named(cli: Cli, well: House) -> None:
    with db.database.connection_context():
        Collection.update(
            last_success_at=db.now() - 7200, problem="The server says no.", hint="Ask it."
        ).execute()
    found = wrong(cli)
    assert found["account 0@example.org"] == ("The server says no.", "Ask it.")
    assert "2 hours ago" in found["worker"][0]


def test_a_spool_that_nobody_empties_is_named(well: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MANY_UNREAD", 1)
    new = well.settings.mail_spool / "some-uuid" / "new"
    new.mkdir(parents=True)
    for number in range(2):
        (new / str(number)).touch()
    with db.database.connection_context():
        found = [c for c in checks.run(well.settings, well.keystore) if not c.ok]
    assert ["2 messages lie in" in c.says for c in found] == [True]


def test_a_disk_that_is_nearly_full_is_named(well: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LEAST_DISK", 2**60)
    with db.database.connection_context():
        found = [c for c in checks.run(well.settings, well.keystore) if not c.ok]
    assert [c.check for c in found] == ["disk"]
