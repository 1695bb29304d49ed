"""Child processes of `panel.serve`: started together, restarted when they die, stopped together.

The parent is one thread that waits for signals: SIGCHLD, and those that stop it. They are blocked and
taken one at a time, so that nothing is interrupted half way. In between it checks over a socket pair
whether each child still answers.
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
STEADY_SECONDS = 60  # a child that ran for so long is restarted without a pause
LONGEST_PAUSE = 30
ASK_SECONDS = 5.0  # between two health checks
UNANSWERED = 6  # checks in a row; counted, not timed: the machine may have been suspended

STOPPING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
SIGNALS = STOPPING | {signal.SIGCHLD}

log = logging.getLogger("panel.serve")


@dataclass
class Child:
    """`python -m panel.serve NAME SOCKET FD…`, through all its restarts.

    SOCKET is its end of a socket pair. It sends something there once it works, and then an answer
    to each `question`, if there is one.
    """

    name: str
    question: bytes = b""
    fds: tuple[int, ...] = ()  # to inherit
    failures: int = 0
    due: float | None = None  # to be restarted at, on the monotonic clock
    _started: float = 0.0
    _asked: float = 0.0
    _unanswered: int = 0
    _socket: socket.socket | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it in its own process group, so that Ctrl-C reaches the parent only."""
        if self._socket is not None:
            self._socket.close()
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._started, self.due, self._unanswered = time.monotonic(), None, 0
        fds = [theirs.fileno(), *self.fds]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "panel.serve", self.name, *map(str, fds)],
            pass_fds=fds,
            process_group=0,
            preexec_fn=partial(process.die_with, os.getpid()),
        )
        theirs.close()
        self._ask()

    def _ask(self) -> None:
        self._asked = time.monotonic()
        if self._socket is not None and self.question:
            with suppress(OSError):  # it has ended, or the socket is full: no answer either way
                self._socket.send(self.question)

    def answers(self) -> bool:
        """Check whether it still answers. False once UNANSWERED checks in a row got none."""
        if not self.question or self._socket is None or time.monotonic() - self._asked < ASK_SECONDS:
            return True
        try:
            answered = bool(self._socket.recv(2**16))
        except OSError:
            answered = False
        self._unanswered = 0 if answered else self._unanswered + 1
        self._ask()
        return self._unanswered < UNANSWERED

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it has reported that it works."""
        return self.alive and self._socket is not None and bool(select.select([self._socket], [], [], 0)[0])

    def how_it_ended(self) -> str:
        """The exit status or signal, for the log."""
        status = self._process.returncode if self._process else 0
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"

    def postpone(self) -> float:
        """Set `due`: at once after a steady run, later after each failure. Returns the seconds to go."""
        steady = time.monotonic() - self._started > STEADY_SECONDS
        self.failures = 0 if steady else self.failures + 1
        pause = 0.0 if steady else min(2.0 ** (self.failures - 1), LONGEST_PAUSE)
        self.due = time.monotonic() + pause
        return pause

    def send(self, signum: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signum)


def run(children: Sequence[Child], up: Callable[[], None]) -> bool:
    """Run `children` until a signal asks to stop; True where none had to be killed.

    `up` is called once all work. Raises ServeError where a first start fails.
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
    """Wait until all work. False where a signal asks to stop first."""
    deadline = time.monotonic() + START_SECONDS
    while not all(child.ready for child in children):
        if _signalled(0.05):
            return False
        for child in children:
            if not child.alive:
                raise ServeError(
                    f"The {child.name} process did not start ({child.how_it_ended()}).",
                    "The lines above say why.",
                )
        if time.monotonic() > deadline:
            raise ServeError(
                f"Mailkeep did not answer within {START_SECONDS} seconds of its start.",
                "Read the lines above, and check the load of this server.",
            )
    return True


def _watch(children: Sequence[Child]) -> None:
    """Restart children that end or no longer answer, until a signal asks to stop."""
    while not _signalled(min(_seconds_to_next(children), ASK_SECONDS)):
        for child in children:
            if child.alive:
                if not child.answers():
                    log.error("The %s process no longer answers and is killed.", child.name)
                    child.send(signal.SIGKILL)
                continue
            if child.due is None:
                pause = child.postpone()
                log.error(
                    "The %s process ended (%s). It restarts in %d seconds.",
                    child.name, child.how_it_ended(), pause,
                )  # fmt: skip
            elif child.due <= time.monotonic():
                child.start()


def _seconds_to_next(children: Sequence[Child]) -> float:
    due = [child.due - time.monotonic() for child in children if child.due is not None]
    return max(min(due, default=5.0), 0.01)


def _stop(children: Sequence[Child]) -> bool:
    """Stop all children: SIGTERM; after STOP_SECONDS or a second signal SIGKILL. True without SIGKILL."""
    for child in children:
        child.send(signal.SIGTERM)
    began = logged = time.monotonic()
    while waiting := [child.name for child in children if child.alive]:
        if time.monotonic() - logged > 2:
            logged = time.monotonic()
            log.info(
                "Stopping: waiting for the %s process, at most %d more seconds.",
                " and the ".join(waiting), STOP_SECONDS - (logged - began),
            )  # fmt: skip
        if _signalled(0.1) or time.monotonic() - began > STOP_SECONDS:
            log.warning("Killing the %s process.", " and the ".join(waiting))
            for child in children:
                child.send(signal.SIGKILL)
            return False
    return True


def _signalled(seconds: float) -> bool:
    """Wait for a signal, at most `seconds`. Whether it was one that asks to stop."""
    found = signal.sigtimedwait(SIGNALS, seconds)
    return found is not None and found.si_signo in STOPPING
