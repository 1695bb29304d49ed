"""What every command shares: exit status, refusals, passwords from files, progress."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result
from flask import Flask

from panel import create_app, db
from panel.config import ROOT, Settings
from panel.errors import BadInput, CannotOpen
from panel.models import Account
from panel.printing import print_json, progress, say
from panel.secret import Secret
from panel.shell import PanelCommand, PanelGroup, ask, password_option
from panel.text_file import LONGEST_SECRET
from tests import running

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

group = PanelGroup("probe")


@group.command()
@click.argument("error")
def fail(error: str) -> None:
    """Raise what is named."""
    raise {
        "refused": BadInput("That is no address.", "Type another."),
        "problem": CannotOpen("It does not open.", "Look."),
        "unknown": ValueError("marker-of-a-password"),
        "abort": click.Abort(),
    }[error]


@group.command()
def count() -> None:
    """Use the database."""
    print_json({"accounts": Account.select().count()})


@group.command()
@password_option()
def take(password: Secret) -> None:
    """Show what was read."""
    say(repr(password.reveal()))


@group.command()
@click.option("--yes", is_flag=True)
def danger(yes: bool) -> None:
    """Do something that must be confirmed."""
    ask("Really?", yes)
    say("done")


@click.command("set-up", cls=PanelCommand, creates_install=True)
def set_up() -> None:
    """Make an install."""
    say("made")


def run(app: Flask, *arguments: str, stdin: bytes = b"") -> Result:
    if "probe" not in app.cli.commands:
        app.cli.add_command(group)
        app.cli.add_command(set_up)
    return app.test_cli_runner().invoke(args=arguments, input=stdin)


# -- exit status -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        ("refused", 3, "That is no address. Type another.\n"),
        ("problem", 1, "It does not open. Look.\nMore: docs/encryption.md#inconsistent\n"),
        ("abort", 3, "Nothing was changed.\n"),
    ],
)
def test_an_error_is_its_sentences_and_its_exit_status(
    app: Flask, error: str, status: int, told: str
) -> None:
    done = run(app, "probe", "fail", error)
    assert (done.exit_code, done.stdout, done.stderr) == (status, "", told)


def test_an_unknown_error_does_not_repeat_values(app: Flask, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(app, "probe", "fail", "unknown")
    assert done.exit_code == 1
    assert "marker-of-a-password" not in done.output + capsys.readouterr().err


def test_wrong_usage_is_2(app: Flask) -> None:
    assert run(app, "probe", "fail").exit_code == 2
    assert run(app, "probe", "no-such-command").exit_code == 2


def test_the_database_is_open(app: Flask) -> None:
    done = run(app, "probe", "count")
    assert json.loads(done.stdout) == {"accounts": 0}
    assert db.database.is_closed()


# -- which install, and as whom -----------------------------------------------------------


LONG, LARGE = "x" * 100_000, str(10**30)


@pytest.mark.parametrize("arguments", [
    ("messages", "list", "--text", LONG), ("messages", "list", "--from", LONG), ("messages", "list", "--count", LARGE),
    ("activity", "list", "--text", LONG), ("activity", "list", "--count", LARGE), ("activity", "list", "--days", LARGE),
    ("accounts", "pause", "--search", LONG), ("accounts", "show", LONG), ("alerts", "set", "--disk-percent", LARGE),
])  # fmt: skip
def test_no_value_is_too_long_or_too_large_for_an_answer_in_words(
    app: Flask, cli: Cli, arguments: tuple[str, ...]
) -> None:
    done = cli(*arguments)
    assert done.returncode in (0, 2, 3) and "unknown error" not in done.stderr, done.stderr[-300:]


@pytest.mark.parametrize("name", ["accounts", "encryption", "alerts"])
def test_the_help_of_a_group_cuts_no_sentence_off(cli: Cli, name: str) -> None:
    assert "..." not in cli(name, "--help").stdout.partition("Commands:")[2]


def test_help_needs_no_install(cli: Cli) -> None:
    for arguments in (["--help"], ["encryption", "--help"], ["encryption", "status", "--help"]):
        done = cli(*arguments)
        assert done.returncode == 0, done.stderr
        assert "Usage:" in done.stdout


def test_a_command_without_an_install_says_so_and_makes_none(cli: Cli, settings: Settings) -> None:
    done = cli("encryption", "status")
    assert done.returncode == 3
    assert f"Mailkeep is not set up in {settings.data_dir}." in done.stderr
    assert done.stderr.splitlines()[1:] == ["More: docs/install.md"]
    assert not settings.data_dir.exists()


def test_only_set_up_makes_an_install(settings: Settings) -> None:
    app = create_app(settings)
    assert run(app, "probe", "count").exit_code == 3
    assert run(app, "set-up").stdout == "made\n"
    assert run(app, "probe", "count").exit_code == 0


def test_another_user_than_the_owner_gets_the_line_to_type(
    app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = settings.data_dir.owner()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(sys, "argv", [".venv/bin/flask", "probe", "count"])
    done = run(app, "probe", "count")
    assert done.exit_code == 3
    assert f"sudo -u {owner} .venv/bin/flask probe count" in done.stderr


# -- passwords -------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b""], ids=["LF", "CRLF", "CR", "none"])
@pytest.mark.parametrize(
    "password",
    ["simple", " two  spaces \t", "a\n\n.", "a\r\n ", "a\rb", "Grüße 🔑", "%s\\'\"", "x" * 1024, "a\ufeff"],
)
def test_a_password_file_is_taken_byte_for_byte_but_one_final_line_break(
    app: Flask, tmp_path: Path, password: str, end: bytes
) -> None:
    file = tmp_path / "password"
    file.write_bytes(password.encode() + end)
    assert run(app, "probe", "take", "--password-file", str(file)).stdout == f"{password!r}\n"
    done = run(app, "probe", "take", "--password-file", "-", stdin=password.encode() + end)
    assert done.stdout == f"{password!r}\n"


UNUSABLE = {
    "no UTF-8": (b"\xff", "not UTF-8"),
    "Latin-1": ("Grüße".encode("latin-1"), "not UTF-8"),
    "NUL": (b"a\0b", "NUL"),
    "BOM": (b"\xef\xbb\xbfpw\r\n", "byte order mark"),
    "BOM alone": (b"\xef\xbb\xbf", "byte order mark"),
    "UTF-16": ("pw\r\n".encode("utf-16"), "UTF-16"),
    "UTF-16 big-endian": (b"\xfe\xff" + "pw".encode("utf-16-be"), "UTF-16"),
    "UTF-16 without its mark": ("pw\n".encode("utf-16-le"), "UTF-16"),
    "UTF-32": ("pw".encode("utf-32"), "UTF-16"),
    "too long": (b"x" * (LONGEST_SECRET + 1), "longer than"),
}


@pytest.mark.parametrize(("content", "told"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_password_that_cannot_be_taken_is_wrong_usage_and_named(
    app: Flask, tmp_path: Path, content: bytes, told: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    for name, stdin in ((str(file), b""), ("-", content)):
        done = run(app, "probe", "take", "--password-file", name, stdin=stdin)
        assert done.exit_code == 2
        assert "--password-file" in done.stderr and told in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["/nowhere", "/", "/dev/zero"])
def test_what_is_no_password_file_is_wrong_usage_and_not_read_for_ever(app: Flask, name: str) -> None:
    done = run(app, "probe", "take", "--password-file", name)
    assert (done.exit_code, done.stdout) == (2, "") and "Traceback" not in done.stderr


# -- asking and telling ------------------------------------------------------------------------


def test_a_dangerous_command_is_refused_where_nobody_can_be_asked(app: Flask) -> None:
    done = run(app, "probe", "danger")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "--yes" in done.stderr
    assert run(app, "probe", "danger", "--yes").stdout == "done\n"


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Passwords") as show:
        for done in range(1001):
            show(done, 1000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "Passwords: 1000 of 1000"
    assert len(lines) <= 3


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress("Passwords") as show:
        show(1, 2)
        show(2, 2)
    assert "100%" in terminal.getvalue()


def test_progress_can_be_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Passwords", quiet=True) as show:
        show(1, 1)
    assert capsys.readouterr().err == ""


def test_an_argument_that_is_no_utf8_is_named(app: Flask, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "accounts", "show", b"\xff\xfe"],
        env=running.process_environ(environ), cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "not UTF-8" in done.stderr and "Traceback" not in done.stderr
