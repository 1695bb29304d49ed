"""`python -m panel.serve` whose children are forked instead of started: half a second of CPU less for each.

For a process that has imported everything itself (tests.warm). tests/house/test_serve.py and the manual's
pages start all of them from cold.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

from panel.serve import __main__ as serve
from panel.serve import children


class Forked:
    """As much of subprocess.Popen as `panel.serve.children.Child` asks for."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        pass_fds: Sequence[int],
        process_group: int,
        preexec_fn: Callable[[], None],
    ) -> None:
        """Fork, and be `python -m panel.serve NAME FD…` there."""
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, process_group)
            preexec_fn()
            _be(command[3:], pass_fds)

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, signum: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, signum)


def _be(arguments: Sequence[str], fds: Sequence[int]) -> None:
    """Run to the end here: the parent's stack below must not go on in this process."""
    status = 1
    try:
        _close_others(fds)
        Path("/proc/self/comm").write_text(arguments[0])  # tests/house/processes.py looks for it
        serve.main(list(arguments))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - told as at the end of any process
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _close_others(fds: Sequence[int]) -> None:
    """What `exec` closes: the lock of the one server, the other children's lines."""
    begin = 3
    for fd in sorted(fds):
        os.closerange(begin, fd)
        begin = fd + 1
    os.closerange(begin, 2**20)


if __name__ == "__main__":
    vars(children)["subprocess"] = SimpleNamespace(Popen=Forked)
    serve.main(sys.argv[1:])
