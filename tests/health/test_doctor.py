"""Promises of `flask doctor`: each thing that is wrong is named with its mend, and nothing else is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from panel import db
from panel.models import Collection, Encryption
from tests.encryption.conftest import House

Cli = Callable[..., subprocess.CompletedProcess[str]]


def wrong(cli: Cli) -> dict[str, tuple[str, str]]:
    """What is not ok: check → says, mend."""
    done = cli("doctor", "--json")
    found = json.loads(done.stdout)
    assert all(set(each) == {"check", "ok", "message", "remedy"} for each in found)
    bad = {each["check"]: (each["message"], each["remedy"]) for each in found if not each["ok"]}
    assert done.returncode == (1 if bad else 0)
    assert all(remedy for _, remedy in bad.values())
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
    found = wrong(cli)
    assert set(found) == {"encryption", "collecting"}
    assert "missing" in found["encryption"][0]
    assert "Put it back" in found["encryption"][1]


def test_an_unproved_backup_is_named(cli: Cli, well: House) -> None:
    with db.database.connection_context():
        Encryption.update(backup_proved_at=None).execute()
    assert set(wrong(cli)) == {"key backup"}


def test_a_file_that_others_can_read_is_named(cli: Cli, well: House) -> None:
    (well.data / "secret-key").chmod(0o644)
    message, remedy = wrong(cli)["file modes"]
    assert "secret-key" in message
    assert "chmod -R go=" in remedy


def test_a_failing_account_and_a_last_round_long_ago_are_named(cli: Cli, well: House) -> None:
    with db.database.connection_context():
        Collection.update(
            last_success_at=db.now() - 7200, problem="The server says no.", remedy="Ask it."
        ).execute()
    found = wrong(cli)
    assert found["account 0@example.org"] == ("The server says no.", "Ask it.")
    assert "2 hours ago" in found["collecting"][0]


def test_it_opens_every_password_and_names_the_one_that_does_not_open(cli: Cli, well: House) -> None:
    with db.database.connection_context():
        well.sql("UPDATE endpoint SET host = 'evil.example.org'")
    assert "0@example.org" in wrong(cli)["records"][0]


def test_it_reads_the_whole_database(cli: Cli, well: House) -> None:
    with db.database.connection_context():
        for number in range(2000):  # enough that a page of this table can be spoilt without the schema
            well.sql("INSERT INTO sign_in_try (who, at) VALUES (?, 0)", f"{number}" * 20)
        well.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        [(root,)] = well.sql("SELECT rootpage FROM sqlite_master WHERE name = 'sign_in_try_who_at'")
        [(size,)] = well.sql("PRAGMA page_size")
    with (well.data / "panel.db").open("r+b") as file:
        file.seek((root - 1) * size + 8)
        file.write(b"\xff" * 40)
    assert "damaged" in wrong(cli)["database"][0]
