"""Promises of `flask doctor`: it names each problem with its remedy, and nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from panel import db
from panel.models import Collection, Encryption
from tests.encryption.conftest import House

Cli = Callable[..., subprocess.CompletedProcess[str]]


def problems(cli: Cli) -> dict[str, tuple[str, str]]:
    """What is not ok: check → message, remedy."""
    done = cli("doctor", "--json")
    found = json.loads(done.stdout)
    assert all(set(each) == {"check", "ok", "message", "remedy"} for each in found)
    bad = {each["check"]: (each["message"], each["remedy"]) for each in found if not each["ok"]}
    assert done.returncode == (1 if bad else 0)
    assert all(remedy for _, remedy in bad.values())
    return bad


def test_a_healthy_install_has_no_problem(cli: Cli, healthy: House) -> None:
    assert problems(cli) == {}
    assert "Needs attention" not in cli("doctor").stdout


def test_passwords_in_clear_are_named(cli: Cli, house: House) -> None:
    with db.database.connection_context():
        house.add()
    assert "1 of 1 password stored in clear text" in problems(cli)["encryption"][0]
    [passwords] = [line for line in cli("doctor").stdout.splitlines() if " passwords: " in line]
    assert passwords.startswith("Off "), "what is not encrypted was not decrypted either"


def test_a_missing_key_is_named_with_its_remedy(cli: Cli, healthy: House) -> None:
    healthy.key_file.unlink()
    found = problems(cli)
    assert set(found) == {"encryption", "collecting"}
    assert "missing" in found["encryption"][0]
    assert "Put it back" in found["encryption"][1]


def test_a_backup_that_is_not_verified_is_named(cli: Cli, healthy: House) -> None:
    with db.database.connection_context():
        Encryption.update(backup_proved_at=None).execute()
    assert set(problems(cli)) == {"key backup"}


def test_a_file_that_others_can_read_is_named(cli: Cli, healthy: House) -> None:
    (healthy.data / "secret-key").chmod(0o644)
    message, remedy = problems(cli)["file modes"]
    assert "secret-key" in message
    assert "chmod -R go=" in remedy


def test_a_failing_account_and_a_last_round_long_ago_are_named(cli: Cli, healthy: House) -> None:
    with db.database.connection_context():
        Collection.update(
            last_success_at=db.now() - 7200, problem="The server says no.", remedy="Ask it."
        ).execute()
    found = problems(cli)
    assert found["mailbox 0@example.org"] == ("The server says no.", "Ask it.")
    assert "2 hours ago" in found["collecting"][0]


def test_it_decrypts_every_password_and_names_the_one_that_it_cannot(cli: Cli, healthy: House) -> None:
    with db.database.connection_context():
        healthy.sql("UPDATE endpoint SET host = 'evil.example.org'")
    assert "0@example.org" in problems(cli)["passwords"][0]


def test_it_reads_the_whole_database(cli: Cli, healthy: House) -> None:
    with db.database.connection_context():
        for number in range(2000):  # enough that a page of this table can be spoilt without the schema
            healthy.sql("INSERT INTO sign_in_try (who, at) VALUES (?, 0)", f"{number}" * 20)
        healthy.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        [(root,)] = healthy.sql("SELECT rootpage FROM sqlite_master WHERE name = 'sign_in_try_who_at'")
        [(size,)] = healthy.sql("PRAGMA page_size")
    with (healthy.data / "panel.db").open("r+b") as file:
        file.seek((root - 1) * size + 8)
        file.write(b"\xff" * 40)
    assert "damaged" in problems(cli)["database"][0]
