"""Clients that are slow, or stop, hold a connection and nothing else: the panel answers beside them.

The connections are held open by this test; each kind would stop a server that gives a thread to each.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from panel.serve import http_server
from panel.web.headers import LARGEST_REQUEST
from tests.running import WAIT_SECONDS, PanelServer, environ_for, wait_until

HOST = b"Host: localhost\r\n"
CSS = b"GET /static/panel.css HTTP/1.1\r\n" + HOST + b"\r\n"
HELD = {
    "bodies": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nx",
    "chunks": b"POST /login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nx",
    "bodies that are asked for": b"POST /login HTTP/1.1\r\n"
    + HOST
    + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "bodies for no page": b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nx",
    "headers": b"GET /login HTTP/1.1\r\n" + HOST + b"X-Slow: ",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nothing yet": b"",
    "nothing more": CSS,
    "readers of one answer after another": CSS * http_server.PIPELINED,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
}
CLIENTS = 60  # of each kind; there are 16 threads


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PanelServer]:
    directory = tmp_path_factory.mktemp("slow")
    server = PanelServer(environ_for(directory), directory / "server.log")
    server.start()
    yield server
    server.stop()


def connect(server: PanelServer) -> socket.socket:
    host, _, port = server.environ["PANEL_BIND"].rpartition(":")
    return socket.create_connection((host, int(port)), 30)


def send(server: PanelServer, first: bytes) -> socket.socket:
    connection = connect(server)
    connection.setblocking(False)
    with suppress(BlockingIOError):
        connection.send(first)
    return connection


def status(server: PanelServer, path: str) -> int:
    host, _, port = server.environ["PANEL_BIND"].rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=WAIT_SECONDS)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


@pytest.mark.parametrize("kind", HELD)
def test_pages_are_answered_beside_slow_clients(server: PanelServer, kind: str) -> None:
    with ExitStack() as held:
        for _ in range(CLIENTS):
            held.enter_context(send(server, HELD[kind]))
        for path in ("/healthz", "/login", "/static/panel.css") * 2:
            assert status(server, path) == 200


def test_all_kinds_at_once(server: PanelServer) -> None:
    with ExitStack() as held:
        for first in HELD.values():
            for _ in range(CLIENTS):
                held.enter_context(send(server, first))
        assert status(server, "/login") == 200


def exchange(server: PanelServer, sent: bytes) -> bytes:
    """Everything that is answered, until the server closes."""
    with connect(server) as connection:
        connection.sendall(sent)
        answer = b""
        with suppress(ConnectionResetError):
            while more := connection.recv(65536):
                answer += more
        return answer


CHUNKED = b"Transfer-Encoding: chunked\r\n"
REFUSED = {
    "a body for no page": b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nabcde",
    "a body for a page that reads none": b"GET /healthz HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 5\r\n\r\nabcde",
    "two lengths": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "lengths that differ": b"POST /login HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "chunks in HTTP/1.0": b"POST /login HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n",
    "a length of thousands of digits": b"POST /login HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: "
    + b"9" * 9000
    + b"\r\n\r\n",
    "a target that is none": b"GET http://[ HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /login\r\n\r\n",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_be_read_in_two_ways_or_by_nobody_is_refused(server: PanelServer, kind: str) -> None:
    before = len(server.log)
    answer = exchange(server, REFUSED[kind])
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert len(re.findall(rb"^HTTP/", answer, re.M)) == 1  # what followed was not taken for a request
    assert server.log[before:] == ""


def test_too_much_is_refused_without_being_read(server: PanelServer) -> None:
    length = b"Content-Length: %d\r\n\r\n" % (LARGEST_REQUEST + 1)
    assert b" 413 " in exchange(server, b"POST /login HTTP/1.1\r\n" + HOST + length).split(b"\r\n")[0]
    head = b"GET /login HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * http_server.LARGEST_HEAD + b"\r\n\r\n"
    assert b" 431 " in exchange(server, head).split(b"\r\n")[0]


def test_an_upgrade_to_http_2_is_not_taken(server: PanelServer) -> None:
    """A request that asks for it is answered as what it is (RFC 9110, 7.8)."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + upgrade)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_chunks_and_whole_bodies_and_requests_in_a_row_are_read(server: PanelServer) -> None:
    form = b"Content-Type: application/x-www-form-urlencoded\r\n"
    whole = b"POST /login HTTP/1.1\r\n" + HOST + form + b"Content-Length: 3\r\n\r\na=b"
    chunks = b"POST /login HTTP/1.1\r\n" + HOST + form + CHUNKED + b"\r\n1\r\na\r\n2\r\n=b\r\n0\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    found = exchange(server, whole + chunks + last)
    assert found.count(b"HTTP/1.1 400 ") == 2  # by CSRFProtect: both forms were read
    assert found.endswith(b"ok\n")


