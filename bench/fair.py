"""How long does mail wait beside mail servers that hang?

40 servers that greet with one byte and 20 good mailboxes, all new, with a running server: seconds until
each good mailbox was collected once; and the CPU of asking what is due among 3,000 accounts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench._installs import add, hang, made
from bench._programs import RESULTS, write
from panel import db
from panel.collect import due
from panel.models import Account, Collection
from tests.running import PanelServer, environ_for
from tests.servers.hostile import ScriptedServer, let_in

MANY = 3000  # accounts, for the query


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="script/bench fair")
    parser.add_argument("--hung", type=int, default=40)
    parser.add_argument("--good", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="after which is given up")
    parser.add_argument("--accounts", type=int, default=MANY)
    parser.add_argument("--rounds", type=int, default=20, help="of the query")
    parser.add_argument("--results", type=Path, default=RESULTS / "fair.json")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-fair-") as directory:
        waits = _waits(Path(directory), options)
        queries = _queries(Path(directory), options)
    _report(waits, queries, options)


def _waits(directory: Path, options: argparse.Namespace) -> list[float | None]:
    """Seconds from the start until each good mailbox was collected; None where it was not."""
    with ExitStack() as stack:
        hung = [stack.enter_context(ScriptedServer(hang)) for _ in range(options.hung)]
        good = [stack.enter_context(ScriptedServer(let_in)) for _ in range(options.good)]
        ports = ",".join(str(server.port) for server in (*hung, *good))
        environ = {**environ_for(directory), "PANEL_MAIL_PORTS": ports}
        made(environ)
        with db.database.connection_context():
            for server in hung:
                _added(server.port)
            wanted = [_added(server.port) for server in good]
        running = PanelServer(environ, directory / "server.log")
        running.start()
        began = time.monotonic()
        try:
            return _watch(wanted, began, options.seconds)
        finally:
            running.kill()


def _watch(wanted: list[str], began: float, seconds: float) -> list[float | None]:
    found: dict[str, float] = {}
    while len(found) < len(wanted) and time.monotonic() - began < seconds:
        time.sleep(0.1)
        with db.database.connection_context():
            done = Collection.last_success_at.is_null(False)
            for account in Account.select(Account.uuid).join(Collection).where(done):
                found.setdefault(str(account.uuid), time.monotonic() - began)
    return [found.get(uuid) for uuid in wanted]


def _queries(directory: Path, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of CPU of asking for all, and for one, with none due and with all."""
    made(environ_for(directory / "many"))
    with db.database.connection_context():
        with db.transaction():
            uuids = [_added(993) for _ in range(options.accounts)]
            now = db.now()
            for number, uuid in enumerate(uuids):
                Collection.create(account=uuid, next_due_at=now + 5 + number % 55, waits=60)
        figures = {
            "all asked, none due": _cpu(due.accounts, options.rounds),
            "one asked, none due": _cpu(lambda: due.find(uuids[0]), options.rounds),
        }
        Collection.update(next_due_at=1).execute()
        figures["all asked, all due"] = _cpu(due.accounts, options.rounds)
        figures["one asked, all due"] = _cpu(lambda: due.find(uuids[0]), options.rounds)
    return figures


def _cpu(what: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        what()
    return (time.process_time() - began) / times * 1000


def _added(port: int) -> str:
    return add(str(time.monotonic_ns()), port, "127.0.0.1", begin="now", security="none")


def _report(waits: list[float | None], queries: dict[str, float], options: argparse.Namespace) -> None:
    served = sorted(wait for wait in waits if wait is not None)
    print(f"\n{options.good} good mailboxes beside {options.hung} servers that hang, all new\n")
    print(f"  served within {options.seconds:.0f} s: {len(served)}")
    if served:
        print(f"  after {statistics.median(served):.1f} s (median), {served[-1]:.1f} s (last)")
    print(f"\nWhat is due among {options.accounts} accounts, ms of CPU\n")
    for name, figure in queries.items():
        print(f"  {name:22}{figure:8.2f}")
    write(options.results, {"waits": waits, "due_ms": queries})
