"""Accepting clients, and bounding them: nobody who is slow or has no password holds up who sends.

A thread for each connection, since what it waits for is a mail server. Of clients that have not signed in
there are few at a time: one more ends the oldest of them, once that has had its time.
"""

from __future__ import annotations

import logging
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from panel.errors import PanelError, Throttled
from panel.submission.lines import Hangup

MOST_STRANGERS = 50  # connections that have not signed in,
SIGN_IN_SECONDS = 5.0  # that each of them has before one more may end it,
MOST_SIGNED_IN = 150  # and those that have,
MOST_OF_ONE = 20  # as one mailbox
BUSY = ("Too many connections are open.", "Try again in a minute.")

log = logging.getLogger("panel.submission")


@dataclass(eq=False)
class Caller:
    socket: socket.socket
    uuid: str = ""  # of the mailbox, once it has signed in
    since: float = field(default_factory=time.monotonic)


Admit = Callable[[str], None]  # called with a mailbox's uuid; raises Throttled
Serve = Callable[[socket.socket, Admit], None]


class SubmissionServer:
    """Serves clients of a listening socket until it is stopped."""

    def __init__(self, listening: socket.socket, control: socket.socket, serve: Serve) -> None:
        """`serve` has the dialogue with one client. `control` is asked whether this still works."""
        self._listening = listening
        self._control = control
        self._serve = serve
        self._lock = threading.Lock()
        self._open: list[Caller] = []  # the oldest first
        self._stopping = False

    def run(self, stop_seconds: float) -> None:
        """Serve; at the end let those finish whose message is under way, for at most `stop_seconds`."""
        self._control.send(b".")
        while not self._stopping:
            ready, _, _ = select.select([self._listening, self._control], [], [], 1.0)
            if self._control in ready:
                self._control.send(b"." * bool(self._control.recv(2**16)))
            if self._listening in ready:
                self._accept()
        self._listening.close()
        ends_at = time.monotonic() + stop_seconds
        while self._open and time.monotonic() < ends_at:
            _end(list(self._open), socket.SHUT_RD)  # they read nothing more; an answer that is due is sent
            time.sleep(0.05)

    def stop(self) -> None:
        """Have `run` end."""
        self._stopping = True

    def _accept(self) -> None:
        with self._lock:
            strangers = [one for one in self._open if not one.uuid]
        many = len(strangers) >= MOST_STRANGERS
        if many and time.monotonic() < strangers[0].since + SIGN_IN_SECONDS:
            time.sleep(0.05)  # many come at once: this one waits in the system's own queue
            return
        try:
            connection = Caller(self._listening.accept()[0])
        except OSError:  # it has left again, or no file is left
            time.sleep(0.05)
            return
        with self._lock:
            self._open.append(connection)
        if many:
            _end(strangers[:1], socket.SHUT_RDWR)
        threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _admit(self, connection: Caller, uuid: str) -> None:
        """It has signed in as the mailbox. Raises Throttled where too many have."""
        with self._lock:
            signed_in = [one.uuid for one in self._open if one.uuid]
            if len(signed_in) >= MOST_SIGNED_IN or signed_in.count(uuid) >= MOST_OF_ONE:
                raise Throttled(*BUSY)
            connection.uuid = uuid

    def _run(self, connection: Caller) -> None:
        try:
            self._serve(connection.socket, partial(self._admit, connection))
        except Hangup:
            pass
        except PanelError as error:
            log.warning("A client was sent away: %s", error)
        except Exception:  # the client repeats its message; the thread must not end unheard
            log.exception("A client was sent away because of an unknown error.")
        finally:
            with self._lock:
                self._open.remove(connection)
            connection.socket.close()


def _end(connections: list[Caller], how: int) -> None:
    for one in connections:
        with suppress(OSError):
            one.socket.shutdown(how)


def owner_of(connection: socket.socket) -> str:
    """The Unix user (uid) whose program is at the other end, on this server; "?" where that is not known."""
    table = "/proc/net/tcp6" if connection.family == socket.AF_INET6 else "/proc/net/tcp"
    with suppress(OSError), Path(table).open() as lines:  # it may have left already
        host, port, *_ = connection.getpeername()
        packed = socket.inet_pton(connection.family, host)
        words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
        wanted = f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"
        for line in lines:
            fields = line.split()
            if fields[1] == wanted:
                return fields[7]
    return "?"
