"""How much does a page cost beside Django admin's and Flask-Admin's list, and does it grow with their number?

Each program runs in two web processes of eight threads on Mailkeep's own HTTP server, on an SQLite
database of its own (WAL, synchronous FULL), with an administrator signed in. Clients on open connections ask
for one page at a time, program after program, in rounds. Meanwhile a row is written again and again, as
collecting does. Medians are printed and written to bench/results/pages.json.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench._programs import RESULTS, ROOT, chosen, median, write
from bench._sites import LIST, SITES, WRITES, installed, pages

OWN = "Mailkeep"
PROCESSES = 2
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """One page of one program in one round."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float  # of both web processes, for each answer
    statements: int  # of SQL, for one answer
    bytes: int


@dataclass(frozen=True)
class Running:
    name: str
    database: Path
    cookie: str
    listening: socket.socket
    processes: list[subprocess.Popen[bytes]]
    counted: dict[str, dict[str, int]]

    def request(self, path: str) -> bytes:
        """What a client sends."""
        return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {self.cookie}\r\n\r\n".encode()

    def cpu_seconds(self) -> float:
        """Processor time of the web processes so far."""
        stats = [Path(f"/proc/{each.pid}/stat").read_text().rpartition(")")[2] for each in self.processes]
        return sum(int(ticks) for stat in stats for ticks in stat.split()[11:13]) / TICKS


def main(arguments: list[str]) -> None:
    """Print a table for each number of mailboxes and write the results."""
    parser = argparse.ArgumentParser(prog="script/bench pages")
    parser.add_argument("--sizes", default="25,3000,100000", help="mailboxes, with commas between")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="that each page is asked for in a round")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--writes", type=float, default=10.0, help="a second, beside the readers")
    parser.add_argument("--programs", default="|".join(SITES), help="which to run, with | between")
    parser.add_argument("--results", type=Path, default=RESULTS / "pages.json")
    options = parser.parse_args(arguments)
    names = chosen(options.programs, installed)
    found: dict[int, dict[str, dict[str, list[Measured]]]] = {}
    for size in map(int, options.sizes.split(",")):
        found[size] = _at(size, names, options)
        _table(size, _medians(found[size]), options)
    write(options.results, {"mailboxes": found})


def _at(size: int, names: list[str], options: argparse.Namespace) -> dict[str, dict[str, list[Measured]]]:
    """Every page of every program, with `size` mailboxes."""
    found: dict[str, dict[str, list[Measured]]] = {name: {page: [] for page in pages(name)} for name in names}
    with ExitStack() as stack:
        running = [stack.enter_context(_running(name, size)) for name in names]
        for number in range(options.rounds + 1):
            for server in running:
                for page, path in pages(server.name).items():
                    measured = _measure(server, path, options)
                    if number:  # the first round warms everything up
                        found[server.name][page].append(measured)
    return found


@contextmanager
def _running(name: str, size: int) -> Iterator[Running]:
    directory = Path(tempfile.mkdtemp(prefix="bench-pages-"))
    command = [sys.executable, "-m", "bench._sites", name, str(directory)]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        cookie = _printed([*command, "fill", str(size)], "")
        counted = json.loads(_printed([*command, "count", *pages(name).values()], cookie))
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
            serve = [*command, "serve", str(listening.fileno())]
            for _ in range(PROCESSES):
                processes.append(subprocess.Popen(serve, cwd=ROOT, pass_fds=[listening.fileno()]))
            yield Running(name, directory / WRITES[name][0], cookie, listening, processes, counted)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        shutil.rmtree(directory)


def _printed(command: list[str], stdin: str) -> str:
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, input=stdin, text=True)
    return done.stdout.strip()


def _measure(server: Running, path: str, options: argparse.Namespace) -> Measured:
    with _written(server, options.writes):
        cpu = server.cpu_seconds()
        began = time.perf_counter()
        times = sorted(_ask(server, path, options.clients, options.seconds))
        seconds = time.perf_counter() - began
        cpu = server.cpu_seconds() - cpu
    return Measured(
        per_second=len(times) / seconds,
        p50_ms=statistics.median(times) * 1e3,
        p99_ms=times[int(len(times) * 0.99)] * 1e3,
        cpu_ms=cpu / len(times) * 1e3,
        **server.counted[path],
    )


@contextmanager
def _written(server: Running, per_second: float) -> Iterator[None]:
    """Write one row `per_second` times a second meanwhile."""
    over = threading.Event()

    def work() -> None:
        with sqlite3.connect(server.database, isolation_level=None, timeout=60) as connection:
            while per_second and not over.wait(1 / per_second):
                connection.execute(WRITES[server.name][1])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _ask(server: Running, path: str, clients: int, seconds: float) -> list[float]:
    """Seconds that each answer took, of clients that ask again at once, until all have theirs."""
    request, times = server.request(path), []
    ends = time.perf_counter() + seconds
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for _ in range(clients):
            connection = stack.enter_context(socket.create_connection(server.listening.getsockname()))
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ, [time.perf_counter(), bytearray()])
        while selector.get_map():
            for key, _ in selector.select():
                began, answer = key.data
                answer += key.fileobj.recv(2**18)  # type: ignore[union-attr]
                if not _is_whole(answer):
                    continue
                now = time.perf_counter()
                times.append(now - began)
                if now > ends:
                    selector.unregister(key.fileobj)
                    continue
                key.data[:] = now, bytearray()
                key.fileobj.sendall(request)  # type: ignore[union-attr]
    return times


def _is_whole(answer: bytearray) -> bool:
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:head]
    [length] = [line[15:] for line in answer[:head].split(b"\r\n") if line[:15].lower() == b"content-length:"]
    return len(answer) - head - 4 >= int(length)


def _medians(found: dict[str, dict[str, list[Measured]]]) -> dict[str, dict[str, Measured]]:
    return {name: {page: median(runs) for page, runs in asked.items()} for name, asked in found.items()}


def _table(size: int, medians: dict[str, dict[str, Measured]], options: argparse.Namespace) -> None:
    """One line a page; beside ours, how often it answers for each answer of a peer's list."""
    peers = {name: asked[LIST] for name, asked in medians.items() if name != OWN}
    columns: dict[str, Callable[[Measured], str]] = {
        "requests/s": lambda m: f"{m.per_second:,.1f}",
        "p50 ms": lambda m: f"{m.p50_ms:,.0f}",
        "p99 ms": lambda m: f"{m.p99_ms:,.0f}",
        "CPU ms": lambda m: f"{m.cpu_ms:,.1f}",
        "SQL": lambda m: f"{m.statements:.0f}",
        "bytes": lambda m: f"{m.bytes:,.0f}",
    }
    print(f"\n{size:,} mailboxes, {options.clients} clients, medians of {options.rounds} rounds\n")
    print(f"  {'':32}" + "".join(f"{head:>12}" for head in columns))
    for name, asked in medians.items():
        for page, measured in asked.items():
            cells = "".join(f"{column(measured):>12}" for column in columns.values())
            beside = [f"   {_ratio(measured, peer)} {other}" for other, peer in peers.items()]
            print(f"  {f'{name}, {page}':32}{cells}{''.join(beside) if name == OWN else ''}")


def _ratio(own: Measured, peer: Measured) -> str:
    """By answers a second, and by processor time, which a busy machine changes less."""
    return f"{own.per_second / peer.per_second:.1f} × ({peer.cpu_ms / own.cpu_ms:.1f} × by CPU)"
