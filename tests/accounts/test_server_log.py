"""The server log: who set a server is shown before a password is entered, even after Activity was deleted."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from panel import db
from panel.accounts import server_log, service
from panel.accounts.rules import Mailbox
from panel.accounts.service import Seen
from panel.audit import Actor
from panel.errors import BadInput, PasswordNeeded, Refused
from panel.models import Activity, Endpoint, Person
from panel.models.endpoint import Place
from panel.secret import Secret
from panel.vault import credential
from tests.accounts.conftest import form, stored
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser

UUID = "4c7e9a52-1f0b-4c8e-9d3a-6b1f2a3c4d5e"


def place(host: str, account: str = UUID, direction: str = "in", username: str = "u") -> Place:
    return Place(account, direction, "imap", host, 993, "tls", username, "plain", "", "a@example.org")


def test_who_set_the_server_is_shown_after_he_removed_himself_and_activity(
    admin: Browser, house: House
) -> None:
    admin.post("/accounts/new", **form())
    with db.database.connection_context():
        Activity.delete().execute()
        Person.update(name="x").execute()
        found = service.last_change(house.vault, stored())
    assert found is not None
    assert (found.who, found.server) == (
        "ada@example.org",
        "imap imap.example.org:993 tls as support@example.org",
    )
    page = admin.get(f"/accounts/{stored().account.uuid}").text
    assert "set this server" in page
    assert "ada@example.org set" in page
    assert (house.data / server_log.FILE).stat().st_mode & 0o777 == 0o600


def test_a_new_password_for_the_same_server_adds_no_line(admin: Browser, house: House) -> None:
    admin.post("/accounts/new", **form())
    before = (house.data / server_log.FILE).read_bytes()
    with db.database.connection_context():
        row = stored()
        service.set_password(house.vault, row.account.uuid, Secret("new"), service.Seen(), Actor())
    assert (house.data / server_log.FILE).read_bytes() == before


def test_the_newest_line_of_that_very_mailbox_and_direction_counts(tmp_path: Path) -> None:
    assert server_log.last(tmp_path, UUID, "in") is None
    server_log.append(tmp_path, place("one.example"), "ada@example.org")
    server_log.append(tmp_path, place("two.example"), "bo@example.org")
    server_log.append(tmp_path, place("out.example", direction="out"), "cy@example.org")
    forged = f'x"\n{UUID} in {{"at": 1, "who": "nobody", "server": "s"}}'
    server_log.append(
        tmp_path, place("three.example", account=UUID[::-1], username=forged), "eve\n@example.org"
    )
    found = server_log.last(tmp_path, UUID, "in")
    assert found is not None
    assert (found.who, "two.example" in found.server) == ("bo@example.org", True)
    assert server_log.last(tmp_path, "nobody", "in") is None


@pytest.mark.parametrize("account", [f"{UUID} in {{}}", f"x\n{UUID}", f"{UUID} ", "", UUID.upper()])
def test_an_id_that_sql_put_there_adds_no_line(tmp_path: Path, account: str) -> None:
    with pytest.raises(Refused, match="not assigned by Mailkeep"):
        server_log.append(tmp_path, place("evil.example", account=account), "eve@example.org")
    assert not (tmp_path / server_log.FILE).exists()


def test_the_longest_names_hide_nobody(tmp_path: Path) -> None:
    server_log.append(tmp_path, place("one.example"), "ada@example.org")
    server_log.append(tmp_path, place("evil.example", username="\U0001f411" * 320), "\U0001f411" * 254)
    found = server_log.last(tmp_path, UUID, "in")
    assert found is not None
    assert "evil.example" in found.server


def test_what_was_refused_is_not_noted(admin: Browser, house: House) -> None:
    admin.post("/accounts/new", **form())
    before = (house.data / server_log.FILE).read_bytes()
    row = stored()
    box, moved = Mailbox(row.account.address), replace(row.server, host="new.example.org")
    with db.database.connection_context():
        with pytest.raises(BadInput):
            service.edit(house.vault, row.account.uuid, box, moved, Secret(""), service.Seen(), Actor())
        house.sql("UPDATE account SET address = 'else@example.org'")
        with pytest.raises((BadInput, PasswordNeeded)):
            service.edit(house.vault, row.account.uuid, box, moved, Secret("new"), service.Seen(), Actor())
    assert (house.data / server_log.FILE).read_bytes() == before


def test_an_earlier_record_put_back_is_told_from_the_server_that_was_set_last(
    admin: Browser, house: House, cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Nothing in the record tells: it was sealed here, by a writer of the database who made himself an admin."""
    with db.database.connection_context():
        house.enable()
    admin.post("/accounts/new", **form(host="evil.example.org"))
    row = stored()
    where = replace(row.server, host="imap.example.org")
    with db.database.connection_context():
        kept = house.sql("SELECT host, sealed, rev FROM endpoint")[0]
        service.edit(
            house.vault,
            row.account.uuid,
            Mailbox(row.account.address),
            where,
            Secret("x"),
            Seen.of(row),
            Actor(),
        )
    assert "is not the one that" not in admin.get(f"/accounts/{row.account.uuid}").text
    (tmp_path / "password").write_text("typed")
    arguments = ("support@example.org", "--password-file", str(tmp_path / "password"))
    assert cli("accounts", "set-password", *arguments).returncode == 0
    with db.database.connection_context():
        house.sql("UPDATE endpoint SET host = ?, sealed = ?, rev = ?", *kept)
        assert credential.is_authentic(Endpoint.get(), house.vault)
    page = admin.get(f"/accounts/{row.account.uuid}").text
    assert "is not the one that" in page
    assert "imap imap.example.org:993" in page
    for command in (("set-password", *arguments), ("edit", *arguments, "--port", "993")):
        done = cli("accounts", *command)
        assert (done.returncode, "is not the one that" in done.stderr) == (3, True), done
    done = cli("accounts", "set-password", *arguments, "--expect-host", "evil.example.org")
    assert done.returncode == 0


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 5000, f"{UUID} in [1]\n".encode()])
def test_a_file_that_was_edited_by_hand_breaks_no_page(tmp_path: Path, content: bytes) -> None:
    (tmp_path / server_log.FILE).write_bytes(content)
    assert server_log.last(tmp_path, UUID, "in") is None
