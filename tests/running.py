"""Real processes for tests: the server as `script/server` starts it, and commands of the shell."""

from __future__ import annotations

import base64
import http.client
import itertools
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from panel.config import ROOT
from tests import warm

START_SECONDS = 60
STOP_SECONDS = 60
WAIT_SECONDS = (
    60  # costs time where a test fails alone; a busy machine takes twenty times as long as an idle one
)

Environ = dict[str, str]  # the PANEL_ settings of one install


def _ports() -> Iterator[int]:
    """Ports below the range that systems give away, and of them those of this one of up to eight workers."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    mine = range(12_000 + worker, 32_000, 8)
    begin = secrets.randbelow(len(mine))
    yield from itertools.cycle([*mine[begin:], *mine[:begin]])


_of_this_process = _ports()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, now or later unless asked to.

    What the system itself gives away could belong to somebody else before the server under test takes it, or
    while that restarts.
    """
    for port in _of_this_process:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("ports never end")


def environ_for(directory: Path) -> Environ:
    """The settings of an install of its own below `directory`, blind for those of this machine."""
    return {
        "PANEL_DATA_DIR": str(directory / "data"),
        "PANEL_BIND": f"127.0.0.1:{free_port()}",
        "PANEL_ENV_FILE": "/dev/null",
    }


def process_environ(environ: Mapping[str, str]) -> Environ:
    """The environment of a process that runs with `environ` and nothing else that begins with PANEL_."""
    others = {k: v for k, v in os.environ.items() if not k.startswith(("PANEL_", "FLASK_"))}
    return others | dict(environ) | {"PYTHONUNBUFFERED": "1"}


def flask(environ: Mapping[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `flask ARGUMENTS` in the repository root, as a person would. Takes two minutes at most.

    In a process of its own that was forked instead of started: see tests.warm.
    """
    return warm.run_module("flask", arguments, process_environ(environ), stdin, seconds=120)


def flask_from_cold(
    environ: Mapping[str, str], *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """The same, started as a person starts it, from nothing."""
    return subprocess.run(
        [sys.executable, "-m", "flask", *arguments],
        cwd=ROOT,
        env=process_environ(environ),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )


class PanelServer:
    """A server with its own settings, its log in a file."""

    def __init__(self, environ: Mapping[str, str], log: Path, *, cold: bool = False) -> None:
        """Take the settings (`environ` may be changed before a start) and where the log goes.

        Its processes are forked from one that has imported everything (tests.warm), unless `cold`.
        """
        self.environ = dict(environ)
        self.log_path = log
        self.program = ["-m", "panel.serve" if cold else "tests.forked_serve"]  # what Python runs
        self._popen = _from_cold if cold else warm.Popen
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the panel, without a slash at its end."""
        return f"http://{self.environ['PANEL_BIND']}"

    @property
    def data_dir(self) -> Path:
        """Where it writes."""
        return Path(self.environ["PANEL_DATA_DIR"])

    @property
    def pid(self) -> int:
        """The process id of the parent of web and worker."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """All lines written so far, by all starts."""
        return self.log_path.read_text("utf-8") if self.log_path.exists() else ""

    def start(self) -> None:
        """Start it and wait until web and worker work. Fails with its log where they do not."""
        before = len(self.log)
        self.launch()
        try:
            self._wait_for_start(before)
        except BaseException:
            self.kill()  # nobody stops what did not start, and it would slow down all that follow
            raise

    def _wait_for_start(self, before: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while "Mailkeep answers on" not in self.log[before:]:
            assert self._process and self._process.poll() is None, f"the server ended:\n{self.log}"
            assert time.monotonic() < deadline, f"the server does not answer:\n{self.log}"
            time.sleep(0.05)

    def launch(self) -> None:
        """Start it without waiting."""
        with self.log_path.open("ab") as log:
            self._process = self._popen(
                self.program,
                env=process_environ(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def answers(self) -> bool:
        """Whether /healthz answers by now."""
        host, _, port = self.environ["PANEL_BIND"].rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()

    def wait_for(self, line: str, seconds: float = START_SECONDS) -> None:
        """Wait until `line` stands in the log."""
        wait_until(lambda: line in self.log, lambda: f"{line!r} in the log:\n{self.log}", seconds)

    def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended; its exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop and wait; its exit status. Does nothing where it does not run."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signum)
        try:
            return self.ended()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop:\n{self.log}") from None

    def kill(self) -> None:
        """Kill the parent with SIGKILL; its children follow."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()


def _from_cold(program: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *program], cwd=ROOT, **options)


def wait_until(
    what: Callable[..., object], why: str | Callable[[], str], seconds: float = WAIT_SECONDS
) -> None:
    """Wait until `what()` is true; fails with `why` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError(
                f"still waiting after {seconds} s for {why if isinstance(why, str) else why()}"
            )
        time.sleep(0.05)


SEARCH = """
import pathlib, sys
from tests.running import shapes_of
shapes = shapes_of(sys.argv[2])
for path in sorted(pathlib.Path(sys.argv[1]).rglob('*')):
    if path.is_file() and any(shape in path.read_bytes() for shape in shapes):
        print(path.relative_to(sys.argv[1]))
"""


def shapes_of(authorization_file: str) -> set[bytes]:
    """What to look for: the longest run of plain letters in `marker`, which no escaping changes.

    And that run inside base64, at each of the three places where it may begin.
    """
    core = max(re.findall(r"[0-9A-Za-z-]+", authorization_file), key=len).encode()
    if len(core) < 8:  # too short a one is found everywhere
        core = authorization_file.encode()
    shapes = {core}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + core)
        shapes.add(encoded[(0, 2, 3)[before] : (before + len(core)) * 8 // 6])
    return shapes


def find_marker(directory: Path, marker: str) -> list[str]:
    """The files below `directory` that hold `marker`, plain, escaped in any way, or inside base64.

    Read by another process: closing a database file that this process has open
    as a database would drop its locks.
    """
    done = warm.run_module("tests.snippet", [SEARCH, str(directory), marker], process_environ({}), "", 60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
