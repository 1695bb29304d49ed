"""Promises of commands that people are shown: they can be typed as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from panel import program
from panel.config import ROOT
from panel.errors import BadInput
from panel.program import as_typed, command_line, split_command


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    program.flask.cache_clear()
    yield
    program.flask.cache_clear()


def test_the_line_that_is_shown_runs_in_the_folder_of_the_code() -> None:
    assert command_line("--help") == ".venv/bin/flask --help"
    done = subprocess.run(["sh", "-c", command_line("--help")], cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_flask_is_enough_where_it_is_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}")
    assert command_line("doctor") == "flask doctor"


def test_the_flask_of_another_install_on_the_path_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "flask"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_line("doctor") == ".venv/bin/flask doctor"


def test_an_environment_elsewhere_is_named_in_full_and_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "an environment"
    (place / "bin").mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(place))
    assert program.flask().endswith(" -m flask")
    program.flask.cache_clear()
    (place / "bin/flask").touch()
    assert program.flask() == f"'{place}/bin/flask'"


def test_an_error_names_its_remedy_as_it_can_be_typed() -> None:
    assert str(BadInput("No.", "Run: flask doctor")) == "No. Run: .venv/bin/flask doctor"
    assert as_typed("Flask is a package; see .venv/bin/flask doctor and /srv/flask run") == (
        "Flask is a package; see .venv/bin/flask doctor and /srv/flask run"
    )


@pytest.mark.parametrize(
    ("remedy", "lead", "command"),
    [
        ("Turn it on, or run: flask encryption enable", "Turn it on, or run:", ".venv/bin/flask encryption enable"),
        ("Run: sudo chown root /srv/secrets/mailbox", "Run:", "sudo chown root /srv/secrets/mailbox"),
        ("Run: chgrp g /var/spool && chmod 2750 /var/spool", "Run:", "chgrp g /var/spool && chmod 2750 /var/spool"),
    ],
)  # fmt: skip
def test_a_command_that_ends_a_remedy_can_be_copied(remedy: str, lead: str, command: str) -> None:
    assert split_command(as_typed(remedy)) == (lead, command)


@pytest.mark.parametrize(
    "remedy",
    [
        "", "Enter the new one.", "Run: flask doctor", "See the list of apps (in the shell: flask oauth list).",
        "Run: chmod o+x /srv/the/folder/of/mail, or move PANEL_MAIL_SPOOL.",
        "Run: curl https://example.org/a/long/one",
        "Run: chmod 600 /srv/the/key/file && curl https://example.org", "Run: chmod 600 /srv/the/key/file & curl x",
        "Run: .venv/bin/flask --app /tmp/another.py run",
        "Run: chmod 600 /srv/the/key/file\ncurl x", "Run: chmod 600 /srv/the/\u202ekey/file",
        "Run: chmod 600 /srv/the/key/file; curl https://example.org",
        "Run: chmod 600 $(curl https://example.org/a) /x", "Run: cp /srv/the/key/file /dev/x | sh", "Run: cp /srv/a/file `x` y",
    ],
)  # fmt: skip
def test_other_remedies_stay_a_sentence(remedy: str) -> None:
    assert split_command(as_typed(remedy)) == (as_typed(remedy), "")
