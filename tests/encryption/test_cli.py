"""Promises of `flask encryption …`: the same words and steps as the page, exit statuses a script can trust."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from panel import create_app, db
from panel.config import Settings
from panel.crypto.keyfile import KeyFile
from panel.vault import scrub
from panel.vault.vault import Vault
from tests import installs
from tests.encryption.conftest import House

Cli = Callable[..., subprocess.CompletedProcess[str]]
BOTH = ("--understand-key-loss", "--backup-prepared")


@pytest.fixture
def house(settings: Settings) -> House:
    installs.prepare(settings)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
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
        "others": {"sealed": 0, "tokens": 0, "unreadable": 0},
        "backup_proved_at": None,
        "exit": 0,
    }


@pytest.mark.parametrize("given", [(), BOTH[:1], BOTH[1:]])
def test_enable_needs_both_confirmations(cli: Cli, house: House, given: tuple[str, ...]) -> None:
    done = cli("encryption", "enable", *given)
    assert done.returncode == 3
    assert "--understand-key-loss" in done.stderr
    assert not house.key_file.exists()


def test_enable_prints_three_lines_where_all_is_as_it_should_be(cli: Cli, house: House) -> None:
    done = cli("encryption", "enable", *BOTH)
    assert done.returncode == 0, done.stderr
    encryption, key, leftovers = done.stdout.splitlines()
    assert encryption == "Encryption: on. 2 passwords encrypted."
    assert re.match(
        r"Key: [0-9a-f-]{19}\. It has no verified backup\. .*: .venv/bin/flask encryption key check COPY$",
        key,
    )
    assert re.match(r"No leftovers in clear text found in \d+ files\.$", leftovers)


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
    after = status(cli)
    assert (after["state"], after["key"]) == (
        "off",
        {"file": "encryption-key.bin", "found": None, "expected": None, "created_at": None},
    )


def test_a_scan_finds_a_password_that_stands_in_the_database(cli: Cli, house: House) -> None:
    done = cli("encryption", "verify", "--scan", "--json")
    assert done.returncode == 1
    assert any(name.startswith("panel.db") for name in json.loads(done.stdout)["scan"]["found"])
    assert "MARKER" not in done.stdout + done.stderr


def test_a_password_in_a_file_of_this_server_is_exit_status_1_until_the_file_is_gone(
    cli: Cli, house: House, tmp_path: Path
) -> None:
    left_over = house.data / "backups/before.db"
    left_over.parent.mkdir()
    shutil.copy(house.data / "panel.db", left_over)
    left_over.write_bytes(left_over.read_bytes() + b"MARKER-first")
    for words in (
        ("enable", *BOTH),
        ("enable", *BOTH),  # on already, but what was found is still there
        ("rotate",),
        ("resume",),
        ("key", "add", str(house.key_file)),
        ("key", "import", str(house.key_file)),
    ):
        done = cli("encryption", *words)
        assert done.returncode == 1, words
        assert "Encryption: on." in done.stdout, words
        assert "Leftover in clear text: backups/before.db (0@example.org" in done.stdout, words
        assert "This file is not part of Mailkeep. Delete it" in done.stdout, words
        assert "MARKER" not in done.stdout + done.stderr, words
    left_over.unlink()
    done = cli("encryption", "resume")
    assert (done.returncode, "No leftovers in clear text found in" in done.stdout) == (0, True), done.stdout


def test_after_turning_off_passwords_stand_in_clear_on_purpose_which_is_no_problem_found(
    cli: Cli, house: House
) -> None:
    (house.data / "notes.txt").write_text("MARKER-first")
    assert cli("encryption", "enable", *BOTH).returncode == 1
    for words in (("disable", "--yes"), ("resume",)):
        done = cli("encryption", *words)
        assert done.returncode == 0, done.stdout
        assert "Leftover" not in done.stdout


def test_once_a_lost_key_is_given_up_a_find_from_before_is_neither_told_nor_a_problem(
    cli: Cli, house: House
) -> None:
    (house.data / "notes.txt").write_text("MARKER-first")
    assert cli("encryption", "enable", *BOTH).returncode == 1
    house.key_file.unlink()
    assert cli("encryption", "forget-lost-key", "--confirm", "forget 2 passwords").returncode == 0
    done = cli("encryption", "resume")
    assert (done.returncode, "Leftover" in done.stdout) == (0, False), done.stdout


def test_what_only_verify_also_found_elsewhere_stays_told_and_does_not_fail_other_commands(
    cli: Cli, house: House, tmp_path: Path
) -> None:
    assert cli("encryption", "enable", *BOTH).returncode == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "old.sql").write_text("MARKER-first")
    assert cli("encryption", "verify", "--scan", "--also", str(elsewhere)).returncode == 1
    done = cli("encryption", "resume")
    assert done.returncode == 0
    assert f"Leftover in clear text: {elsewhere / 'old.sql'}" in done.stdout


def test_old_copies_that_a_reader_keeps_are_exit_status_1_until_it_ends(
    app: Flask, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub, "PAUSE", 0)
    monkeypatch.setattr(db.database.obj, "timeout", 0.1)
    with closing(sqlite3.connect(house.data / "panel.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM endpoint").fetchone()
        done = app.test_cli_runner().invoke(args=["encryption", "enable", *BOTH])
        assert (done.exit_code, "another program is reading the database" in done.stdout) == (1, True)
    done = app.test_cli_runner().invoke(args=["encryption", "resume"])
    assert (done.exit_code, "Encryption: on." in done.stdout) == (0, True), done.output


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
    assert "2 passwords will be encrypted again with a new key" in told.stdout
    done = cli("encryption", "rotate")
    assert done.returncode == 0, done.stderr
    assert "It has no verified backup." in done.stdout
    assert "Encryption: on." in done.stdout
    assert house.key_file.read_bytes() != first


def test_rotate_is_refused_while_encryption_is_off(cli: Cli, house: House) -> None:
    done = cli("encryption", "rotate")
    assert (done.returncode, "Turn encryption on first." in done.stderr) == (3, True)
    for words in (("rotate",), ("rotate", "--preview")):
        done = cli("encryption", *words)
        assert (done.returncode, done.stdout) == (3, ""), "it tells of nothing that will not be done"


def test_the_backup_of_the_key_is_asked_for_until_a_copy_is_proved(cli: Cli, house: House) -> None:
    wanted = "verify the copy: .venv/bin/flask encryption key check COPY"
    assert wanted not in cli("encryption", "status").stdout
    for words in (("enable", *BOTH), ("status",), ("resume",)):
        assert wanted in cli("encryption", *words).stdout, words
    assert cli("encryption", "key", "check", str(house.key_file)).returncode == 0
    for words in (("enable", *BOTH), ("status",), ("resume",)):
        assert wanted not in cli("encryption", *words).stdout, words
    assert wanted in cli("encryption", "rotate").stdout
    assert wanted in cli("encryption", "status").stdout


def test_key_check_tells_a_good_copy_from_an_old_one(cli: Cli, house: House, tmp_path: Path) -> None:
    cli("encryption", "enable", *BOTH)
    copy = tmp_path / "-- my copy ü.bin"
    shutil.copy(house.key_file, copy)
    good = cli("encryption", "key", "check", str(copy))
    assert (good.returncode, "Backup verified" in good.stdout) == (0, True)
    assert status(cli)["backup_proved_at"] is not None
    cli("encryption", "rotate")
    bad = cli("encryption", "key", "check", str(copy))
    assert (bad.returncode, "out of date: it lacks key" in bad.stderr) == (1, True)
    assert status(cli)["backup_proved_at"] is None
    assert cli("encryption", "key", "check", str(tmp_path / "none")).returncode == 2


def test_key_prune_wants_the_words_and_names_what_becomes_unreadable(cli: Cli, house: House) -> None:
    cli("encryption", "enable", *BOTH)
    assert cli("encryption", "key", "prune").returncode == 3
    cli("encryption", "rotate")
    before = house.key_file.read_bytes()
    asked = cli("encryption", "key", "prune")
    assert (asked.returncode, '--confirm "drop 1 key"' in asked.stderr) == (3, True)
    assert re.search(
        r"database backups from before \d{4}-\d\d-\d\d .* cannot be read without it", asked.stdout
    )
    assert cli("encryption", "key", "prune", "--confirm", "drop 2 keys").returncode == 3
    assert house.key_file.read_bytes() == before
    done = cli("encryption", "key", "prune", "--confirm", "drop 1 key")
    assert (done.returncode, "Removed: " in done.stdout) == (0, True)
    assert len(KeyFile.from_bytes(house.key_file.read_bytes()).keys) == 1


def test_a_lost_key_is_forgotten_after_typed_words_and_put_back_when_it_turns_up(
    cli: Cli, house: House, tmp_path: Path
) -> None:
    cli("encryption", "enable", *BOTH)
    copy = shutil.move(house.key_file, tmp_path / "safe.bin")
    house.orphan(99, "in", b"\x01\x01" + bytes(80))
    asked = cli("encryption", "forget-lost-key")
    assert asked.returncode == 3
    assert "0@example.org, 1@example.org, (no account nobody)" in asked.stdout
    assert cli("encryption", "forget-lost-key", "--confirm", "forget 2 passwords").returncode == 3
    done = cli("encryption", "forget-lost-key", "--confirm", "forget 3 passwords")
    assert done.returncode == 0, done.stderr
    assert "Removed, because they belong to no account: (no account nobody)." in done.stdout
    assert "accounts edit (no account" not in done.stdout
    assert "flask accounts edit 1@example.org" in done.stdout
    assert status(cli)["state"] == "off"
    assert cli("encryption", "forget-lost-key", "--confirm", "forget 0 passwords").returncode == 3
    assert cli("encryption", "enable", *BOTH).returncode == 0
    told = cli("encryption", "key", "add", str(copy))
    assert "To put them back, add --restore." in told.stdout
    back = cli("encryption", "key", "add", str(copy), "--restore")
    assert (back.returncode, "Put back: 0@example.org, 1@example.org." in back.stdout) == (0, True)
    assert status(cli)["passwords"] == {"total": 2, "sealed": 2, "clear": 0, "unreadable": 0}
