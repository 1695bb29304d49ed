"""`flask setup`: the first install without a browser."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from panel import create_app, db
from panel.config import Settings
from panel.models import Activity, Person, SetupState
from tests.running import Environ, find_marker
from tests.sign_in.browser import PASSWORD, Browser

Cli = Callable[..., subprocess.CompletedProcess[str]]
ARGUMENTS = ("setup", "--admin-email", "Ada@Example.org", "--admin-name", "Ada Lovelace")


def test_it_makes_the_install_and_its_administrator(cli: Cli, settings: Settings) -> None:
    done = cli(*ARGUMENTS, "--password-file", "-", stdin=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    assert "ada@example.org is its administrator" in done.stdout
    app = create_app(settings)
    with db.database.connection_context():
        assert [(p.email, p.role) for p in Person.select()] == [("ada@example.org", "admin")]
        assert SetupState.get().closed_at
        assert [(e.what, e.who.split(" ")[0]) for e in Activity.select()] == [("set up", "shell")]
    assert Browser(app).sign_in().status_code == 303
    assert Browser(app).get("/setup").status_code == 403


def test_the_password_of_a_file_is_taken_but_its_last_newline(
    cli: Cli, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(f" {PASSWORD} \n\n")
    assert cli(*ARGUMENTS, "--password-file", str(file)).returncode == 0
    assert Browser(create_app(settings)).sign_in(password=f" {PASSWORD} \n").status_code == 303


def test_a_second_time_it_is_refused_and_changes_nothing(cli: Cli) -> None:
    cli(*ARGUMENTS, "--password-file", "-", stdin=PASSWORD)
    before = cli("people", "list", "--json").stdout
    again = cli(*ARGUMENTS, "--password-file", "-", stdin=PASSWORD + "2")
    assert again.returncode == 3
    assert "set up already" in again.stderr
    assert cli("people", "list", "--json").stdout == before
    assert len(json.loads(before)) == 1


def test_a_bad_password_or_address_is_wrong_usage_and_set_up_stays_open(cli: Cli) -> None:
    short = cli(*ARGUMENTS, "--password-file", "-", stdin="short")
    assert short.returncode == 2
    assert "too short" in short.stderr
    bad = cli("setup", "--admin-email", "ada", "--admin-name", "A", "--password-file", "-", stdin=PASSWORD)
    assert bad.returncode == 2
    assert cli(*ARGUMENTS, "--password-file", "-", stdin=PASSWORD).returncode == 0


@pytest.mark.parametrize(
    "arguments", [("setup",), ARGUMENTS, (*ARGUMENTS, "--password-file", "/does/not/exist")]
)
def test_wrong_usage_makes_no_install(cli: Cli, environ: Environ, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).returncode == 2
    assert not Path(environ["PANEL_DATA_DIR"]).exists()


def test_the_password_stands_nowhere_afterwards(cli: Cli, settings: Settings) -> None:
    done = cli(*ARGUMENTS, "--password-file", "-", stdin=PASSWORD)
    assert PASSWORD not in done.stdout + done.stderr
    assert find_marker(settings.data_dir, PASSWORD) == []
