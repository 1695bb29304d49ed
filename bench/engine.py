"""How long after its arrival at the mail server is a message here, and what does waiting for it cost?

A real Dovecot with so many mailboxes, to which messages are delivered at random times; the time from the file
in Dovecot's Maildir to the file in ours, or to the end of a command that is given it, by the clock of the
file system. Beside Mailkeep: mbsync in a loop without a pause, and getmail6 with IDLE. `--idle` measures what
an idle worker takes; it takes nine minutes until each session was renewed once.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bench._engine import PROGRAMS, BigDovecot, Mailkeep, Program, installed
from bench._installs import PASSWORD, add, hang
from bench._programs import RESULTS, write
from panel import db
from tests.servers.hostile import ScriptedServer

TICKS = os.sysconf("SC_CLK_TCK")
LATE = 30.0  # seconds after which a message is not waited for
SETTLE = 10.0  # for the last mailboxes to be parked
NUMBER = "X-Number: "


@dataclass(frozen=True)
class Figures:
    """Of one program with so many mailboxes. Seconds; per cent of one core; MiB (PSS)."""

    program: str
    mailboxes: int
    arrived: int
    missing: int
    p50: float
    p99: float
    worst: float
    idle_cpu: float
    busy_cpu: float
    memory: float
    worker: float  # of it, Mailkeep's worker


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="script/bench engine")
    parser.add_argument("--mailboxes", default="1,100,1000")
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--rate", type=float, default=10.0, help="messages a second")
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument(
        "--hung", type=int, default=0, help="servers beside them that greet with a byte and no more"
    )
    parser.add_argument("--idle", type=float, default=0.0, help="only this: seconds to watch Mailkeep idle")
    parser.add_argument("--pop3", type=int, default=500, help="mailboxes that are polled too, with --idle")
    parser.add_argument("--results", type=Path, default=RESULTS / "engine.json")
    options = parser.parse_args(arguments)
    if unknown := set(options.programs.split(",")) - PROGRAMS.keys():
        parser.error(f"no program {', '.join(sorted(unknown))}: choose from {', '.join(PROGRAMS)}")
    found: list[Figures] = []
    for number in map(int, options.mailboxes.split(",")):
        if options.idle:
            _watch_idle(number, options)
            continue
        for name in options.programs.split(","):
            if installed(name) and number <= PROGRAMS[name][0].most:
                found.append(_measure(name, number, options))
                print(_line(found[-1]), flush=True)
    if found:
        write(options.results, [asdict(one) for one in found])


@contextmanager
def _dovecot(number: int) -> Iterator[tuple[BigDovecot, list[str], Path]]:
    """A server with so many mailboxes, their users, and a directory for the program."""
    directory = Path(tempfile.mkdtemp(prefix="bench-engine-"))
    server = BigDovecot(directory / "dovecot")
    users = [f"user{n}" for n in range(number)]
    try:
        for user in users:
            server.add_user(user, PASSWORD)
        directory.chmod(0o755)  # getmail delivers as another user
        (directory / "program").mkdir()
        yield server, users, directory / "program"
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _measure(name: str, number: int, options: argparse.Namespace) -> Figures:
    with _dovecot(number) as (server, users, directory):
        for user in users:
            server.deliver(user, _message(-1))
        program: Program = PROGRAMS[name][0](server, users, directory)
        hung = [ScriptedServer(hang) for _ in range(options.hung)]
        if isinstance(program, Mailkeep):
            program.beside([one.port for one in hung])
        program.start()
        try:
            time.sleep(SETTLE + number / 20)
            idle, busy, memory, sent = _played(server, program, users, options)
            waits, missing = _waits(program, sent)
            worker = _memory(program.pids()[-1:]) if isinstance(program, Mailkeep) else 0.0
        finally:
            program.stop()
    p99 = statistics.quantiles(waits, n=100, method="inclusive")[98] if len(waits) > 1 else float("nan")
    return Figures(
        name, number, len(waits), missing, statistics.median(waits or [float("nan")]), p99,
        max(waits, default=float("nan")), idle, busy, memory, worker,
    )  # fmt: skip


def _played(
    server: BigDovecot, program: Program, users: list[str], options: argparse.Namespace
) -> tuple[float, float, float, dict[int, float]]:
    """CPU while nothing comes, and while mail does; memory; and when each message was delivered."""
    chance = random.Random(2026)
    idle = _cpu(program.pids(), 20.0)
    sent: dict[int, float] = {}
    began, used = time.monotonic(), _seconds(program.pids())
    for number in range(options.messages):
        time.sleep(max(0.0, began + number / options.rate - time.monotonic()))
        time.sleep(chance.random() / options.rate / 2)
        sent[number] = time.time()
        server.deliver(chance.choice(users), _message(number))
    busy = (_seconds(program.pids()) - used) / (time.monotonic() - began) * 100
    ends = time.monotonic() + LATE
    while time.monotonic() < ends and _waits(program, sent)[1]:
        time.sleep(2)
    return idle, busy, _memory(program.pids()), sent


def _message(number: int) -> bytes:
    return f"From: a@example.com\r\nSubject: {number}\r\n{NUMBER}{number}\r\n\r\nHello.\r\n".encode()


def _waits(program: Program, sent: dict[int, float]) -> tuple[list[float], int]:
    """From the delivery of each message to its file here, and how many are not here."""
    here: dict[int, float] = {}
    for path in program.files():
        for line in path.read_text().splitlines():
            if line.startswith(NUMBER):
                here[int(line.removeprefix(NUMBER))] = path.stat().st_ctime
    waits = [max(here[number] - at, 0.0) for number, at in sent.items() if number in here]
    return waits, len(sent) - len(waits)


def _watch_idle(number: int, options: argparse.Namespace) -> None:
    """What Mailkeep's worker takes while no mail comes."""
    with _dovecot(number + options.pop3) as (server, users, directory):
        program = Mailkeep(server, users[:number], directory)
        with db.database.connection_context(), db.transaction():
            for user in users[number:]:
                add(user, server.pop3_port, protocol="pop3")
        program.start()
        try:
            time.sleep(SETTLE + number / 20)
            ends = time.monotonic() + options.idle
            while time.monotonic() < ends:
                worker = program.pids()[-1:]
                cpu = _cpu(worker, min(60.0, max(ends - time.monotonic(), 1.0)))
                print(f"{number} IMAP, {options.pop3} POP3: worker {cpu:.2f} % of a core, "
                      f"{_memory(worker):.0f} MiB, load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
        finally:
            program.stop()


def _cpu(pids: list[int], seconds: float) -> float:
    used, began = _seconds(pids), time.monotonic()
    time.sleep(seconds)
    return (_seconds(pids) - used) / (time.monotonic() - began) * 100


def _seconds(pids: list[int]) -> float:
    """Of processor time, of these and of what they have started and waited for."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def _memory(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _line(one: Figures) -> str:
    return (
        f"{one.program:22} {one.mailboxes:5} mailboxes: p50 {one.p50:6.2f} s, p99 {one.p99:6.2f} s, "
        f"worst {one.worst:6.2f} s, missing {one.missing}, CPU idle {one.idle_cpu:5.1f} %, "
        f"busy {one.busy_cpu:5.1f} %, {one.memory:6.0f} MiB (worker {one.worker:.0f}), "
        f"load {os.getloadavg()[0]:.1f}"
    )
