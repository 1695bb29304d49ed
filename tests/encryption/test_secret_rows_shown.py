"""What people are shown of secrets that are no passwords: page, shell, search for leftovers, backups."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from panel import create_app, db
from panel.audit import Actor
from panel.backup import check, create
from panel.config import Settings
from panel.encryption.leftovers import changed, scan
from panel.errors import CannotStore, PanelError
from panel.models import Pending
from panel.people import service as people
from panel.secret import Secret
from panel.vault import verification
from panel.vault.state import State
from panel.vault.vault import Vault
from tests import installs
from tests.encryption.conftest import House
from tests.encryption.kinds import KINDS, OTHERS, add, add_all

Cli = Callable[..., subprocess.CompletedProcess[str]]
ACTOR = Actor("admin@example.org")
PASSWORD = "correct horse battery staple"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def house(settings: Settings) -> House:
    """An encrypted install with one secret of each kind."""
    installs.prepare(settings)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    with db.database.connection_context():
        house.enable()
        add_all()
    return house


@pytest.fixture
def page(app: Flask, house: House) -> Callable[..., str]:
    """A page as somebody of a role sees it."""
    app.config["WTF_CSRF_ENABLED"] = False
    clients: dict[str, FlaskClient] = {}

    def get(path: str = "/server/encryption", role: str = "admin", **headers: str) -> str:
        if role not in clients:
            with db.database.connection_context():
                people.add(f"{role}@example.org", role.title(), role, Secret(PASSWORD))
            clients[role] = app.test_client()
            clients[role].post("/login", data={"email": f"{role}@example.org", "password": PASSWORD})
        return clients[role].get(path, headers=headers).get_data(as_text=True)

    return get


# -- the page ------------------------------------------------------------------------------


def test_the_page_counts_passwords_and_sign_in_tokens(page: Callable[..., str]) -> None:
    for role in ("admin", "agent"):
        text = page(role=role)
        assert "All 1 mailbox password and 1 sign-in token are encrypted." in text


def test_an_install_without_any_password_says_so(page: Callable[..., str], house: House) -> None:
    with db.database.connection_context():
        house.sql("DELETE FROM endpoint WHERE kind = 'password'")
    assert "No mailbox password is stored here. 1 sign-in token is encrypted." in page()


def test_a_consent_and_an_app_that_do_not_open_are_named_with_what_to_do(
    page: Callable[..., str], house: House
) -> None:
    with db.database.connection_context():
        house.sql("UPDATE consent SET signs_in_as = 'mallory'")
        house.sql("UPDATE oauth_app SET issuer = 'https://evil.example.org/'")
        verification.run(house.vault)
        assert house.vault.latest().state is State.INCONSISTENT
    for role in ("admin", "agent"):
        text = page(role=role)
        assert "2 of 7 secrets cannot be decrypted" in text
        assert "Consent of " in text and "token-one@example.org" in text and "app App one" in text
    assert "Connect a mailbox again whose consent is named" in page()


def test_turning_off_names_with_links_what_must_go_first(page: Callable[..., str], house: House) -> None:
    for headers in ({}, HTMX):
        text = page("/server/encryption/off", **headers)
        assert "so remove them first" in text
        assert "App one</a>" in text and "/server/oauth" in text
        assert "kind-consent-one@example.org</a>" in text and "/accounts/" in text
        assert "Turn off encryption</button>" not in text
    with db.database.connection_context():
        for model in {type(add(name, "x").row) for name in OTHERS}:
            house.sql(f"DELETE FROM {model._meta.table_name} WHERE kind <> 'password'")
    assert "Turn off encryption</button>" in page("/server/encryption/off")


def test_changing_the_key_says_how_much_it_moves(page: Callable[..., str]) -> None:
    assert "All 7 secrets are encrypted again" in page("/server/encryption/rotate")


def test_names_that_sql_put_there_are_escaped(page: Callable[..., str], house: House) -> None:
    with db.database.connection_context():
        house.sql("UPDATE oauth_app SET name = '<script>' || hex(zeroblob(5000))")
        verification.run(house.vault)
    for path in ("/server/encryption", "/server/encryption/off"):
        text = page(path)
        assert "<script>0" not in text and "&lt;script&gt;" in text and "0" * 200 not in text


# -- the shell -----------------------------------------------------------------------------


def test_status_and_verify_count_and_name_them(cli: Cli, house: House) -> None:
    found = json.loads(cli("encryption", "status", "--json").stdout)
    assert found["passwords"] == {"total": 1, "sealed": 1, "clear": 0, "unreadable": 0}
    assert found["others"] == {"sealed": 6, "tokens": 1, "unreadable": 0}
    assert "1 password and 1 sign-in token encrypted." in cli("encryption", "status").stdout
    assert "7 secrets can be decrypted, 0 errors." in cli("encryption", "verify").stdout
    with db.database.connection_context():
        house.sql("UPDATE consent SET app = 'other'")
        house.sql("UPDATE oauth_app SET tenant = 'other'")
        house.sql("UPDATE endpoint SET host = 'evil.example.org' WHERE kind = 'password'")
    done = cli("encryption", "verify", "--json")
    failed = [(each["what"], each["account"]) for each in json.loads(done.stdout)["failed"]]
    assert done.returncode == 1
    assert failed == [
        ("mailbox", "kind-password-one@example.org"), ("app", "app App one"),
        ("consent", "kind-token-one@example.org"),
    ]  # fmt: skip
    found = json.loads(cli("encryption", "status", "--json").stdout)
    assert (found["state"], found["passwords"]["unreadable"], found["others"]["unreadable"]) == (
        "inconsistent",
        1,
        2,
    )
    doctor = {each["check"]: each["message"] for each in json.loads(cli("doctor", "--json").stdout)}
    assert "app App one" in doctor["passwords"] and "Some secrets cannot be decrypted" in doctor["passwords"]


def test_the_shell_refuses_to_turn_off_and_says_what_to_do_first(cli: Cli, house: House) -> None:
    done = cli("encryption", "disable", "--yes")
    assert done.returncode == 3
    assert "Encryption stays on" in done.stderr and "app App one" in done.stderr
    assert "give each of these mailboxes a password" in done.stderr


def test_a_lost_key_is_given_up_with_a_line_for_each_to_enter_again(cli: Cli, house: House) -> None:
    kept = house.key_file.read_bytes()
    house.key_file.unlink()
    done = cli("encryption", "forget-lost-key", "--confirm", "forget 7 secrets")
    assert done.returncode == 0, done.stderr
    assert "oauth set-secret 'App one'" in done.stdout
    assert "oauth connect kind-token-one@example.org" in done.stdout
    assert "accounts edit kind-password-one@example.org" in done.stdout
    assert "sending submission-password kind-submission-one@example.org" in done.stdout
    assert done.stdout.index("set-secret") < done.stdout.index("accounts edit"), "mailboxes need their apps"
    assert cli("encryption", "enable", "--understand-key-loss", "--backup-prepared").returncode == 0
    (house.data.parent / "copy").write_bytes(kept)
    done = cli("encryption", "key", "add", str(house.data.parent / "copy"), "--restore")
    assert "app App one" in done.stdout and "kind-token-one@example.org" in done.stdout
    assert (
        json.loads(cli("encryption", "status", "--json").stdout)["others"]["sealed"] == 5
    )  # the flow is gone


# -- leftovers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [(name, name in ("a password", "an app", "a consent", "a submission password")) for name in KINDS],
)
def test_the_search_for_leftovers_looks_for_secrets_and_not_for_ids(
    house: House, name: str, found: bool
) -> None:
    with db.database.connection_context():
        stored = add(name, "to be found")
        (house.data / "left.txt").write_text(f"a line\n{stored.secret}\n")
        _, seen = scan.look(house.vault, house.settings)
        assert [each.name for each in seen.found] == (["left.txt"] if found else [])
        assert seen.looked_for == 4 + found


def test_a_public_app_and_a_mailbox_that_waits_are_not_searched_for(house: House) -> None:
    with db.database.connection_context():
        add("an app", "public", secret="")
        add("a consent", "waits", secret="")
        _, seen = scan.look(house.vault, house.settings)
    assert (seen.looked_for, seen.not_looked_for) == (4, 0)


def test_only_passwords_are_on_the_list_of_what_old_backups_still_hold(house: House) -> None:
    with db.database.connection_context():
        at = house.vault.latest().times.enabled_at
        assert [each.address for each in changed.since(at).unchanged] == ["kind-password-one@example.org"]
        assert changed.counts(at) == (1, 0)


# -- backups -------------------------------------------------------------------------------


def backup(house: House, dest: Path) -> create.Backup:
    return create.create(house.settings, dest, ACTOR)


def test_a_backup_counts_all_and_leaves_flows_out(house: House, tmp_path: Path) -> None:
    with db.database.connection_context():
        made = backup(house, tmp_path / "a.db")
        assert (made.sealed, made.others, made.clear) == (1, 5, 0)
        assert Pending.select().count() == 1  # here it goes on
        report = check.check(house.settings, house.vault, tmp_path / "a.db")
    [found] = report.databases
    assert (found.sealed, found.others, found.opened, report.problems) == (6, 5, 6, [])


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "a flow"])
def test_a_backup_with_an_edited_row_of_any_table_is_a_problem(
    house: House, tmp_path: Path, name: str
) -> None:
    with db.database.connection_context():
        stored = add(name, "two")
        backup(house, tmp_path / "a.db")
        with closing(sqlite3.connect(tmp_path / "a.db")) as thief, thief:
            thief.execute(f"UPDATE {stored.table} SET kind = 'other' WHERE id = ?", (stored.id,))
        [problem] = check.check(house.settings, house.vault, tmp_path / "a.db").problems
    assert "1 of 7 encrypted secrets cannot be decrypted" in problem


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "a flow"])
def test_a_backup_with_a_planted_value_is_a_problem(house: House, tmp_path: Path, name: str) -> None:
    with db.database.connection_context():
        stored = add(name, "two")
        backup(house, tmp_path / "a.db")
        with closing(sqlite3.connect(tmp_path / "a.db")) as thief, thief:
            thief.execute("PRAGMA ignore_check_constraints = ON")
            thief.execute(f"UPDATE {stored.table} SET sealed = NULL, clear = 'x' WHERE id = ?", (stored.id,))
        problems = " ".join(check.check(house.settings, house.vault, tmp_path / "a.db").problems)
    assert "clear text where only encrypted ones may be (1)" in problems


def test_a_token_left_over_in_the_pages_of_a_backup_is_found(house: House, tmp_path: Path) -> None:
    with db.database.connection_context():
        stored = add("a consent", "left over")
        backup(house, tmp_path / "a.db")
        with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as thief:
            thief.execute("PRAGMA secure_delete = off")
            thief.execute("UPDATE consent SET ended_code = ?", (stored.secret,))
            thief.execute("UPDATE consent SET ended_code = NULL")
        problems = " ".join(check.check(house.settings, house.vault, tmp_path / "a.db").problems)
    assert "1 secret in clear text in pages that are no longer used" in problems


# -- what an error calls them ----------------------------------------------------------------

CALLED = {
    "a password": "password", "a mailbox by consent": "consent", "a mailbox by reference": "name of a secret",
    "an app": "client secret", "a consent": "refresh token", "a flow": "sign-in",
    "a submission password": "submission password",
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_an_error_calls_each_secret_by_its_name(house: House, name: str) -> None:
    with db.database.connection_context():
        stored = add(name, "two")
        sealed, errors = stored.columns(house)[1], []
        for edited in (sealed[:2] + bytes(8) + sealed[10:], sealed[:-1] + bytes([sealed[-1] ^ 1]), None):
            house.sql(f"UPDATE {stored.table} SET sealed = ? WHERE id = ?", edited, stored.id)
            with pytest.raises(PanelError) as refused:
                stored.opened(house)
            errors.append(refused.value)
        assert errors[0].remedy.startswith("Put the key file with that key back, or ")
        house.key_file.rename(house.key_file.with_name("away"))
        with pytest.raises(CannotStore) as refused:
            add(name, "three")
        errors.append(refused.value)
    for error in errors:
        assert CALLED[name] in error.message, error.message
        assert "password" in CALLED[name] or "password" not in str(error), str(error)
