"""Child processes of `panel.serve`: started together, restarted when they die, stopped together.

The parent is one thread that waits for signals: SIGCHLD, and those that stop it.
They are blocked and taken one at a time, so nothing is interrupted half way.
In between it asks, over a line that only the two have, whether a child still answers.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from panel import process
from panel.errors import ServeError

START_SECONDS = 60
STOP_SECONDS = 25
STEADY_SECONDS = 60  # who lived so long is started again without a pause
LONGEST_PAUSE = 30
ASK_SECONDS = 5.0
UNANSWERED = 6  # questions in a row; counted, not timed: a machine may have been suspended

STOPPING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
SIGNALS = STOPPING | {signal.SIGCHLD}

log = logging.getLogger("panel.serve")


@dataclass
class Child:
    """`python -m panel.serve NAME LINE FD…`, through all its restarts.

    LINE is its end of a pair of sockets. It sends something once it works, and after that
    whenever it is sent `question`, if there is one.
    """

    name: str
    question: bytes = b""
    fds: tuple[int, ...] = ()  # that it inherits
    failures: int = 0
    due: float | None = None  # when it is to be started again, on the monotonic clock
    _started: float = 0.0
    _asked: float = 0.0
    _unanswered: int = 0
    _line: socket.socket | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it in a process group of its own, so that Ctrl-C reaches the parent only."""
        if self._line is not None:
            self._line.close()
        self._line, its = socket.socketpair()
        self._line.setblocking(False)
        self._started, self.due, self._unanswered = time.monotonic(), None, 0
        fds = [its.fileno(), *self.fds]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "panel.serve", self.name, *map(str, fds)],
            pass_fds=fds,
            process_group=0,
            preexec_fn=partial(process.die_with, os.getpid()),
        )
        its.close()
        self._ask()

    def _ask(self) -> None:
        self._asked = time.monotonic()
        if self._line is not None and self.question:
            with suppress(OSError):  # it has just ended, or its line is full: no answer either way
                self._line.send(self.question)

    def answers(self) -> bool:
        """Ask whether it still works. False once it has left `UNANSWERED` questions without an answer."""
        if not self.question or self._line is None or time.monotonic() - self._asked < ASK_SECONDS:
            return True
        try:
            answered = bool(self._line.recv(2**16))
        except OSError:
            answered = False
        self._unanswered = 0 if answered else self._unanswered + 1
        self._ask()
        return self._unanswered < UNANSWERED

    @property
    def alive(self) -> bool:
        """Whether it runs at this moment."""
        return self._process is not None and self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it has said that it works."""
        return self.alive and self._line is not None and bool(select.select([self._line], [], [], 0)[0])

    def how_it_ended(self) -> str:
        """In words, for the log."""
        status = self._process.returncode if self._process else 0
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"

    def postpone(self) -> float:
        """Set when to start it again: at once after a steady run, ever later otherwise. The seconds to go."""
        steady = time.monotonic() - self._started > STEADY_SECONDS
        self.failures = 0 if steady else self.failures + 1
        pause = 0.0 if steady else min(2.0 ** (self.failures - 1), LONGEST_PAUSE)
        self.due = time.monotonic() + pause
        return pause

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(signum)


def run(children: Sequence[Child], up: Callable[[], None]) -> bool:
    """Run `children` until a signal asks to stop; True where all ended by themselves then.

    `up` is called once all work. Raises ServeError where one does not start the first time.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        for child in children:
            child.start()
        if _first_start(children):
            up()
            _watch(children)
    finally:
        clean = _stop(children)
    return clean


def _first_start(children: Sequence[Child]) -> bool:
    """Wait until all work. False where a signal asks to stop before that."""
    limit = time.monotonic() + START_SECONDS
    while not all(child.ready for child in children):
        if _signalled(0.05):
            return False
        for child in children:
            if not child.alive:
                raise ServeError(
                    f"The {child.name} process did not start ({child.how_it_ended()}).",
                    "The lines above say why.",
                )
        if time.monotonic() > limit:
            raise ServeError(
                f"Mailkeep did not answer within {START_SECONDS} seconds of its start.",
                "Look at the lines above, and at how busy this machine is.",
            )
    return True


def _watch(children: Sequence[Child]) -> None:
    """Start again what ends or no longer answers, until a signal asks to stop."""
    while not _signalled(min(_seconds_to_next(children), ASK_SECONDS)):
        for child in children:
            if child.alive:
                if not child.answers():
                    log.error("The %s process does not answer any more and is ended.", child.name)
                    child.send(signal.SIGKILL)
                continue
            if child.due is None:
                pause = child.postpone()
                log.error(
                    "The %s process ended (%s); it is started again in %d seconds.",
                    child.name, child.how_it_ended(), pause,
                )  # fmt: skip
            elif child.due <= time.monotonic():
                child.start()


def _seconds_to_next(children: Sequence[Child]) -> float:
    due = [child.due - time.monotonic() for child in children if child.due is not None]
    return max(min(due, default=5.0), 0.01)


def _stop(children: Sequence[Child]) -> bool:
    """End all children: politely, after STOP_SECONDS or a second signal by force. True if politely."""
    for child in children:
        child.send(signal.SIGTERM)
    began = told = time.monotonic()
    while waiting := [child.name for child in children if child.alive]:
        if time.monotonic() - told > 2:
            told = time.monotonic()
            log.info(
                "Stopping; waiting until the %s process has finished its work, %d more seconds at most.",
                " and the ".join(waiting), STOP_SECONDS - (told - began),
            )  # fmt: skip
        if _signalled(0.1) or time.monotonic() - began > STOP_SECONDS:
            log.warning("Ending the %s process at once.", " and the ".join(waiting))
            for child in children:
                child.send(signal.SIGKILL)
            return False
    return True


def _signalled(seconds: float) -> bool:
    """Wait for a signal, at most `seconds`. Whether it was one that asks to stop."""
    found = signal.sigtimedwait(SIGNALS, seconds)
    return found is not None and found.si_signo in STOPPING
