"""What commands print: no name steers the terminal, and whoever stops reading breaks nothing."""

from __future__ import annotations

import ast
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from panel import audit, db, printing, shell
from panel.config import ROOT
from panel.errors import BadInput, Refused
from panel.models import Account, Collection, Person
from panel.printing import print_json, print_lines, progress, say
from panel.secret import Secret
from panel.shell import exit_on_error
from tests import running
from tests.encryption.conftest import new_endpoint
from tests.running import Environ

ESC = "\x1b]0;owned\x07\x1b[31m"
HIDDEN = [
    "\x00", "\a", "\b", "\t", "\n", "\v", "\r", "\x1b[2J", "\x1b]52;c;aGk=\x07", "\x7f", "\x85", "\x90q", "\x9b31m",
    "\u061c", "\u200e", "\u200f", "\u2028", "\u2029", "\u202a", "\u202e", "\u2066", "\u2069", "\ufeff", "\ud800", "\udc9b",
]  # fmt: skip


# -- names that steer ----------------------------------------------------------------------


@pytest.mark.parametrize("hidden", HIDDEN, ids=ascii)
def test_nothing_that_is_printed_steers_a_terminal(capsys: pytest.CaptureFixture[str], hidden: str) -> None:
    say(f"a{hidden}b")
    print_lines([f"a{hidden}b"])
    say(f"a{hidden}b", err=True)
    say(f"a{hidden}b", alarm=True)
    print_json({"name": f"a{hidden}b"})
    with pytest.raises(SystemExit), exit_on_error():
        raise BadInput(f"a{hidden}b", f"c{hidden}d")
    with progress(f"a{hidden}b") as show:
        show(1, 1)
    out, err = capsys.readouterr()
    (out + err).encode("utf-8")
    assert not {*(out + err).replace("\n", "")} & {*hidden[0]}
    assert (out.count("\n"), err.count("\n")) == (6, 3)
    assert json.loads(out[out.index("{") :]) == {"name": f"a{hidden}b"}


@pytest.mark.parametrize("text", ["Grüße 🔑", "شبكة", "👩\u200d🔧 \u200b", "a\\x1bb", "“…” – 3"])
def test_what_people_read_is_printed_as_it_is(capsys: pytest.CaptureFixture[str], text: str) -> None:
    say(text)
    assert capsys.readouterr().out == f"{text}\n"


def person(email: str, name: str) -> None:
    Person.create(email=email, name=name, role="agent", login_hash="x", created_at=db.now())


def forged(app: Flask) -> str:
    """An install in whose every name there is an escape, as SQL can put it; the uuid of its account."""
    with db.database.connection_context():
        account = Account.create(address=f"a{ESC}@example.org", folder=f"I{ESC}", created_at=db.now())
        endpoint = new_endpoint(account, host=f"h{ESC}", username=f"u{ESC}")
        endpoint.secret = Secret("hunter2hunter2")
        endpoint.save()
        Collection.create(account=account, problem=f"said: {ESC}", remedy=f"do {ESC}", failing_since=1)
        person(f"p{ESC}@example.org", f"N{ESC}")
        audit.record(f"what{ESC}", f"s{ESC}", f"d{ESC}", who=f"w{ESC}", address=f"1{ESC}")
        return str(account.uuid)


@pytest.mark.parametrize(
    "command",
    [
        "accounts list", "accounts list --json", "accounts show {}", "accounts pause {}", "accounts test {}",
        "accounts remove {} --yes", "accounts show no\x1b[31m", "activity list", "activity list --json",
        "people list", "people list --json", "people disable no\x1b[31m", "doctor", "doctor --json", "alerts list",
        "encryption status", "encryption verify", "collect --account no\x1b[31m", "sending test {}",
        "backup check no\x1b[31m", "no\x1b[31m", "accounts no\x1b[31m", "accounts list --no\x1b[31m",
        "accounts list no\x1b[31m", "alerts set --to no\x1b[31m", "people add --role \x9b31m",
    ],
)  # fmt: skip
def test_no_command_lets_a_name_steer_the_terminal(app: Flask, command: str) -> None:
    uuid = forged(app)
    done = app.test_cli_runner().invoke(args=[word.format(uuid) for word in command.split(" ")])
    assert done.output
    assert not any(c in done.output for c in "\x1b\x07\x9b"), done.output


def test_backup_check_prints_the_names_of_files_and_members_escaped(app: Flask, tmp_path: Path) -> None:
    place = tmp_path / "a backup"
    place.mkdir()
    (place / f"x{ESC.replace('/', '')}.db").write_bytes(b"SQLite format 3\0" + bytes(100))
    (place / "\udcff\x1b.bin").write_bytes(b"no key")
    subprocess.run(["tar", "-C", place, "-cf", place / "t\x1b.tar", "."], capture_output=True, check=False)
    done = app.test_cli_runner().invoke(args=["backup", "check", str(place)])
    assert done.output and "\x1b" not in done.output and "Traceback" not in done.output


