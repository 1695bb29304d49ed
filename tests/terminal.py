"""A person at a terminal: a command on a real pseudo-terminal, which is also its controlling one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from panel.config import ROOT
from tests.running import wait_until

SECONDS = 60
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r|\x07|\x08")


class Terminal:
    """Runs `command`; `wait_for` what it prints, `enter` an answer, `end` for its status."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self._process = subprocess.Popen(
            command, cwd=ROOT, env=dict(environ), stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal
        )  # fmt: skip
        os.close(slave)
        self._shown = b""
        self._seen = 0  # characters of `text` that were waited for

    @property
    def text(self) -> str:
        """All that was shown, without what moves the cursor."""
        return ESCAPES.sub("", self._shown.decode("utf-8", "replace"))

    def wait_for(self, text: str) -> None:
        """Read until `text` is shown, after what was waited for before."""
        deadline = time.monotonic() + SECONDS
        while (at := self.text.find(text, self._seen)) < 0:
            assert time.monotonic() < deadline and self._read(), f"{text!r} was not shown:\n{self.text}"
        self._seen = at + len(text)

    def enter(self, text: str) -> None:
        """Type `text` and Enter."""
        os.write(self._master, text.encode() + b"\n")

    def press(self, keys: str) -> None:
        """Press `keys` and nothing else, once the command waits for them.

        Ctrl-C that comes between Python's question and its reading is noticed only at the next key.
        """
        stat = Path(f"/proc/{self._process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", "it to wait for keys")
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Wait for the end; the exit status."""
        while self._read():
            pass
        return self._process.wait(SECONDS)

    def _read(self) -> bool:
        readable, _, _ = select.select([self._master], [], [], SECONDS)
        try:
            piece = os.read(self._master, 4096) if readable else b""
        except OSError:  # the other end is closed
            piece = b""
        self._shown += piece
        return bool(piece)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)
