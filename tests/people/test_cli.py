"""`flask people`, run as a person would."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask

from panel.config import Settings
from tests import installs
from tests.running import Environ, find_marker
from tests.sign_in.browser import Browser, add_person

Cli = Callable[..., subprocess.CompletedProcess[str]]
GOOD = "a long enough phrase"
ADD = ("people", "add", "Bob@Example.org", "--name", "Bob", "--role", "agent", "--password-file", "-")


@pytest.fixture
def installed(settings: Settings) -> Settings:
    installs.prepare(settings)
    return settings


def test_a_person_is_added_and_listed(installed: Settings, cli: Cli) -> None:
    done = cli(*ADD, stdin=GOOD + "\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "bob@example.org was added as agent.\n"
    assert cli("people", "list").stdout == "agent  bob@example.org  Bob\n"
    (listed,) = json.loads(cli("people", "list", "--json").stdout)
    assert listed.pop("created_at") > 0
    assert listed == {
        "email": "bob@example.org", "name": "Bob", "role": "agent", "disabled": False, "invited": False,
        "last_sign_in_at": None,
    }  # fmt: skip


def test_an_empty_list_is_a_list(installed: Settings, cli: Cli) -> None:
    assert json.loads(cli("people", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "password"),
    [(ADD, "short"), (ADD, "password1234"), ((*ADD[:2], "no address", *ADD[3:]), GOOD)],
)
def test_what_breaks_a_rule_is_wrong_usage(
    installed: Settings, cli: Cli, arguments: tuple[str, ...], password: str
) -> None:
    done = cli(*arguments, stdin=password)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert json.loads(cli("people", "list", "--json").stdout) == []


def test_the_same_person_twice_is_refused(installed: Settings, cli: Cli) -> None:
    cli(*ADD, stdin=GOOD)
    assert cli(*ADD, stdin=GOOD).returncode == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("people", "add"),
        ("people", "add", "bob@example.org", "--name", "Bob", "--role", "boss", "--password-file", "-"),
        ("people", "add", "bob@example.org", "--name", "Bob"),
        ("people", "delete"),
        ("people", "add", "bob@example.org", "--name", "B", "--role", "agent", "--password", GOOD),
        ("people", "promote"),
    ],
)
def test_wrong_usage_is_told_apart(installed: Settings, cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments, stdin=GOOD).returncode == 2


@pytest.mark.parametrize("arguments", [ADD, ("people", "list")])
def test_without_an_install_it_is_refused_and_none_is_made(
    cli: Cli, environ: Environ, arguments: tuple[str, ...]
) -> None:
    done = cli(*arguments, stdin=GOOD)
    assert done.returncode == 3
    assert "not set up" in done.stderr
    assert not Path(environ["PANEL_DATA_DIR"]).exists()


def test_without_a_password_an_invitation_link_is_printed_on_a_line_of_its_own(
    app: Flask, cli: Cli, environ: Environ
) -> None:
    done = cli(*ADD[:-2])
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[-1]
    assert first.startswith(f"http://{environ['PANEL_BIND']}/invitation/")
    assert cli("people", "list").stdout == "agent  bob@example.org  Bob  (invited)\n"
    second = cli("people", "invite", "bob@example.org").stdout.splitlines()[-1]
    browser = Browser(app)
    assert browser.get(urlsplit(first).path).status_code == 404
    assert browser.post(urlsplit(second).path, password=GOOD).status_code == 303
    assert cli("people", "invite", "nobody@example.org").returncode == 3


def test_a_person_is_deleted_after_a_question(app: Flask, cli: Cli) -> None:
    add_person()
    cli(*ADD, stdin=GOOD)
    assert cli("people", "delete", "bob@example.org").returncode == 3
    assert "bob@" in cli("people", "list").stdout
    done = cli("people", "delete", "Bob@example.org", "--yes")
    assert (done.returncode, done.stdout) == (0, "bob@example.org was deleted.\n")
    assert "bob@" not in cli("people", "list").stdout
    assert cli("people", "delete", "bob@example.org", "--yes").returncode == 3
    last = cli("people", "delete", "ada@example.org", "--yes")
    assert last.returncode == 3 and "last active administrator" in last.stderr


def test_the_password_stands_nowhere_afterwards(installed: Settings, cli: Cli) -> None:
    done = cli(*ADD, stdin=GOOD)
    assert GOOD not in done.stdout + done.stderr
    assert find_marker(installed.data_dir, GOOD) == []
