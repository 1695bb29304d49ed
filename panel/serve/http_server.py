"""The web server of one process: waitress, with time limits for slow clients.

Waitress reads a whole request before a thread takes it, and buffers responses for slow readers; so
neither occupies a thread. The time limits it lacks are here, on the monotonic clock
(docs/decisions/0022-waitress.md).
"""

from __future__ import annotations

import copy
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
BUFFERED_IN_MEMORY = 64 * 2**10  # bytes of a response; the rest goes to an unlinked file
LARGEST_IN_MEMORY = 2**20  # bytes of a request: all of it, since passwords must not go to a file
LARGE_BODY = 64 * 2**10  # bytes; of larger ones
MOST_LARGE_BODIES = 20  # are read at once, so that they do not fill the memory
REQUEST_SECONDS = 10.0  # from the first byte of a request to the last
READ_SECONDS = 30.0  # in which a client reads nothing of its response
# Between two requests of a connection: longer than proxies keep one open, so that the proxy closes it.
IDLE_SECONDS = 150.0
IDLE_SECONDS_WHEN_FULL = 5.0
CHECK_SECONDS = 0.5  # between two checks for overdue clients
CONNECTIONS = 1000  # per process
PIPELINED = 20  # requests of a connection without a response yet; browsers send one

BodyLimit = Callable[[str, str], int]


