"""Does the panel answer beside hundreds of slow clients, and how quickly without them?

Starts a server on an install of its own, opens connections that are held, and asks /healthz and
/login every 100 ms meanwhile. Kinds of holding: a body of which one byte came, headers that come
one by one, connections that say nothing after an answer, readers that take nothing of twenty
answers. `--root` runs another working copy with its own .venv, for before and after.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

from tests.running import environ_for, process_environ

SECRET = "correct horse battery staple"
SLOW_BODY = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nx"
SLOW_HEADERS = b"GET /login HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n"
WHOLE = b"GET /static/panel.css HTTP/1.1\r\nHost: localhost\r\n\r\n"


def main(arguments: list[str]) -> None:
    """Print one line for each kind of slow client, and one for requests that follow each other."""
    parser = argparse.ArgumentParser(prog="script/bench slow")
    parser.add_argument("--clients", type=int, default=200, help="of each kind (default: 200)")
    parser.add_argument("--seconds", type=float, default=8.0, help="that each kind is held (default: 8)")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the working copy that is served")
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
            with Served(chosen.root, Path(directory) / name.replace(" ", "-")) as port:
                held = [_hold(port, first) for first in firsts for _ in range(chosen.clients)]
                times = _ask(port, chosen.seconds)
                for connection in held:
                    connection.close()
            done = [t for t in times if t is not None]
            row = (statistics.median(done) * 1000, max(done) * 1000) if done else (float("nan"),) * 2
            print(f"{name:20} {len(done):4}/{len(times):<3} {row[0]:10.0f} {row[1]:9.0f}", flush=True)
        with Served(chosen.root, Path(directory) / "speed") as port:
            for path in ("/healthz", "/login"):
                _speed(port, path, chosen.seconds)
        served = Served(chosen.root, Path(directory) / "signed-in")
        with served as port:
            cookie = served.sign_in(port)
            for path in ("/", "/accounts", "/people"):
                _speed(port, path, chosen.seconds, cookie=cookie)


class Served:
    """A running server on an install of its own; gives its port."""

    def __init__(self, root: Path, directory: Path) -> None:
        """`root` is the working copy, `directory` where its data goes."""
        directory.mkdir()
        self._root = root
        self._environ = environ_for(directory)

    def __enter__(self) -> int:
        self._process = subprocess.Popen(
            [self._root / ".venv/bin/python", "-m", "panel.serve"],
            cwd=self._root,
            env=process_environ(self._environ),
            stderr=subprocess.DEVNULL,
        )
        port = int(self._environ["PANEL_BIND"].rpartition(":")[2])
        while _get(port, "/healthz", 1.0) is None:
            time.sleep(0.1)
        return port

    def sign_in(self, port: int) -> str:
        """Make an administrator and 25 mailboxes in the shell, sign in, and return the session's cookie."""
        boxes = "".join(
            json.dumps(
                {"address": f"{n}@example.org", "host": "127.0.0.1", "security": "none", "password": SECRET}
            )
            + "\n"
            for n in range(25)
        )
        for arguments, said in (
            (
                ["setup", "--admin-email", "ada@example.org", "--admin-name", "Ada", "--password-file", "-"],
                SECRET,
            ),
            (["accounts", "import", "-"], boxes),
        ):
            subprocess.run(
                [self._root / ".venv/bin/python", "-m", "flask", *arguments],
                cwd=self._root, env=process_environ(self._environ), input=said, text=True, check=True,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/login")
        answer = connection.getresponse()
        [token] = re.findall(r'name="csrf_token" value="([^"]+)"', answer.read().decode())[:1]
        form = urlencode({"email": "ada@example.org", "password": SECRET, "csrf_token": token})
        cookie = str(answer.headers["Set-Cookie"]).partition(";")[0]
        kind = "application/x-www-form-urlencoded"
        connection.request("POST", "/login", form, {"Cookie": cookie, "Content-Type": kind})
        answer = connection.getresponse()
        assert answer.status == 303, answer.read()
        return "; ".join(each.partition(";")[0] for each in answer.headers.get_all("Set-Cookie") or ())

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


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
