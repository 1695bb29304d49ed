"""Promises of `flask accounts …`."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from panel import create_app, db, identity
from panel.accounts import export
from panel.accounts.auth import Oauth, Outside
from panel.config import Settings
from panel.listing import ListQuery
from panel.models import Collection, Endpoint
from panel.vault.vault import Vault
from tests import installs
from tests.accounts.conftest import stored
from tests.accounts.test_auth import add as add_by
from tests.accounts.test_auth import app as add_app
from tests.encryption.conftest import House
from tests.servers.dovecot import DovecotServer

Cli = Callable[..., subprocess.CompletedProcess[str]]
SERVER = ("--protocol", "imap", "--host", "imap.example.org", "--port", "993", "--security", "tls")


@pytest.fixture
def house(settings: Settings) -> House:
    installs.prepare(settings)
    create_app(settings)
    return House(settings, Vault.of(settings, db.database))


def add(
    cli: Cli, address: str = "support@example.org", password: str = "hunter2", *more: str
) -> subprocess.CompletedProcess[str]:
    options = [*SERVER, "--username", address, "--password-file", "-", *more]
    return cli("accounts", "add", *options, "--", address, stdin=password)


def test_list_json_has_the_agreed_shape(cli: Cli, house: House) -> None:
    assert add(cli).returncode == 0
    (line,) = json.loads(cli("accounts", "list", "--json").stdout)
    uuid = line.pop("uuid")
    assert len(uuid) == 36
    assert line == {
        "address": "support@example.org", "protocol": "imap", "host": "imap.example.org", "port": 993, "security": "tls",
        "username": "support@example.org", "paused": False, "password": "clear", "last_success_at": None, "problem": None, "remedy": None, "next_try_at": None,
        "folder": "INBOX", "interval": 60, "on_server": "keep", "move_to": "", "deliver_to": "",
        "auth": "password", "consent": None, "app": None, "signs_in_as": "",
    }  # fmt: skip
    assert json.loads(cli("accounts", "show", uuid, "--json").stdout)["address"] == "support@example.org"


@pytest.mark.parametrize(
    "typed", [" both ", "Grüße 🗝️", "a\\b'\"%s", "--leading", "x" * 1024, "ends in a newline\n"]
)
def test_a_password_file_is_taken_byte_for_byte_but_one_final_newline(
    cli: Cli, house: House, tmp_path: Path, typed: str
) -> None:
    file = tmp_path / "a password.txt"
    file.write_bytes(typed.encode() + b"\n")
    done = cli("accounts", "add", *SERVER, "--password-file", str(file), "support@example.org")
    assert done.returncode == 0, done.stderr
    with db.database.connection_context():
        assert house.opened(stored()) == typed


def test_no_password_is_taken_from_the_command_line(cli: Cli, house: House) -> None:
    assert cli("accounts", "add", *SERVER, "--password", "hunter2", "support@example.org").returncode == 2
    assert cli("accounts", "add", *SERVER, "support@example.org").returncode == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--protocol", "nntp"), "“nntp” is not a valid protocol. Choose imap or pop3."),
        (("--host", "imaps://x"), "not the name of a server"),
        (("--port", "22"), "PANEL_MAIL_PORTS"),
        (("--security", "none"), "cross the network"),
        (("--begin", "yesterday"), "now, unread or all"),
        (("--folder", "a\nb"), "control character"),
    ],
)
def test_the_same_checks_as_the_form_are_wrong_usage_and_nothing_is_stored(
    cli: Cli, house: House, more: tuple[str, str], message: str
) -> None:
    done = add(cli, "support@example.org", "hunter2", *more)
    assert (done.returncode, message in done.stderr, "Traceback" in done.stderr) == (2, True, False), (
        done.stderr
    )
    assert json.loads(cli("accounts", "list", "--json").stdout) == []


def test_pause_resume_set_password_edit_and_remove(cli: Cli, house: House) -> None:
    add(cli)
    assert cli("accounts", "pause", "support@example.org").returncode == 0
    assert json.loads(cli("accounts", "show", "support@example.org", "--json").stdout)["paused"] is True
    assert cli("accounts", "resume", "support@example.org").returncode == 0
    assert (
        cli(
            "accounts", "set-password", "support@example.org", "--password-file", "-", stdin="second"
        ).returncode
        == 0
    )
    refused = cli("accounts", "edit", "support@example.org", "--host", "other.example.org")
    assert (refused.returncode, "--password-file" in refused.stderr) == (3, True)
    edited = cli(
        "accounts",
        "edit",
        "support@example.org",
        "--host",
        "other.example.org",
        "--password-file",
        "-",
        stdin="third",
    )
    assert edited.returncode == 0, edited.stderr
    with db.database.connection_context():
        assert (house.opened(stored()), stored().host) == ("third", "other.example.org")
    assert cli("accounts", "remove", "support@example.org").returncode == 3
    assert cli("accounts", "remove", "support@example.org", "--yes").returncode == 0
    assert cli("accounts", "show", "support@example.org").returncode == 3


@pytest.mark.parametrize("address", ["--leading@example.org", "ünï@example.org", "a'b\"@example.org"])
def test_strange_addresses_work_everywhere(cli: Cli, house: House, address: str) -> None:
    assert add(cli, address).returncode == 0
    assert cli("accounts", "show", "--", address).returncode == 0
    assert cli("accounts", "pause", "--", address).returncode == 0
    assert cli("accounts", "remove", "--yes", "--", address).returncode == 0


def test_test_logs_in_and_exits_1_where_that_fails(cli: Cli, house: House, dovecot: DovecotServer) -> None:
    dovecot.add_user("shell@example.org", "right")
    where = [
        "--host",
        "localhost",
        "--port",
        str(dovecot.tls_port),
        "--password-file",
        "-",
        "shell@example.org",
    ]
    cli("accounts", "add", *where, stdin="right")
    done = cli("accounts", "test", "shell@example.org")
    assert (done.returncode, done.stdout.count("ok ")) == (0, 5), done.stdout
    cli("accounts", "set-password", "shell@example.org", "--password-file", "-", stdin="MARKER-wrong")
    failed = cli("accounts", "test", "shell@example.org")
    assert (failed.returncode, "FAILED  login" in failed.stdout) == (1, True)
    assert "MARKER" not in failed.stdout + failed.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--interval", "0"), "30 to 86400"),
        (("--folder", ""), "The folder is empty."),
        (("--port", "0"), "Port 0 is not allowed"),
    ],
)
def test_an_empty_or_zero_option_is_a_value_and_not_left_out(
    cli: Cli, house: House, change: tuple[str, str], message: str
) -> None:
    add(cli)
    done = cli("accounts", "edit", "support@example.org", *change)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert stored().account.interval == 60


def test_each_step_says_what_it_did(cli: Cli, house: House) -> None:
    add(cli)
    said = {
        ("pause",): "support@example.org is paused.",
        ("resume",): "support@example.org was resumed.",
        (
            "set-password",
            "--password-file",
            "-",
        ): "The password of support@example.org was changed, for imap imap.example.org:993 tls as support@example.org.",
        ("edit", "--folder", "Tickets"): "support@example.org was changed.",
        (
            "list",
        ): "support@example.org: imap imap.example.org:993 tls as support@example.org; password not encrypted",
    }
    for (command, *more), words in said.items():
        where = [] if command == "list" else ["support@example.org"]
        assert words in cli("accounts", command, *where, *more, stdin="other").stdout, command
    assert "stays in" in cli("accounts", "remove", "support@example.org", "--yes").stdout


def test_the_state_of_each_mailbox_is_ok_only_where_it_is_collected(app: Flask, house: House) -> None:
    def shown() -> str:
        done = app.test_cli_runner().invoke(args=["accounts", "show", "0@example.org"])
        return done.stdout.rstrip().rpartition("; ")[2]

    with db.database.connection_context():
        account = house.add().account
        assert shown() == "not collected yet"
        Collection.insert(account=account, last_success_at=db.now()).execute()
        assert shown() == "OK"
        Collection.update(problem="The server says no.").execute()
        assert shown() == "Failing: The server says no."
        Collection.update(problem=None, last_success_at=db.now() - 1500).execute()
        assert shown() == "Needs attention: overdue. Is script/server running?"
        Collection.update(last_success_at=db.now()).execute()
        house.enable()
        assert shown() == "OK"
        house.key_file.rename(house.data / "away")
        assert shown().startswith("Paused until the encryption key is available")
        done = app.test_cli_runner().invoke(args=["accounts", "resume", "0@example.org"])
        assert "was resumed. Its status: Paused until the encryption key is available" in done.stdout
        (house.data / "away").rename(house.key_file)
        assert shown() == "OK"
        identity.take_over(house.data)
        (house.data / identity.FILE).unlink()
        assert shown() == "Paused until this restored copy is confirmed (.venv/bin/flask backup confirm)"


def test_a_password_is_on_no_stream_whatever_happens(cli: Cli, house: House) -> None:
    runs = [
        add(cli, "support@example.org", "MARKER-1"),
        add(cli, "support@example.org", "MARKER-2"),
        add(cli, "no address", "MARKER-3"),
        cli(
            "accounts",
            "edit",
            "support@example.org",
            "--port",
            "22",
            "--password-file",
            "-",
            stdin="MARKER-4",
        ),
        cli("accounts", "test", "support@example.org"),
        cli("accounts", "show", "support@example.org", "--json"),
    ]
    assert [run.returncode for run in runs] == [0, 3, 2, 2, 1, 0]
    assert all("MARKER" not in run.stdout + run.stderr and "Traceback" not in run.stderr for run in runs)


def test_a_password_file_that_is_no_text_or_holds_nul_is_wrong_usage(
    cli: Cli, house: House, tmp_path: Path
) -> None:
    for content, message in (
        (b"ab\xff", "not UTF-8"),
        (b"\xed\xa0\xbd", "not UTF-8"),
        (b"a\0b", "NUL character"),
    ):
        file = tmp_path / "password"
        file.write_bytes(content)
        done = cli("accounts", "add", *SERVER, "--password-file", str(file), "support@example.org")
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_an_empty_password_is_taken_by_the_shell_no_more_than_by_the_form(cli: Cli, house: House) -> None:
    done = add(cli, "support@example.org", "\n")
    assert (done.returncode, "The password is empty." in done.stderr) == (2, True), done.stderr
    add(cli)
    done = cli("accounts", "set-password", "support@example.org", "--password-file", "-", stdin="")
    assert (done.returncode, "The password is empty." in done.stderr) == (2, True), done.stderr


# -- without a password --------------------------------------------------------------------


@pytest.fixture
def on(house: House) -> House:
    with db.database.connection_context():
        house.enable()
        add_app(house, "corporate")
    return house


def oauth(cli: Cli, *more: str) -> subprocess.CompletedProcess[str]:
    return cli(
        "accounts",
        "add",
        *SERVER,
        "--auth",
        "oauth",
        "--app",
        "corporate",
        *more,
        "--",
        "support@example.org",
    )


def test_a_mailbox_by_oauth_waits_and_says_how_to_connect_it(cli: Cli, on: House) -> None:
    done = oauth(cli, "--sign-in-as", "kim@example.org")
    assert (done.returncode, "flask oauth connect support@example.org" in done.stdout) == (0, True)
    (line,) = json.loads(cli("accounts", "list", "--json").stdout)
    assert [line[name] for name in ("auth", "consent", "app", "signs_in_as", "password")] == [
        "oauth", "needed", "corporate", "kim@example.org", "sealed",
    ]  # fmt: skip
    shown = cli("accounts", "show", "support@example.org").stdout
    assert "OAuth2 through corporate as kim@example.org" in shown
    assert "Needs attention: waits for its consent; connect it (" in shown
    test = cli("accounts", "test", "support@example.org")
    assert test.returncode == 1 and test.stdout.startswith("FAILED  app: ")  # nobody answers there


def test_a_mailbox_changes_its_way_in_the_shell(cli: Cli, on: House) -> None:
    assert add(cli).returncode == 0
    for options, auth, consent in (
        (("--secret-name", "support"), "outside", None),
        (("--auth", "oauth", "--app", "corporate"), "oauth", "needed"),
        (("--auth", "outside", "--secret-name", "support"), "outside", None),
        (("--password-file", "-"), "password", None),
    ):
        done = cli("accounts", "edit", "support@example.org", *options, stdin="another")
        assert done.returncode == 0, done.stderr
        (line,) = json.loads(cli("accounts", "list", "--json").stdout)
        assert (line["auth"], line["consent"]) == (auth, consent)


def test_a_password_in_the_place_of_another_way_is_said_to_end_it(cli: Cli, on: House) -> None:
    assert add(cli).returncode == 0
    for options, ended in (
        (("--app", "corporate"), "no longer by OAuth2"),
        (("--secret-name", "support"), "no longer with a secret kept outside"),
    ):
        assert cli("accounts", "edit", "support@example.org", *options).returncode == 0
        done = cli("accounts", "set-password", "support@example.org", "--password-file", "-", stdin="another")
        assert done.returncode == 0
        assert done.stdout.startswith(
            f"support@example.org signs in with this password now, {ended}, for imap "
        )
    done = cli("accounts", "set-password", "support@example.org", "--password-file", "-", stdin="third")
    assert done.stdout.startswith("The password of support@example.org was changed, for imap ")


@pytest.mark.parametrize(
    ("options", "says"),
    [(("--app", "corporate", "--secret-name", "x"), "More than one way"),
     (("--secret-name", "x", "--sign-in-as", "kim@example.org"), "More than one way"),
     (("--sign-in-as", "kim@example.org"), "--sign-in-as needs --app NAME"),
     (("--auth", "oauth"), "--auth oauth needs --app NAME"), (("--auth", "smoke"), "no way to sign in"),
     (("--app", "unknown"), "There is no app"), (("--secret-name", "../../etc/shadow"), "not the name"),
     (("--app", "--password-file"), "There is no app"), ((), "--password-file")],
)  # fmt: skip
def test_what_names_no_way_or_two_adds_nothing(
    cli: Cli, on: House, options: tuple[str, ...], says: str
) -> None:
    done = cli("accounts", "add", *SERVER, *options, "--", "support@example.org")
    assert done.returncode == (3 if says == "There is no app" else 2) and says in done.stderr
    assert json.loads(cli("accounts", "list", "--json").stdout) == []


def test_a_shell_that_cannot_see_the_directory_says_so(cli: Cli, on: House) -> None:
    done = cli("accounts", "add", *SERVER, "--secret-name", "support", "--", "support@example.org")
    assert done.returncode == 0
    test = cli("accounts", "test", "support@example.org")
    assert test.returncode == 1
    assert (
        "PANEL_SECRETS_DIR is not set" in test.stderr and "this shell cannot read such secrets" in test.stderr
    )


def test_sending_is_set_by_the_same_options(cli: Cli, on: House) -> None:
    assert oauth(cli).returncode == 0
    set_ = ("sending", "set", "support@example.org", "--host", "smtp.example.org")
    assert cli(*set_, "--app", "corporate").returncode == 0
    assert cli(*set_, "--secret-name", "support").returncode == 0
    assert cli(*set_).returncode == 2
    with db.database.connection_context():
        assert [row.kind for row in Endpoint.select().order_by(Endpoint.direction)] == [
            "consent",
            "reference",
        ]


def test_an_export_says_how_each_signs_in(on: House) -> None:
    with db.database.connection_context():
        add_by(on, Oauth("corporate", "kim@example.org"))
        add_by(on, Outside("support"), address="other@example.org")
        rows = list(csv.DictReader("".join(export.as_csv(on.vault, ListQuery())).splitlines()))
    found = {row["address"]: (row["auth"], row["app"], row["sign_in_as"], row["consent"]) for row in rows}
    assert found == {
        "support@example.org": ("oauth", "corporate", "kim@example.org", "needed"),
        "other@example.org": ("outside", "", "", ""),
    }
