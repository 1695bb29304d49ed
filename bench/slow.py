"""Does the panel answer beside hundreds of slow clients, and how quickly without them?

Starts a server on an install of its own, opens connections that are held, and asks /healthz and
/login every 100 ms meanwhile. Kinds of holding: a body of which one byte came, headers that come
one by one, connections that say nothing after an answer, readers that take nothing of twenty
answers.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench._installs import PASSWORD, add, made
from bench._sites import sign_in
from panel import create_app, db
from panel.secret import Secret
from panel.setup import service as setup
from tests.running import PanelServer, environ_for

SLOW_BODY = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nx"
SLOW_HEADERS = b"GET /login HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n"
WHOLE = b"GET /static/panel.css HTTP/1.1\r\nHost: localhost\r\n\r\n"


def main(arguments: list[str]) -> None:
    """Print one line for each kind of slow client, and one for requests that follow each other."""
    parser = argparse.ArgumentParser(prog="script/bench slow")
    parser.add_argument("--clients", type=int, default=200, help="of each kind (default: 200)")
    parser.add_argument("--seconds", type=float, default=8.0, help="that each kind is held (default: 8)")
    chosen = parser.parse_args(arguments)
    kinds = {
        "nobody": [],
        "bodies": [SLOW_BODY],
        "headers": [SLOW_HEADERS],
        "bodies and headers": [SLOW_BODY, SLOW_HEADERS],
        "idle": [WHOLE],
        "readers": [WHOLE * 20],
    }
    print(f"{'held':20} {'answers':>8} {'median ms':>10} {'worst ms':>9}")
    with tempfile.TemporaryDirectory() as directory:
        for name, firsts in kinds.items():
            with served(Path(directory) / name.replace(" ", "-")) as server:
                port = _port(server)
                held = [_hold(port, first) for first in firsts for _ in range(chosen.clients)]
                times = _ask(port, chosen.seconds)
                for connection in held:
                    connection.close()
            done = [t for t in times if t is not None]
            row = (statistics.median(done) * 1000, max(done) * 1000) if done else (float("nan"),) * 2
            print(f"{name:20} {len(done):4}/{len(times):<3} {row[0]:10.0f} {row[1]:9.0f}", flush=True)
        with served(Path(directory) / "speed") as server:
            for path in ("/healthz", "/login"):
                _speed(_port(server), path, chosen.seconds)
            cookie = _signed_in(server)
            for path in ("/", "/accounts", "/people"):
                _speed(_port(server), path, chosen.seconds, cookie=cookie)


@contextmanager
def served(directory: Path) -> Iterator[PanelServer]:
    """A running server on an install of its own."""
    directory.mkdir()
    server = PanelServer(environ_for(directory), directory / "server.log", cold=True)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _port(server: PanelServer) -> int:
    return int(server.environ["PANEL_BIND"].rpartition(":")[2])


def _signed_in(server: PanelServer) -> str:
    """Make an administrator and 25 mailboxes, and sign in; the session's cookie."""
    settings = made(server.environ)
    with db.database.connection_context(), db.transaction():
        for number in range(25):
            add(str(number), 993, "127.0.0.1", begin="now", security="none")
        setup.create_admin(settings, "Ada", "ada@example.org", Secret(PASSWORD), None)
    return sign_in(create_app(settings), "/login", email="ada@example.org", password=PASSWORD)


def _hold(port: int, first: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setblocking(False)
    with suppress(BlockingIOError):
        connection.send(first)
    return connection


def _get(port: int, path: str, timeout: float) -> float | None:
    """Seconds until the answer to GET `path` was there; None where none came within `timeout`."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
        return time.perf_counter() - began
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _ask(port: int, seconds: float) -> list[float | None]:
    ends, times = time.monotonic() + seconds, []
    while time.monotonic() < ends:
        for path in ("/healthz", "/login"):
            times.append(_get(port, path, 2.0))
        time.sleep(0.1)
    return times


def _speed(port: int, path: str, seconds: float, clients: int = 16, cookie: str = "") -> None:
    """Requests a second of clients that keep their connections, and the 99th percentile."""
    times: list[float] = []

    def ask(ends: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        while time.monotonic() < ends:
            began = time.perf_counter()
            connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            times.append(time.perf_counter() - began)

    ends = time.monotonic() + seconds
    threads = [threading.Thread(target=ask, args=(ends,)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    print(
        f"{path}: {len(times) / seconds:.0f} requests/s, "
        f"p99 {times[int(len(times) * 0.99)] * 1000:.0f} ms, {clients} clients, {os.cpu_count()} cores"
    )
