"""Promises of 'Leftovers in clear text' on the page and in the shell: what was found, where, whose, and what to do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from panel import create_app, db, install
from panel.config import Settings
from panel.encryption.leftovers import scan
from panel.models import Account, Encryption, Endpoint, SweepReport
from panel.people import service as people
from panel.secret import Secret
from panel.vault import reports
from panel.vault.vault import Vault
from tests.encryption.conftest import House, new_endpoint

Cli = Callable[..., subprocess.CompletedProcess[str]]
SECRET = "MARKER-of-one-mailbox"
PASSWORD = "correct horse battery staple"
URL = "/server/encryption"
BOTH = ("--understand-key-loss", "--backup-prepared")


@pytest.fixture
def house(settings: Settings) -> House:
    """An install that is on and was looked through."""
    install.prepare(settings)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    with db.database.connection_context():
        house.add(SECRET)
        house.add("another one")
        house.enable()
        scan.finish_report(house.vault, settings)
    return house


@pytest.fixture
def page_for(house: House, app: Flask) -> Callable[[str], FlaskClient]:
    app.config["WTF_CSRF_ENABLED"] = False

    def sign_in(role: str) -> FlaskClient:
        client = app.test_client()
        with db.database.connection_context():
            people.add(f"{role}@example.org", role.title(), role, Secret(PASSWORD))
        client.post("/login", data={"email": f"{role}@example.org", "password": PASSWORD})
        return client

    return sign_in


def text(client: FlaskClient) -> str:
    return re.sub(r"\s+", " ", client.get(URL).text)


def in_database(step: Callable[[], Any]) -> Any:
    with db.database.connection_context():
        return step()


def left_over(house: House) -> Path:
    path = house.data / "panel.db.bak"
    path.write_text(SECRET)
    in_database(lambda: scan.check(house.vault, house.settings))
    return path


# -- the page ----------------------------------------------------------------------


def test_an_admin_reads_what_was_searched_and_what_cannot_be_seen(
    page_for: Callable[[str], FlaskClient],
) -> None:
    page = text(page_for("admin"))
    assert re.search(r"No leftovers in clear text found in \d+ files\.", page)
    assert "Encryption was turned on: 2 passwords encrypted. 2 of 2 can be decrypted." in page
    assert "<code>panel.db</code>" in page
    assert "Out of reach of this scan: old backups and snapshots, replicas" in page


def test_a_find_is_named_with_its_account_and_its_remedy_and_scanned_again_on_demand(
    page_for: Callable[[str], FlaskClient], house: House
) -> None:
    path = left_over(house)
    admin = page_for("admin")
    page = text(admin)
    assert "Leftovers in clear text were found in 1 file." in page
    assert "<code>panel.db.bak</code>" in page
    assert "Holds the password of 0@example.org." in page
    assert "Delete it, or protect it as you protect the passwords" in page
    assert SECRET not in page
    path.unlink()
    assert admin.post(f"{URL}/scan").status_code == 303
    assert "Scanning" in text(admin)
    in_database(lambda: scan.finish_report(house.vault, house.settings))
    assert "No leftovers in clear text found in" in text(admin)


def test_an_agent_sees_that_something_was_found_but_no_name_of_a_file(
    page_for: Callable[[str], FlaskClient], house: House
) -> None:
    left_over(house)
    agent = page_for("agent")
    page = text(agent)
    assert "Administrators see where." in page
    for hidden in ("panel.db", "0@example.org", "Scan again", str(house.data)):
        assert hidden not in page
    assert agent.post(f"{URL}/scan").status_code == 403


def test_after_turning_off_the_page_says_that_passwords_are_in_clear(
    page_for: Callable[[str], FlaskClient], house: House
) -> None:
    in_database(house.disable)
    in_database(lambda: scan.finish_report(house.vault, house.settings))
    admin = page_for("admin")
    assert "in clear text in the database, and in every new backup" in text(admin)
    assert admin.post(f"{URL}/scan").status_code == 409


def test_the_checklist_counts_sorts_and_links_to_the_forms(
    page_for: Callable[[str], FlaskClient], house: House
) -> None:
    in_database(lambda: Encryption.update(enabled_at=db.now() - 100).execute())
    in_database(lambda: Endpoint.update(secret_set_at=db.now()).where(Endpoint.id == 2).execute())
    admin = page_for("admin")
    assert "1 of 2 changed" in text(admin)
    page = re.sub(r"\s+", " ", admin.get(f"{URL}/passwords").text)
    uuids = [
        uuid for (uuid,) in in_database(lambda: house.sql("SELECT account_id FROM endpoint ORDER BY id"))
    ]
    assert f'<a href="/accounts/{uuids[0]}/edit">0@<wbr>example.org</a>' in page
    assert f'<a href="/accounts/{uuids[1]}/edit">1@<wbr>example.org</a>' in page
    assert page.index("0@<wbr>") < page.index("1@<wbr>"), "the longest ago entered first"
    assert "Not changed" in page and "Added" in page


def test_500_mailboxes_are_ten_pages(page_for: Callable[[str], FlaskClient], house: House) -> None:
    def add() -> None:
        with Endpoint.storing():
            for n in range(498):
                account = Account.create(address=f"box{n:03}@example.org", created_at=db.now())
                endpoint = new_endpoint(account)
                endpoint.secret = Secret(SECRET)
                endpoint.save()

    in_database(add)
    admin = page_for("admin")
    assert "0 of 500 changed" in text(admin)
    page = admin.get(f"{URL}/passwords?state=unchanged").text
    assert page.count('<td class="main">') == 50 and "1–50 of 500" in page
    assert '<td class="main">' in admin.get(f"{URL}/passwords?page=10").text


# -- the shell ---------------------------------------------------------------------


def test_the_shell_tells_after_each_sweep_what_was_looked_for(
    cli: Cli, settings: Settings, house: House
) -> None:
    rotated = cli("encryption", "rotate").stdout
    assert re.search(r"No leftovers in clear text found in \d+ files\.", rotated)
    assert "No leftovers in clear text found in" in cli("encryption", "resume").stdout
    off = cli("encryption", "disable", "--yes").stdout
    assert "in clear text in the database, and in every new backup" in off


def test_words_that_are_no_secret_end_turning_on_with_no_find_and_are_counted(
    settings: Settings, cli: Cli
) -> None:
    """Searching for what stands everywhere would cry wolf: `null`, the address itself, a column's name."""
    install.prepare(settings)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    with db.database.connection_context():
        for password in ("null", "1@example.org", "password", "endpoint", SECRET):
            house.add(password)
    assert cli("encryption", "enable", *BOTH).returncode == 0
    done = cli("encryption", "verify", "--scan", "--json")
    found = json.loads(done.stdout)["scan"]
    assert (done.returncode, found["found"], found["looked_for"], found["not_looked_for"]) == (0, [], 1, 4)


