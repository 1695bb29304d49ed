"""Promise of tests.warm: a command that is forked is as good as one that is started."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from panel import install
from panel.config import Settings
from tests import running, warm
from tests.docs.pages import manual
from tests.docs.test_complete import commands
from tests.running import Environ, process_environ

SET_UP = ("setup", "--admin-email", "a@example.org", "--admin-name", "Gül", "--password-file", "-")
TYPED = {  # the manual plays all others
    "wrong usage": (("accounts", "add"), ""),
    "refused by the settings": (("people", "list"), ""),
    "done, from standard input": (SET_UP, "a heron stands in the reeds, grün\n"),
    "refused": (("people", "role", "nobody@example.org", "admin"), ""),
    "refused too": (("people", "enable", "nobody@example.org"), ""),
    "asked, and nobody answers": (("sending", "remove", "nobody@example.org"), ""),
    "listed": (("activity", "list"), ""),
    "listed too": (("settings",), ""),
    "nobody to invite": (("people", "invite", "nobody@example.org"), ""),
    "nobody to delete": (("people", "delete", "nobody@example.org"), ""),
    "no mailbox": (("accounts", "collect-older", "nobody@example.org"), ""),
    "a file that is not there": (("encryption", "key", "import", "/nowhere"), ""),
    "nobody to tell": (("alerts", "test"), ""),
    "told what it does": (("alerts", "signing-key", "--help"), ""),
    "no mailbox to send as": (("sending", "submission-password", "nobody@example.org"), ""),
    "no apps": (("oauth", "list"), ""),
    "no app to remove": (("oauth", "remove", "nowhere"), ""),
    "no mailbox to connect": (("oauth", "connect", "nobody@example.org"), ""),
    "no target to test": (("deliver", "test", "nowhere"), ""),
    "told what it does, too": (("deliver", "run", "--help"), ""),
}


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", TYPED)
def test_what_it_prints_and_how_it_ends_is_the_same_from_cold_and_warm(
    name: str, environ: Environ, tmp_path_factory: pytest.TempPathFactory
) -> None:
    arguments, typed = TYPED[name]
    other = environ | {"PANEL_DATA_DIR": f"{tmp_path_factory.mktemp('cold')}/data"}
    for one in (environ, other):
        install.prepare(Settings.load(one))
    if name.startswith("refused by"):
        environ["PANEL_TIMEZONE"] = other["PANEL_TIMEZONE"] = "Europe/Atlantis"
    cold = running.flask_from_cold(other, *arguments, stdin=typed)
    hot = running.flask(environ, *arguments, stdin=typed)
    found = (
        text.replace(environ["PANEL_DATA_DIR"], other["PANEL_DATA_DIR"]) for text in (hot.stdout, hot.stderr)
    )
    assert (hot.returncode, *found) == outcome(cold)


def test_every_command_is_started_from_cold_by_the_manual_or_above(app: Flask) -> None:
    blocks = [block for one in manual() for block in one.blocks() if block.kind in ("console", "cron")]
    typed = "\n".join(
        [block.text for block in blocks] + [f"flask {' '.join(words)}" for words, _ in TYPED.values()]
    )
    assert [each for each in commands(app) if not re.search(rf"flask {each}\b", typed)] == []


def run(code: str, **environ: str) -> tuple[int, str, str]:
    """`code` as the module that a forked process is."""
    return outcome(warm.run_module("tests.snippet", [code], process_environ(environ), "", seconds=20))


def test_it_has_the_environment_it_is_given_and_no_other() -> None:
    code = "import os; print(sorted(k for k in os.environ if k.startswith('OURS_')))"
    assert run(code, OURS_A="1")[1] == "['OURS_A']\n"
    assert run(code, OURS_B="1")[1] == "['OURS_B']\n"


def test_python_is_started_anew_for_an_environment_that_it_reads_at_its_start() -> None:
    code = "import sys; print(sys.stdout.encoding)"
    assert run(code, PYTHONIOENCODING="latin-1")[1] == "iso8859-1\n"
    assert run(code, PYTHONIOENCODING="utf-8")[1] == "utf-8\n"


def test_exit_status_signal_and_traceback_are_those_of_any_process() -> None:
    assert run("import sys; sys.exit(7)")[0] == 7
    assert run("import os; os.kill(os.getpid(), 9)")[0] == -9
    status, printed, complained = run("print('before'); 1 / 0")
    assert (status, printed) == (1, "before\n")
    assert complained.rstrip().endswith("ZeroDivisionError: division by zero")


def test_what_is_to_be_done_at_the_end_of_a_process_is_done() -> None:
    assert run("import atexit; atexit.register(print, 'at the end')")[1] == "at the end\n"


def test_none_finds_what_another_has_left_in_memory_and_several_run_at_once() -> None:
    code = "import panel, time; print(vars(panel).get('left')); panel.left = 1; time.sleep(0.2)"
    with ThreadPoolExecutor(4) as threads:
        assert {printed for _, printed, _ in threads.map(run, [code] * 8)} == {"None\n"}


def test_one_that_does_not_end_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run_module("tests.snippet", ["import time; time.sleep(60)"], process_environ({}), "", 0.5)


def test_one_that_nobody_waited_for_is_in_no_other_ones_way() -> None:
    forgotten: Any = warm.Popen(["-c", "import time; time.sleep(60)"], env=process_environ({}))
    forgotten.kill()
    forgotten._connection.close()  # as garbage may go before the process that holds it
    subprocess._active.append(forgotten)  # type: ignore[attr-defined]
    assert run("print('well')")[1] == "well\n"
    assert forgotten not in subprocess._active  # type: ignore[attr-defined]
