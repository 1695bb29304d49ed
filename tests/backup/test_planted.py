"""A backup that somebody wrote into, restored as docs/backup.md tells: his server gets no password that is typed later."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from panel import create_app, db, install
from panel.accounts import service
from panel.audit import Actor
from panel.config import Settings
from panel.errors import PasswordNeeded
from panel.models import Activity, Endpoint
from panel.secret import Secret
from panel.vault import attestation, sweep, turn_off, turn_on, unfinished
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.backup.conftest import House, judge, make
from tests.encryption.conftest import settings_in
from tests.installs import BOTH
from tests.sign_in.browser import Browser, add_person

PLANT = "UPDATE endpoint SET sealed = NULL, clear = 'x', host = 'evil.example.org', username = 'mallory'"
PLANTS = {
    "one row": [PLANT + " WHERE id = 1"],
    "one row, and its revision": [PLANT + ", rev = 1 WHERE id = 1"],
    "one row, as if encryption were being turned on": [
        PLANT + " WHERE id = 1",
        "UPDATE encryption SET active_key_id = NULL, enabled_at = NULL, scrub_owed = x'00'",
        "DELETE FROM activity",
    ],
    "every row": [PLANT],
    "a new account": [
        "INSERT INTO account (uuid, address, folder, begin, interval, paused_at, created_at, on_server, move_to)"
        " SELECT 'u', 'new@example.org', folder, begin, interval, paused_at, created_at, on_server, move_to FROM account WHERE address = '0@example.org'",
        "DELETE FROM endpoint WHERE id = 1",
        "DELETE FROM account WHERE address = '0@example.org'",
        "UPDATE account SET address = '0@example.org' WHERE uuid = 'u'",
        "INSERT INTO endpoint (id, account_id, direction, protocol, host, port, security, username, auth_method,"
        " token_url, address, kind, clear, rev) VALUES (1, 'u', 'in', 'imap', 'evil.example.org', 993, 'tls', 'mallory',"
        " 'plain', '', '0@example.org', 'password', 'x', 1)",
    ],
}


@pytest.fixture
def backup(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with what an administrator keeps of an encrypted install; somebody wrote into the database."""
    settings = settings_in(tmp_path / "original")
    install.prepare(settings)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    kept = tmp_path / "kept"
    kept.mkdir()
    with db.database.connection_context():
        house.add("the honest one")
        house.add("another")
        house.enable()
        made = make(house, tmp_path / "panel.db")
        shutil.move(made.path, kept / "panel.db")
        shutil.copy(house.key_file, kept / "encryption-key.bin")
        with closing(sqlite3.connect(kept / "panel.db")) as thief, thief:
            for statement in PLANTS[request.param]:
                thief.execute(statement)
        assert judge(house, kept / "panel.db").problems
    return kept


@pytest.fixture
def restored(backup: Path, settings: Settings) -> House:
    """The two files in a new data directory, and the first start."""
    settings.data_dir.mkdir(parents=True, mode=0o700)
    for name in ("panel.db", "encryption-key.bin"):
        shutil.copy(backup / name, settings.data_dir / name)
        (settings.data_dir / name).chmod(0o600)
    install.prepare(settings)
    house = House(settings, Vault.of(settings, db.database))
    create_app(settings)
    with db.database.connection_context():
        unfinished.start(house.vault)
    return house


def uuid_of(address: str = "0@example.org") -> str:
    with db.database.connection_context():
        return str(service.find(address)[0].uuid)


def require_empty(admin: Browser) -> None:
    """On the page of the planted account nothing of the server is filled in; it is named as found."""
    page = admin.get(f"/accounts/{uuid_of()}/edit").text
    values = dict(re.findall(r'<input[^>]*name="(host|username|port)"[^>]*value="([^"]*)"', page))
    assert set(values.values()) <= {""}
    assert "which may have been changed" in page
    assert "evil.example.org" in page


@pytest.mark.parametrize("backup", PLANTS, indirect=True)
def test_the_form_is_not_filled_in_and_says_why(restored: House, app: Flask) -> None:
    with db.database.connection_context():
        add_person()
    admin = Browser(app)
    assert admin.sign_in().status_code == 303
    require_empty(admin)
    with db.database.connection_context():
        unfinished.resume(restored.vault)
    require_empty(admin)


@pytest.mark.parametrize("backup", ["one row", "a new account"], indirect=True)
def test_activity_doctor_verify_and_the_shell_say_so_and_take_no_password_for_it(
    restored: House, cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    cli("encryption", "resume")
    assert "unattested password found" in cli("activity", "list").stdout
    with db.database.connection_context():
        named = [a.subject for a in Activity.select().where(Activity.what == "unattested password found")]
        assert "0@example.org" in named
        assert len(named) == len(set(named))
        assert restored.state is State.ON
        assert restored.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL") == [(0,)]
    assert "unattested passwords" in (found := cli("doctor").stdout)
    assert "0@example.org" in found
    assert "0@example.org: in clear text." in cli("encryption", "verify").stdout
    (tmp_path / "password").write_text("THE-NEW-PASSWORD")
    done = cli("accounts", "set-password", "0@example.org", "--password-file", str(tmp_path / "password"))
    assert (done.returncode, "whole server" in done.stderr) == (3, True)
    assert restored.files_with("THE-NEW-PASSWORD") == []


@pytest.mark.parametrize("backup", ["every row"], indirect=True)
def test_with_the_whole_server_entered_it_is_good_again(
    restored: House, cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    cli("encryption", "resume")
    (tmp_path / "password").write_text("THE-NEW-PASSWORD")
    server = ["--protocol", "imap", "--host", "imap.example.org", "--port", "993", "--security", "tls"]
    for address in ("0@example.org", "1@example.org"):
        done = cli(
            "accounts", "edit", address, *server, "--username", "me",
            "--password-file", str(tmp_path / "password"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "unattested passwords" not in cli("doctor").stdout
    assert (
        cli(
            "accounts", "set-password", "0@example.org", "--password-file", str(tmp_path / "password")
        ).returncode
        == 0
    )


@pytest.mark.parametrize("left", ["of turning on", "of a turning off"])
def test_a_data_directory_restored_with_the_licence_of_its_time_gains_nothing(
    house: House, left: str
) -> None:
    endpoint = house.add("the honest one")
    if left == "of turning on":
        turn_on.turn_on(house.vault, BOTH, Actor())
    else:
        house.enable()
        turn_off.turn_off(house.vault, Actor(), in_shell=True)
        sweep.run(house.vault)
        turn_off.cancel(house.vault, Actor())
    assert attestation.is_there(house.keystore)
    house.sql(PLANT)
    with pytest.raises(PasswordNeeded, match="may have been changed"):
        service.set_password(
            house.vault, str(endpoint.account_id), Secret("THE-NEW-PASSWORD"), service.Seen(), Actor()
        )
    unfinished.resume(house.vault)
    with pytest.raises(PasswordNeeded, match="may have been changed"):
        service.set_password(
            house.vault, str(endpoint.account_id), Secret("THE-NEW-PASSWORD"), service.Seen(), Actor()
        )
    assert Activity.select().where(Activity.what == "unattested password found").count() == 1
    assert house.opened(Endpoint.get_by_id(endpoint.id)) == "x"
