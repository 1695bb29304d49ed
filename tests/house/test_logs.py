"""The log says what happened, in one line, and repeats nobody's secret."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from panel import logs
from panel.config import ROOT
from panel.errors import DatabaseError


@dataclass(frozen=True)
class Log:
    """What is written while a test runs."""

    log_format: str
    stream: io.StringIO

    @property
    def text(self) -> str:
        return self.stream.getvalue()


@pytest.fixture(params=["text", "json"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    logs.configure(request.param)
    yield Log(request.param, stream)
    root.handlers, root.level = before, level


AUTHORIZATION_FILE = "-".join(["marker", "of", "a", "password"])  # a traceback shows source lines


def fail(password: str) -> None:
    raise ValueError(f"bad value: {password}")


def test_a_traceback_shows_places_but_neither_values_nor_the_text(log: Log) -> None:
    try:
        fail(AUTHORIZATION_FILE)
    except ValueError:
        logging.getLogger("panel").exception("It failed.")
    assert "It failed." in log.text
    assert "test_logs.py" in log.text
    assert "ValueError (text withheld)" in log.text
    assert AUTHORIZATION_FILE not in log.text


def test_the_text_of_our_own_errors_is_shown_with_their_causes(log: Log) -> None:
    try:
        try:
            fail(AUTHORIZATION_FILE)
        except ValueError as error:
            raise DatabaseError("The disk is full.", "Make room.") from error
    except DatabaseError:
        logging.getLogger("panel").exception("It failed.")
    assert "DatabaseError: The disk is full. Make room." in log.text
    assert "ValueError (text withheld)" in log.text
    assert AUTHORIZATION_FILE not in log.text


def test_nobody_forges_a_line(log: Log) -> None:
    logging.getLogger("panel").warning("name: %s", "x\n2026-01-01T00:00:00Z INFO panel: forged\x1b[2J\u2028")
    assert len(log.text.splitlines()) == 1
    assert "\x1b" not in log.text


@pytest.mark.parametrize(
    "hidden", ["\x07", "\x7f", "\x9b2J", "\x85", "\u202e", "\u2066", "\u2029", "\udcff", "\r"]
)
def test_nobody_steers_the_terminal_of_who_reads_the_log(log: Log, hidden: str) -> None:
    # To our handler alone: pytest keeps what its own gets, and xdist cannot send on what has no UTF-8 form.
    [ours] = [each for each in logging.getLogger().handlers if isinstance(each, logs.PanelHandler)]
    ours.handle(logging.makeLogRecord({"msg": "name: %s", "args": (f"a{hidden}b",), "levelname": "WARNING"}))
    assert hidden[0] not in log.text
    log.text.encode("utf-8")


def test_json_is_one_object_per_line(log: Log) -> None:
    logging.getLogger("panel.x").warning("Grüße")
    if log.log_format == "json":
        event = json.loads(log.text)
        assert (event["level"], event["logger"], event["message"]) == ("warning", "panel.x", "Grüße")
    else:
        assert log.text.endswith("Z WARNING panel.x: Grüße\n")


def test_the_chatter_of_libraries_is_left_out(log: Log) -> None:
    logging.getLogger("huey.consumer").info("Shutting down")
    logging.getLogger("huey").error("Task failed")
    assert "Task failed" in log.text
    assert "Shutting down" not in log.text


def test_what_nobody_catches_is_told_the_same_way() -> None:
    script = (
        "import sys, threading; from panel import logs; logs.configure('text'); logs.catch_all()\n"
        "def fail(text): raise ValueError(text)\n"
        "thread = threading.Thread(target=fail, args=sys.argv[1:]); thread.start(); thread.join()\n"
        "fail(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, AUTHORIZATION_FILE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.count("ValueError (text withheld)") == 2
    assert AUTHORIZATION_FILE not in done.stderr