def test_a_settings_error_shows_no_escape(environ: Environ) -> None:
    for extra in ({"PANEL_URL": ESC}, {f"PANEL_{ESC}": "1"}, {"PANEL_TIMEZONE": "\u202e"}):
        done = flask({**environ, **extra}, "people list")
        assert done.returncode == 3 and done.stderr
        assert not any(c in done.stderr for c in "\x1b\x07\u202e")


PRINTS = {"echo", "secho", "style", "prompt", "confirm", "progressbar", "echo_via_pager", "stdout", "stderr"}
OWN = {"panel/printing.py", "panel/shell.py", "panel/deliver/__main__.py"}  # the functions themselves
BETWEEN_PROCESSES = {"panel/encryption/leftovers/search.py", "panel/backup/contents.py"}  # JSON in ASCII
STREAMS = {
    "panel/logs.py",  # the log's own formatters escape
    "panel/accounts/connect_cli.py",  # reads from the one, flushes the other
}


def test_nothing_but_the_shells_own_functions_prints() -> None:
    found = set()
    for path in (*ROOT.glob("panel/**/*.py"), ROOT / "app.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = isinstance(node, ast.Name) and node.id == "print"
            of = node.value if isinstance(node, ast.Attribute) and node.attr in PRINTS else None
            if called or (isinstance(of, ast.Name) and of.id in ("click", "sys")):
                found.add(str(path.relative_to(ROOT)))
    assert found - OWN - BETWEEN_PROCESSES - STREAMS == set()


# -- output that nobody takes ----------------------------------------------------------------


def flask(environ: Environ, command: str) -> subprocess.CompletedProcess[str]:
    """`flask COMMAND` in bash, with its pipes and redirections; PIPESTATUS is its exit status."""
    line = f"{shlex.quote(sys.executable)} -m flask {command}"
    return subprocess.run(
        ["bash", "-c", f'{line}; exit "${{PIPESTATUS[0]}}"'], cwd=ROOT, capture_output=True, text=True, errors="replace",
        env=running.process_environ(environ) | {"PYTHONUNBUFFERED": ""}, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        "activity list --count 3000 | head -n 1 >/dev/null", "activity list --count 3000 --json | head -c 1 >/dev/null",
        "people list | true", "accounts --help | true",
    ],
)  # fmt: skip
def test_a_reader_that_leaves_is_no_error(app: Flask, environ: Environ, command: str) -> None:
    with db.database.connection_context():
        for number in range(1000):
            audit.record("probe", "x" * 100, str(number))
    done = flask(environ, command)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["activity list", "people list --json", "accounts --help"])
@pytest.mark.parametrize(("to", "why"), [(">/dev/full", "no space left"), (">&-", "closed")])
def test_output_that_is_lost_is_told_and_makes_the_exit_status_1(
    app: Flask, environ: Environ, command: str, to: str, why: str
) -> None:
    done = flask(environ, f"{command} {to}")
    if "--help" in command and to == ">&-":
        return  # click itself prints nothing then
    assert done.returncode == 1
    assert why in done.stderr and len(done.stderr.splitlines()) == 1


def test_what_is_changed_is_changed_whoever_reads(app: Flask, environ: Environ) -> None:
    for number, to in enumerate((">/dev/full", ">&- 2>&-", "2>/dev/full", "2>&1 | true", "<&- 2>&-")):
        one = json.dumps({"address": f"a{number}@example.org", "host": "h", "password": "p"})
        done = flask(environ, f"accounts import <(echo '{one}') {to}")
        assert "Traceback" not in done.stderr
    with db.database.connection_context():
        assert Account.select().count() == 5
    done = flask(environ, "encryption enable --understand-key-loss --backup-prepared 2>&1 | true")
    assert done.returncode == 0
    assert json.loads(flask(environ, "encryption status --json").stdout)["state"] == "on"


def test_what_asks_for_a_confirmation_is_refused_where_the_input_is_closed(
    app: Flask, environ: Environ
) -> None:
    forged(app)
    with db.database.connection_context():
        Account.update(address="a@example.org").execute()
    for command in ("accounts remove a@example.org <&-", "encryption disable <&-", "accounts import - <&-"):
        done = flask(environ, command)
        assert "Traceback" not in done.stderr
    with db.database.connection_context():
        assert Account.select().count() == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_knows_few_characters_gets_the_others_escaped(
    app: Flask, environ: Environ, encoding: str
) -> None:
    with db.database.connection_context():
        person("p@example.org", "Müller 🔑")
    done = flask({**environ, "PYTHONIOENCODING": encoding}, "people list")
    assert done.returncode == 0 and "\\U0001f511" in done.stdout


def test_a_question_that_nobody_saw_is_not_confirmed(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printing, "_lost", [OSError(28, os.strerror(28))])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for asked in (lambda: shell.ask("Really?", yes=False), lambda: shell.ask_typed(["So."], "go on", None)):
        with pytest.raises(Refused, match="could not be shown"):
            asked()