def test_one_who_reads_late_gets_every_answer(server: PanelServer) -> None:
    many = http_server.PIPELINED - 1
    with connect(server) as connection:
        connection.sendall(CSS * many + CSS.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answers = 0
        while more := connection.recv(2**20):
            answers += more.count(b"HTTP/1.1 200 OK")
    assert answers >= many - 1  # a head may lie across two reads


def test_who_sends_hundreds_of_requests_ahead_is_cut_off(server: PanelServer) -> None:
    answer = exchange(server, CSS * 300)
    assert answer.count(b"HTTP/1.1 200 OK") <= http_server.PIPELINED
    assert status(server, "/healthz") == 200


# -- limits of time: a server in this process, whose clock the test sets -----------------


class Small:
    """The server with one thread and an application that answers with `size` bytes."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, size: int = 2, stuck: threading.Event | None = None
    ) -> None:
        self.ahead, self.served = 0.0, 0
        now = time.monotonic
        monkeypatch.setattr(http_server, "time", SimpleNamespace(monotonic=lambda: now() + self.ahead))
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.size, self.stuck = size, stuck
        self.server = http_server.Server(self.answer, self.listening, 1, lambda _method, _path: 100)

    def answer(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        self.environ = environ
        self.served += 1
        if self.stuck:
            self.stuck.wait()
        start_response("200 OK", [("Content-Length", str(self.size))])
        return [b"a" * self.size]

    def connect(self, sent: bytes) -> socket.socket:
        """A client that has sent this, which the server has read and, if it is whole, begun to answer."""
        connection = socket.create_connection(self.listening.getsockname(), 60)
        served = self.served
        connection.sendall(sent)
        wait_until(lambda: self.server.poll(0.05) or self._is_settled(connection, served), "the server")
        return connection

    def _is_settled(self, connection: socket.socket, served: int) -> bool:
        channels = self.server.active_channels.values()
        for channel in (each for each in channels if each.addr == connection.getsockname()):
            if channel.requests:
                return bool(self.stuck or channel._postponed)
            return bool(channel.request) or self.served > served
        return False

    def closes(self, connection: socket.socket, after: float) -> bool:
        """Whether it closes once that many seconds have passed."""
        self.ahead += after
        self.server.next_channel_cleanup = 0  # what waitress does now and then by itself
        for _ in range(3):
            self.server.poll(0.05)
        connection.settimeout(0.2)
        try:
            while connection.recv(2**20):
                pass
        except TimeoutError:
            return False
        except ConnectionResetError:
            pass
        return True


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HALF = {
    "a line": b"GET / HT",
    "headers": b"GET / HTTP/1.1\r\nHost: a\r\n",
    "a body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na",
    "chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
}


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF)
def test_a_request_has_ten_seconds_however_it_drips(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    small = Small(monkeypatch)
    connection = small.connect(sent)
    assert not small.closes(connection, http_server.REQUEST_SECONDS - 1)
    connection.sendall(b"0")  # a byte now and then gains nothing
    assert small.closes(connection, 2)


def test_a_connection_without_a_request_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Small(monkeypatch)
    connection = small.connect(GET)
    assert not small.closes(connection, http_server.IDLE_SECONDS - 1)
    assert small.closes(connection, 2)


def test_where_many_are_open_idle_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS", 10)
    small = Small(monkeypatch)
    held = [small.connect(GET) for _ in range(8)]
    assert small.closes(held[0], http_server.IDLE_SECONDS_WHEN_FULL + 1)


def test_an_answer_that_took_us_long_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop may look for clients that read nothing in the moment before the first byte is sent."""
    small, real = Small(monkeypatch), http_server.Channel._flush_some

    def looked_at(channel: Any, *arguments: Any, **options: Any) -> Any:
        small.server._close_overdue(time.monotonic() + small.ahead)
        return real(channel, *arguments, **options)

    def slow(environ: Any, start_response: Any) -> Iterable[bytes]:
        small.ahead += http_server.READ_SECONDS + 1
        return small.answer(environ, start_response)

    monkeypatch.setattr(http_server.Channel, "_flush_some", looked_at)
    small.server.application = slow
    assert small.connect(GET).recv(100).startswith(b"HTTP/1.1 200 OK")


def test_the_parents_line_is_kept_however_long_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS", 0)  # as full as can be
    small = Small(monkeypatch)
    ours, its = socket.socketpair()
    small.server.adopt(its)
    assert not small.closes(ours, 3600)
    ours.sendall(GET)
    for _ in range(5):
        small.server.poll(0.05)
    ours.settimeout(60)
    assert ours.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_who_reads_nothing_of_a_large_answer_holds_no_thread_and_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = Small(monkeypatch, size=10_000_000)
    reads_nothing = small.connect(GET)
    other = small.connect(GET)  # the one thread is free
    assert other.recv(100)
    assert small.closes(reads_nothing, http_server.READ_SECONDS + 1)


def test_the_next_answer_waits_until_the_last_one_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Small(monkeypatch, size=5_000_000)
    late = small.connect(GET * 3)
    assert small.served == 1
    late.setblocking(False)
    read = 0
    while read < 3 * small.size:
        small.server.poll(0.05)
        with suppress(BlockingIOError):
            read += len(late.recv(2**20))
    assert small.served == 3


def test_who_waits_for_us_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = threading.Event()
    small = Small(monkeypatch, stuck=stuck)
    connection = small.connect(GET)
    assert not small.closes(connection, 3600)
    stuck.set()


def test_a_streamed_answer_arrives_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    small = Small(monkeypatch, stuck=go_on)

    def steps(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first"
        go_on.wait()
        yield b"second"

    small.server.application = steps
    connection = small.connect(GET)
    seen = connection.recv(65536)
    while b"first" not in seen:
        seen += connection.recv(65536)
    assert b"second" not in seen
    go_on.set()
    while b"second" not in seen:
        seen += connection.recv(65536)


def test_the_application_sees_who_asks_and_what_a_proxy_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """`panel.web.headers` decides which proxies are believed, so their headers must come through."""
    small = Small(monkeypatch)
    small.connect(
        b"GET /a%2Fb?c=d HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX_Forwarded_For: 1\r\n\r\n"
    )
    assert small.environ["REMOTE_ADDR"] == "127.0.0.1"
    assert small.environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
    assert (small.environ["PATH_INFO"], small.environ["QUERY_STRING"]) == ("/a/b", "c=d")
