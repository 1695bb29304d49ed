"""Promises of `flask encryption …`: the same words and steps as the page, exit statuses a script can trust."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from panel import create_app, db, install
from panel.config import Settings
from panel.encryption.keystore import KeyStore
from tests.encryption.conftest import House

Cli = Callable[..., subprocess.CompletedProcess[str]]
BOTH = ("--understand-key-loss", "--backup-prepared")


@pytest.fixture
def house(settings: Settings) -> House:
    install.prepare(settings)
    create_app(settings)
    house = House(settings, KeyStore.of(settings))
    with db.database.connection_context():
        house.add("MARKER-first")
        house.add("MARKER-second")
    return house


def status(cli: Cli) -> dict[str, object]:
    done = cli("encryption", "status", "--json")
    result: dict[str, object] = json.loads(done.stdout)
    return {**result, "exit": done.returncode}


def test_status_json_has_the_agreed_shape(cli: Cli, house: House) -> None:
    assert status(cli) == {
        "state": "off",
        "key": {"file": "encryption-key.bin", "found": None, "expected": None, "created_at": None},
        "passwords": {"total": 2, "sealed": 0, "clear": 2, "unreadable": 0},
        "backup_proved_at": None,
        "exit": 0,
    }


@pytest.mark.parametrize("given", [(), BOTH[:1], BOTH[1:]])
def test_enable_needs_both_confirmations(cli: Cli, house: House, given: tuple[str, ...]) -> None:
    done = cli("encryption", "enable", *given)
    assert done.returncode == 3
    assert "--understand-key-loss" in done.stderr
    assert not house.key_file.exists()


def test_enable_verify_scan_and_disable_do_the_whole_round(cli: Cli, house: House) -> None:
    done = cli("encryption", "enable", *BOTH)
    assert done.returncode == 0, done.stderr
    assert status(cli)["state"] == "on"
    verified = cli("encryption", "verify", "--scan", "--json")
    assert verified.returncode == 0, verified.stderr
    result = json.loads(verified.stdout)
    assert (result["opened"], result["failed"], result["scan"]["found"]) == (2, [], [])
    assert "panel.db" in result["scan"]["searched"]
    assert result["scan"]["not_visible"]
    assert cli("encryption", "disable").returncode == 3  # nobody to ask: refused, nothing changed
    assert status(cli)["state"] == "on"
    assert cli("encryption", "disable", "--yes").returncode == 0
    assert status(cli)["state"] == "off"


def test_a_scan_finds_a_password_that_stands_in_the_database(cli: Cli, house: House) -> None:
    done = cli("encryption", "verify", "--scan", "--json")
    assert done.returncode == 1
    assert any(name.startswith("panel.db") for name in json.loads(done.stdout)["scan"]["found"])
    assert "MARKER" not in done.stdout + done.stderr


def test_a_missing_key_is_a_problem_found_with_what_to_do(cli: Cli, house: House) -> None:
    cli("encryption", "enable", *BOTH)
    house.key_file.unlink()
    told = status(cli)
    assert (told["state"], told["exit"]) == ("key-missing", 1)
    done = cli("encryption", "status")
    assert "Put it back" in done.stdout
    assert cli("encryption", "verify").returncode == 1
    assert cli("encryption", "enable", *BOTH).returncode == 3


def test_a_tampered_row_is_named_and_is_exit_status_1(cli: Cli, house: House) -> None:
    cli("encryption", "enable", *BOTH)
    with db.database.connection_context():
        house.sql("UPDATE endpoint SET host = 'evil' WHERE id = 1")
    done = cli("encryption", "verify", "--json")
    assert done.returncode == 1
    assert [f["account"] for f in json.loads(done.stdout)["failed"]] == ["0@example.org"]
    assert status(cli)["state"] == "inconsistent"
    assert cli("encryption", "disable", "--yes").returncode == 3


def test_without_an_install_every_command_says_so(cli: Cli) -> None:
    for command in ("status", "resume", "verify"):
        done = cli("encryption", command)
        assert done.returncode == 3
        assert "not set up" in done.stderr
        assert "Traceback" not in done.stderr


def test_rotate_tells_what_it_will_do_does_it_and_asks_for_a_new_backup(cli: Cli, house: House) -> None:
    assert cli("encryption", "enable", *BOTH).returncode == 0
    first = house.key_file.read_bytes()
    told = cli("encryption", "rotate", "--preview")
    assert (told.returncode, house.key_file.read_bytes()) == (0, first)
    assert "2 passwords are encrypted again under a new key" in told.stdout
    done = cli("encryption", "rotate")
    assert done.returncode == 0, done.stderr
    assert "copy the key file again" in done.stdout
    assert "Encryption: on." in done.stdout
    assert house.key_file.read_bytes() != first


def test_rotate_is_refused_while_encryption_is_off(cli: Cli, house: House) -> None:
    done = cli("encryption", "rotate")
    assert (done.returncode, "Turn encryption on first." in done.stderr) == (3, True)
