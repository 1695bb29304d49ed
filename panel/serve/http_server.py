"""The web server of one process: waitress, and for how long it waits for whom.

Waitress reads a request to its end before a thread takes it, and keeps what a client is slow to
read; so neither holds a thread. What it lacks is a limit of time for that: it is here, on the clock
that nobody can set. docs/decisions/0022-waitress.md says why waitress.
"""

from __future__ import annotations

import logging
import resource
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer

LARGEST_HEAD = 32 * 2**10  # bytes of the request line and all headers
KEPT_IN_MEMORY = 64 * 2**10  # bytes of an answer; the rest waits in an unlinked file
REQUEST_SECONDS = 10.0  # from the first byte of a request to the last
READ_SECONDS = 30.0  # in which a client takes nothing of its answer
# Between two requests of one connection: longer than a proxy keeps one, so that the proxy closes it.
IDLE_SECONDS = 150.0
IDLE_SECONDS_WHEN_FULL = 5.0
LOOK_SECONDS = 0.5  # between two looks for who is late
CONNECTIONS = 1000  # of one process
IN_A_ROW = 20  # requests of one connection that wait for their answers; no browser sends two

TakesBody = Callable[[str, str], bool]


def _most_connections() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if files == resource.RLIM_INFINITY else min(CONNECTIONS, files // 3)


class Request(HTTPRequestParser):
    """One request as it comes in. Refuses what two readers could read in two ways (RFC 9112, 6 and 11)."""

    def __init__(self, takes_body: TakesBody, adj: Adjustments) -> None:
        """`takes_body` says of a method and a path whether a body is read at all."""
        super().__init__(adj)
        self.began = time.monotonic()
        self._takes_body = takes_body

    def parse_header(self, header_plus: bytes) -> None:
        """Read line and headers. Raises ParsingError, which is answered with 400."""
        try:
            super().parse_header(header_plus)
        except ValueError:  # a number of thousands of digits, an address that is none
            raise ParsingError("The request cannot be read") from None
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("This server speaks HTTP/1.1")
        if "TRANSFER_ENCODING" in self.headers or (self.chunked and "CONTENT_LENGTH" in self.headers):
            raise ParsingError("The length of the request is not clear")
        if self.body_rcv is not None and not self._takes_body(self.command, self.path):
            raise ParsingError("Nothing takes a body there")


class Channel(HTTPChannel):
    """One connection."""

    _moved = 0.0
    _postponed = False
    is_ours = False  # the parent's: never closed, or it would take silence for a standstill

    def __init__(self, server: Server, sock: socket.socket, addr: Any, adj: Adjustments, map: Any) -> None:
        """As waitress makes one for each connection that it accepts."""
        super().__init__(server, sock, addr, adj, map)
        self.parser_class = partial(Request, server.takes_body)

    @property
    def last_activity(self) -> float:
        """When anything was read, sent or done: waitress sets it, from a clock that may be moved."""
        return self._moved

    @last_activity.setter
    def last_activity(self, _wall_clock: float) -> None:
        self._moved = time.monotonic()

    def received(self, data: bytes) -> bool:
        """Take what came in. Who sends many requests ahead is cut off: each costs us more than him."""
        took = bool(super().received(data))
        if len(self.requests) > IN_A_ROW:
            self.handle_close()
        return took

    def next_request(self) -> None:
        """Have a thread take the next request, but not before the answer to the last one has been read.

        Waitress would answer hundreds of requests that came in one piece to a client that reads none.
        """
        self._postponed = bool(self.total_outbufs_len)
        if not self._postponed:
            self.server.task_dispatcher.add_task(self)

    def writable(self) -> bool:
        """Whether the loop is to call `handle_write` once the client takes something."""
        return bool(super().writable() or self._postponed)

    def handle_write(self) -> None:
        """Send what waits; after the last of it, go on."""
        super().handle_write()
        if self._postponed and self.connected and not self.total_outbufs_len:
            self.next_request()

    @property
    def busy(self) -> bool:
        """Whether a request is on its way in, or its answer on its way out."""
        return bool(self.requests or self.request or self.total_outbufs_len)

    def is_overdue(self, now: float, idle: float) -> bool:
        """Whether the client has kept us waiting for too long. `idle`: seconds between two requests."""
        if self.is_ours:
            return False
        if self.total_outbufs_len:
            return now - self._moved > READ_SECONDS
        if self.requests:
            return False  # it waits for us
        if self.request is not None:
            return bool(now - self.request.began > REQUEST_SECONDS)
        return now - self._moved > idle

    def handle_error(self) -> None:
        """Log what nobody expected and close the connection."""
        logging.getLogger("panel.serve").exception("A connection met an error that nobody expected.")
        self.handle_close()


class Server(TcpWSGIServer):
    """One process of the web server, on a socket that others listen on too."""

    channel_class = Channel

    def __init__(
        self,
        application: Any,
        listening: socket.socket,
        threads: int,
        largest_body: int,
        takes_body: TakesBody,
    ) -> None:
        """Listen. `application` is WSGI (PEP 3333); `listening` is bound; `largest_body` counts bytes."""
        adj = Adjustments(
            threads=threads,
            ident=None,
            clear_untrusted_proxy_headers=False,  # `panel.web.headers` knows which proxies are trusted
            connection_limit=_most_connections(),
            max_request_header_size=LARGEST_HEAD,
            max_request_body_size=largest_body + 1,
            inbuf_overflow=largest_body + 1,
            outbuf_overflow=KEPT_IN_MEMORY,
            log_socket_errors=False,
        )
        info = (listening.family, listening.type, listening.proto, listening.getsockname())
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a line for each request that waits
        self.takes_body = takes_body
        self._stops_at: float | None = None
        self._looked_at = 0.0
        listening.setblocking(False)
        super().__init__(application, {}, True, listening, adj=adj, sockinfo=info, bind_socket=False)

    def maintenance(self, now: float) -> None:
        """Nothing: waitress closes by the wall clock here, `_close_overdue` by another."""

    def add_task(self, task: Channel) -> None:
        """Waitress calls it where a request of a connection is complete."""
        task.next_request()

    def adopt(self, connection: socket.socket) -> None:
        """Serve `connection`, which is open, besides those that come in, and keep it."""
        connection.setblocking(False)
        Channel(self, connection, ("127.0.0.1", 0), self.adj, self._map).is_ours = True

    def serve(self, stop_seconds: float) -> None:
        """Answer until SIGTERM; then finish what has begun, for `stop_seconds` at most."""
        signal.signal(signal.SIGTERM, lambda _signum, _frame: self._stop(stop_seconds))
        while self._stops_at is None or self._may_finish(self._stops_at):
            self.turn(1.0)

    def turn(self, seconds: float) -> None:
        """Do what there is to do, or wait for it that long; then close who has kept us waiting."""
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)
        if (now := time.monotonic()) - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._close_overdue(now)

    def _stop(self, seconds: float) -> None:
        self._stops_at = time.monotonic() + seconds
        self.accepting = False
        self.pull_trigger()

    def _may_finish(self, stops_at: float) -> bool:
        busy = any(channel.busy for channel in self.active_channels.values())
        return busy and time.monotonic() < stops_at

    def _close_overdue(self, now: float) -> None:
        full = len(self.active_channels) > self.adj.connection_limit / 2
        idle = IDLE_SECONDS_WHEN_FULL if full else IDLE_SECONDS
        for channel in list(self.active_channels.values()):
            if channel.is_overdue(now, idle):
                channel.handle_close()  # not `will_close`: that waits until the client reads
