"""A deliverer that is killed at a step: `python -m tests.deliver.killed SPOOL TARGETS N`.

A step is each call that opens, moves, syncs or removes a file, starts a program or ends it, sends or receives.
The process kills itself with SIGKILL before step N, or after it where N is negative; with 0 it lives. It
ends once nothing waits, and prints how many steps it made.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from panel.deliver import command, spool
from panel.deliver.deliverer import Deliverer
from panel.deliver.queue import Pace
from panel.mail.policy import Policy
from panel.mail.wire import Wire

STEPS: tuple[tuple[Any, str], ...] = (
    (os, "open"), (os, "rename"), (os, "utime"), (os, "fsync"), (os, "unlink"), (os, "killpg"), (os, "pidfd_open"),
    (subprocess, "Popen"), (command, "_read"), (Wire, "send"), (Wire, "receive_into"),
)  # fmt: skip
PACE = Pace(poll=0.02, delays=(0.05,), down_delays=(0.05,), report=1000)


class Steps:
    """Counts them, and dies at the chosen one."""

    def __init__(self, dies_at: int) -> None:
        self.count = 0
        self._dies_at = dies_at
        self._lock = threading.Lock()

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.count += 1
                number = self.count
            if number == self._dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*args, **kwargs)
            finally:
                if number == -self._dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        return step


def main(root: Path, targets: Path, dies_at: int) -> None:
    """Deliver until nothing waits, or until death."""
    steps, stopping = Steps(dies_at), threading.Event()
    for owner, name in STEPS:
        setattr(owner, name, steps.wrap(getattr(owner, name)))
    thread = threading.Thread(
        target=Deliverer(root, targets, Policy(frozenset()), stopping, PACE).run, daemon=True
    )
    thread.start()
    new = list(root.glob("*/new"))
    while any(map(spool.names, new)):
        stopping.wait(0.01)
    stopping.set()
    thread.join()
    print(steps.count, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