def test_verify_scan_looks_into_backups_that_are_named_and_lists_what_is_unchanged(
    cli: Cli, house: House, tmp_path: Path
) -> None:
    backups = tmp_path / "backups"
    (backups / "deep").mkdir(parents=True)
    (backups / "deep" / "old.sql").write_text(SECRET)
    (house.data / "left-over").write_text(SECRET)
    done = cli("encryption", "verify", "--scan", "--also", str(backups), "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 1
    assert result["scan"]["found"] == ["left-over", f"{backups}/deep/old.sql"]
    assert result["scan"]["found_of"][0] == {"file": "left-over", "accounts": ["0@example.org"]}
    assert "collected mail" in result["scan"]["not_visible"]
    assert result["unchanged"] == [
        {"account": "0@example.org", "direction": "in"}, {"account": "1@example.org", "direction": "in"},
    ]  # fmt: skip
    told = cli("encryption", "verify", "--scan", "--also", str(backups))
    assert f"Leftover in clear text: {backups}/deep/old.sql (0@example.org). Delete this copy" in told.stdout
    assert "  1@example.org" in told.stdout
    assert SECRET not in done.stdout + done.stderr + told.stdout + told.stderr
    assert cli("encryption", "verify", "--also", str(backups)).returncode == 2


def test_what_stands_in_the_database_is_removed_once_more_by_resume(cli: Cli, house: House) -> None:
    def kept() -> None:
        house.sql("PRAGMA secure_delete = off")
        house.sql("CREATE TABLE aside AS SELECT ? AS text", SECRET)
        house.sql("DROP TABLE aside")

    in_database(kept)
    assert cli("encryption", "verify", "--scan").returncode == 1
    assert "No leftovers in clear text found in" in cli("encryption", "resume").stdout
    assert house.files_with(SECRET) == []
    assert in_database(lambda: SweepReport.select().count()) == 3
    assert in_database(reports.pending) is None
