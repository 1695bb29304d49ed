"""Promises of `flask accounts import -`: good lines are added, bad ones named, and no account is half there."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from panel import create_app, db
from panel.accounts import cli, export, importing, overview, service
from panel.accounts.importing import LONGEST_LINE
from panel.audit import Actor
from panel.config import Settings
from panel.errors import BadInput, SettingsError
from panel.listing import ListQuery
from panel.models import Account, Activity, Endpoint
from panel.vault import credential
from tests import installs
from tests.accounts.conftest import secret_of
from tests.encryption.conftest import House
from tests.running import Environ

Cli = Callable[..., subprocess.CompletedProcess[str]]

ONE = {"address": "a@example.org", "host": "imap.example.org", "password": "  p ä🗝️\t"}
TWO = {
    "address": "b@example.org", "protocol": "pop3", "host": "POP.example.org", "security": "starttls",
    "username": "bee", "password": "-- \"q\" \\", "begin": "all", "interval": 300, "on_server": "delete",
    "sending": {"host": "smtp.example.org", "security": "starttls"},
}  # fmt: skip
THREE = {**ONE, "address": "c@example.org", "sending": {"host": "smtp.example.org", "password": "other"}}


def lines(*accounts: object) -> str:
    return "".join(json.dumps(account) + "\n" for account in accounts)


@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_all_lines_become_accounts_with_their_passwords_exactly(
    app: Flask, cli: Cli, house: House, on: bool
) -> None:
    if on:
        with db.database.connection_context():
            house.enable()
    done = cli("accounts", "import", "-", stdin=lines(ONE, TWO) + "\n" + lines(THREE))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("3 mailboxes were added.\n")
    with db.database.connection_context():
        rows = Endpoint.select().order_by(Endpoint.id)
        got = [
            (e.direction, e.host, e.port, credential.open_for(e, house.vault).secret.reveal()) for e in rows
        ]
        assert all((row.sealed is not None) is on for row in rows)
        second = Account.get(Account.address == "b@example.org")
    assert got == [
        ("in", "imap.example.org", 993, ONE["password"]),
        ("in", "pop.example.org", 110, TWO["password"]),
        ("out", "smtp.example.org", 587, TWO["password"]),
        ("in", "imap.example.org", 993, ONE["password"]),
        ("out", "smtp.example.org", 465, "other"),
    ]
    assert (second.begin, second.interval, second.on_server) == ("all", 300, "delete")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "Line 2: It is not valid JSON."),
        ("[1]", "Line 2: It is not a JSON object."),
        (json.dumps({**ONE, "adress": "x"}), "“adress” is an unknown name. Did you mean “address”?"),
        (json.dumps({**ONE, "port": "993"}), "“port” is not a whole number."),
        (json.dumps({**ONE, "port": True}), "“port” is not a whole number."),
        (json.dumps({**ONE, "password": None}), "“password” is not a string."),
        (json.dumps({"address": "x@example.org", "host": "h"}), "“password” is missing."),
        (json.dumps({**ONE, "address": "x@example.org", "password": ""}), "The password is empty."),
        (json.dumps({**ONE, "address": "x@example.org", "password": "a\0b"}), "NUL"),
        (json.dumps({**ONE, "address": "nobody"}), "is not an email address."),
        (json.dumps({**ONE, "address": "x@example.org", "port": 22}), "Port 22 is not allowed"),
        (json.dumps({**ONE, "address": "A@Example.org"}), "has been added already"),
        (json.dumps({**TWO, "begin": "unread"}), "POP3 cannot tell which mail is unread."),
        (json.dumps({**TWO, "sending": {"port": 465}}), "“host” is missing."),
        (json.dumps({**TWO, "sending": {"host": "h", "protocol": "smtp"}}), "“protocol” is an unknown name."),
        (json.dumps({**ONE, "address": "x@example.org", "host": "a b"}), "cannot be the name of a server"),
    ],
)
def test_one_bad_line_is_named_and_loses_no_other(app: Flask, cli: Cli, bad: str, message: str) -> None:
    done = cli("accounts", "import", "-", stdin=lines(ONE) + bad + "\n" + lines(THREE))
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert done.stderr.startswith("Line 2: ") and done.stdout == "2 mailboxes were added.\n"
    assert str(ONE["password"]) not in done.stderr and "Traceback" not in done.stderr
    with db.database.connection_context():
        assert {account.address for account in Account.select()} == {"a@example.org", "c@example.org"}


def test_a_target_is_imported_listed_and_exported_and_an_unknown_one_is_refused(
    environ: Environ, tmp_path: Path
) -> None:
    file = tmp_path / "targets.toml"
    file.write_text('desk = { type = "command", command = ["/bin/true"] }')
    file.chmod(0o600)
    settings = Settings.load(environ | {"PANEL_TARGETS_FILE": str(file)})
    installs.prepare(settings)
    house = House(settings, create_app(settings).extensions["mailkeep"].vault)
    with db.database.connection_context():
        text = "address,host,password,deliver_to\na@x.org,h,p,desk\nb@x.org,h,p,\nc@x.org,h,p,rt\n"
        found = importing.read(io.BytesIO(text.encode()), settings)
        ((line, why),) = [(bad.line, str(bad.why)) for bad in found.bad]
        assert line == 4 and why.startswith(
            "There is no target “rt” in the targets file. Choose one of these:"
        )
        assert "maildir, desk" in why and "PANEL_TARGETS_FILE" in why
        list(importing.store(house.vault, found.wanted, Actor()))
        listed = [cli.as_json(each)["deliver_to"] for each in overview.lines(house.vault)]
        assert listed == ["desk", ""]
        rows = list(csv.DictReader("".join(export.as_csv(house.vault, ListQuery())).splitlines()))
        assert [row["deliver_to"] for row in rows] == ["desk", ""]
        assert Activity.get(Activity.subject == "a@x.org").detail == "Goes out to desk."
    file.write_text("desk = 1")
    with pytest.raises(SettingsError, match="cannot be used"):
        importing.read(io.BytesIO(text.encode()), settings)


def test_only_bad_lines_add_nothing(cli: Cli, app: Flask) -> None:
    done = cli("accounts", "import", "-", stdin="{\n" * 30)
    assert done.returncode == 3 and done.stdout == "No mailbox was added.\n"
    assert done.stderr.splitlines()[0] == "Line 1: It is not valid JSON. Write one JSON object per line."
    assert len(done.stderr.splitlines()) == 21 and done.stderr.endswith("And 10 more lines.\n")


def many(count: int) -> list[dict[str, str]]:
    return [{**ONE, "address": f"{number}@example.org"} for number in range(count)]


def stored(house: House, text: str) -> list[importing.BatchResult]:
    wanted = importing.read(io.BytesIO(text.encode()), house.settings).wanted
    return list(importing.store(house.vault, wanted, Actor("ada@example.org")))


def test_one_line_in_a_batch_that_is_there_already_loses_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 10)
    found = stored(house, lines(*many(15), {**ONE, "address": "3@Example.org"}, *many(17)[15:]))
    assert [batch.added for batch in found] == [10, 7]
    [refused] = found[1].bad
    assert refused.line == 16 and "3@Example.org has been added already" in str(refused.why)
    assert Account.select().count() == Endpoint.select().count() == 17


def test_a_batch_that_fails_leaves_nothing_half_imported_and_keeps_those_before(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 10)
    insert = service.insert_endpoint

    def fail_at_the_fifteenth(*arguments: Any) -> None:
        if Endpoint.select().count() == 14:
            raise OSError("no room")
        insert(*arguments)

    monkeypatch.setattr(service, "insert_endpoint", fail_at_the_fifteenth)
    with pytest.raises(OSError):
        stored(house, lines(*many(25)))
    assert Account.select().count() == Endpoint.select().count() == 10


def test_each_batch_is_one_transaction(house: House) -> None:
    house.enable()
    seen: list[str] = []
    db.database.connection().set_trace_callback(seen.append)
    stored(house, lines(*many(501)))
    assert sum(sql.startswith("BEGIN") for sql in seen) == 2


def test_a_line_that_is_no_utf8_is_named(
    app: Flask, cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("import") / "a list.jsonl"
    path.write_bytes(b'{"address": "\xff"}\n')
    done = cli("accounts", "import", str(path))
    assert done.returncode == 3 and "Line 1: The file is not UTF-8." in done.stderr
    path.write_bytes(lines(ONE).encode("utf-16"))
    done = cli("accounts", "import", str(path))
    assert done.returncode == 3 and "Line 1: The file is in UTF-16." in done.stderr


def test_byte_order_marks_and_crlf_mean_nothing_and_the_password_stays(
    app: Flask, house: House, tmp_path: Path
) -> None:
    bom = b"\xef\xbb\xbf"
    text = json.dumps(ONE, ensure_ascii=False).encode()
    source = io.BytesIO(bom + text + b"\r\n" + bom + b"\r\n" + bom + lines(TWO).encode() + b"\r\n")
    wanted = importing.read(source, house.settings).wanted
    assert [secret_of(one) for one in wanted] == [ONE["password"], TWO["password"]]


@pytest.mark.parametrize("bad", ["[" * 100_000, "1" * 5000, '{"port":' * 20_000, "x" * (LONGEST_LINE + 1)])
def test_a_line_made_to_break_the_reader_is_named(house: House, bad: str) -> None:
    if len(bad) > LONGEST_LINE:
        with pytest.raises(BadInput, match=r"Line 1: It is longer than"):
            importing.read(io.BytesIO(bad.encode()), house.settings)
    else:
        [refused] = importing.read(io.BytesIO(bad.encode()), house.settings).bad
        assert (refused.line, refused.why.message) == (1, "It is not valid JSON.")


def test_a_line_without_an_end_is_not_read_to_its_end(house: House) -> None:
    with Path("/dev/zero").open("rb") as endless, pytest.raises(BadInput, match="Line 1: It is longer"):
        importing.read(endless, house.settings)


def test_nothing_at_all_adds_nothing(app: Flask, cli: Cli) -> None:
    done = cli("accounts", "import", "-", stdin="\n\n")
    assert (done.returncode, done.stdout) == (0, "No mailbox was added.\n")