def _most_connections() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if files == resource.RLIM_INFINITY else min(CONNECTIONS, files // 3)


class Request(HTTPRequestParser):
    """One incoming request. Refuses what two parsers could read differently (RFC 9112, 6 and 11)."""

    def __init__(self, body_limit: BodyLimit, adj: Adjustments) -> None:
        """`body_limit`: how many bytes of a body a view reads, by method and path; 0: none."""
        super().__init__(adj)
        self.began = time.monotonic()
        self._body_limit = body_limit

    def parse_header(self, header_plus: bytes) -> None:
        """Parse request line and headers. Raises ParsingError, which becomes a 400."""
        try:
            super().parse_header(header_plus)
        except ValueError:  # a number with thousands of digits, a malformed address
            raise ParsingError("The request cannot be read") from None
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("This server speaks HTTP/1.1")
        if "TRANSFER_ENCODING" in self.headers or (self.chunked and "CONTENT_LENGTH" in self.headers):
            raise ParsingError("The length of the request is not clear")
        if self.body_rcv is None:
            return
        limit = self._body_limit(self.command, self.path)
        if not limit:
            raise ParsingError("Nothing takes a body there")
        self.adj: Adjustments = copy.copy(self.adj)
        self.adj.max_request_body_size = limit + 1

    @property
    def may_be_large(self) -> bool:
        """Whether a large body is being read."""
        return bool(self.adj.max_request_body_size > LARGE_BODY + 1)


class Channel(HTTPChannel):
    _moved = 0.0
    _postponed = False
    is_control = False  # the parent's: never closed, since the parent takes silence for a hang

    def __init__(self, server: Server, sock: socket.socket, addr: Any, adj: Adjustments, map: Any) -> None:
        """Called by waitress for each accepted connection."""
        super().__init__(server, sock, addr, adj, map)
        self.parser_class = partial(Request, server.limit_of)

    @property
    def last_activity(self) -> float:
        """When anything was last read or sent. Waitress sets it, by the wall clock."""
        return self._moved

    @last_activity.setter
    def last_activity(self, _wall_clock: float) -> None:
        self._moved = time.monotonic()

    def received(self, data: bytes) -> bool:
        """Take input. A client that pipelines many requests is cut off: they cost us more than the client."""
        took = bool(super().received(data))
        if len(self.requests) > PIPELINED:
            self.handle_close()
        return took

    def write_soon(self, data: Any) -> int:
        """Take a part of a response. The client has its time to read from here, however long we took."""
        if not self.total_outbufs_len:
            self._moved = time.monotonic()
        return int(super().write_soon(data))

    def next_request(self) -> None:
        """Hand the next request to a thread, once the last response has been read.

        Otherwise waitress would answer hundreds of pipelined requests of a client that reads nothing.
        """
        self._postponed = bool(self.total_outbufs_len)
        if not self._postponed:
            self.server.task_dispatcher.add_task(self)

    def writable(self) -> bool:
        """Whether the loop should call `handle_write` when the client can read."""
        return bool(super().writable() or self._postponed)

    def handle_write(self) -> None:
        """Send what is buffered, then go on with the next request."""
        super().handle_write()
        if self._postponed and self.connected and not self.total_outbufs_len:
            self.next_request()

    @property
    def busy(self) -> bool:
        """Whether a request or a response is unfinished."""
        return bool(self.requests or self.request or self.total_outbufs_len)

    def is_overdue(self, now: float, idle: float) -> bool:
        """Whether the client exceeds a time limit. `idle`: seconds allowed between two requests."""
        if self.is_control:
            return False
        if self.total_outbufs_len:
            return now - self._moved > READ_SECONDS
        if self.requests:
            return False  # the client waits for us
        if self.request is not None:
            return bool(now - self.request.began > REQUEST_SECONDS)
        return now - self._moved > idle

    def handle_error(self) -> None:
        """Log an unknown error and close the connection."""
        logging.getLogger("panel.serve").exception("A connection failed with an unknown error.")
        self.handle_close()


class Server(TcpWSGIServer):
    """The web server of one process, on a listening socket shared with others."""

    channel_class = Channel

    def __init__(
        self, application: Any, listening: socket.socket, threads: int, body_limit: BodyLimit
    ) -> None:
        """Serve the WSGI `application` on the bound socket `listening`. `body_limit`: see Request."""
        adj = Adjustments(
            threads=threads,
            ident=None,
            clear_untrusted_proxy_headers=False,  # `panel.web.headers` does it
            connection_limit=_most_connections(),
            max_request_header_size=LARGEST_HEAD,
            max_request_body_size=LARGE_BODY + 1,
            inbuf_overflow=LARGEST_IN_MEMORY + 1,
            outbuf_overflow=BUFFERED_IN_MEMORY,
            log_socket_errors=False,
        )
        info = (listening.family, listening.type, listening.proto, listening.getsockname())
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it logs each request that waits
        self._body_limit = body_limit
        self._stops_at: float | None = None
        self._checked_at = 0.0
        listening.setblocking(False)
        super().__init__(application, {}, True, listening, adj=adj, sockinfo=info, bind_socket=False)

    def limit_of(self, method: str, path: str) -> int:
        """How many bytes of a body are read now."""
        limit = self._body_limit(method, path)
        reading = (channel.request for channel in self.active_channels.values())
        if (
            limit > LARGE_BODY
            and sum(bool(each and each.may_be_large) for each in reading) > MOST_LARGE_BODIES
        ):
            return LARGE_BODY
        return limit

    def maintenance(self, now: float) -> None:
        """Nothing: waitress would close by the wall clock here; see `_close_overdue`."""

    def add_task(self, task: Channel) -> None:
        """Called by waitress when a request is complete."""
        task.next_request()

    def adopt(self, connection: socket.socket) -> None:
        """Serve the open `connection` of the parent too, and never close it."""
        connection.setblocking(False)
        Channel(self, connection, ("127.0.0.1", 0), self.adj, self._map).is_control = True

    def serve(self, stop_seconds: float) -> None:
        """Serve until SIGTERM; then finish running requests, for at most `stop_seconds`."""
        signal.signal(signal.SIGTERM, lambda _signum, _frame: self._stop(stop_seconds))
        while self._stops_at is None or self._may_finish(self._stops_at):
            self.poll(1.0)

    def poll(self, seconds: float) -> None:
        """Handle events, waiting for them up to `seconds`; then close overdue connections."""
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)
        if (now := time.monotonic()) - self._checked_at >= CHECK_SECONDS:
            self._checked_at = now
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
