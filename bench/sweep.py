"""How quickly are all passwords encrypted, and moved to a new key, beside SQLAlchemy, Airflow and Django?

100,000 rows on SQLite (WAL, synchronous FULL, secure_delete), each program in a
process and a database of its own, in turn and several times in one run. Beside each
another process writes one small row again and again: how long is it held up at most?
Medians are printed and written to bench/results/sweep.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench._programs import NOBODY, PROGRAMS, RESULTS, ROOT, chosen, installed, median, write

PHASES = ("enable", "rotate")


@dataclass(frozen=True)
class Measured:
    """One program in one phase of one round."""

    seconds: float  # the sweep itself
    cpu_us_per_row: float  # processor time of the sweep, which a busy machine changes less
    whole_seconds: float  # from the button to 'on': Mailkeep opens all before, removes old values after
    rows_per_second: float
    whole_rows_per_second: float
    peak_mib: float  # the whole process, Python and its packages included
    stall_ms: float  # the longest that another writer's transaction took during the sweep
    stall_p99_ms: float
    whole_stall_ms: float  # the longest in all that time
    load: float  # of the machine, as it began


def main(arguments: list[str]) -> None:
    """Print the table and write the results. Ends with an error where a password did not come back."""
    parser = argparse.ArgumentParser(prog="script/bench sweep")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--programs", default="|".join(PROGRAMS), help="which to run, with | between")
    parser.add_argument("--results", type=Path, default=RESULTS / "sweep.json")
    options = parser.parse_args(arguments)
    names = chosen(options.programs, installed)
    found: dict[str, dict[str, list[Measured]]] = {phase: {name: [] for name in names} for phase in PHASES}
    for number in range(options.rounds):
        for name in names:
            for phase, measured in _one(name, options.rows).items():
                found[phase][name].append(measured)
                print(
                    f"  round {number + 1}, {name}, {phase}: {measured.rows_per_second:,.0f} rows/s,"
                    f" stall {measured.stall_ms:.1f} ms, load {measured.load:.1f}",
                    flush=True,
                )
    _report(found, options)


def _one(name: str, rows: int) -> dict[str, Measured]:
    directory = Path(tempfile.mkdtemp(prefix="bench-sweep-"))
    try:
        seed = _command(name, "seed", directory, rows)
        seeded = subprocess.run(seed, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        os.sync()  # nobody pays for what another one left to write
        return {phase: _phase(name, phase, directory, seeded.stdout.strip(), rows) for phase in PHASES}
    finally:
        shutil.rmtree(directory)


def _phase(name: str, phase: str, directory: Path, database: str, rows: int) -> Measured:
    load = os.getloadavg()[0]
    writer = _child([*_PYTHON, "writer", database])
    worker = _child(_command(name, phase, directory, rows))
    try:
        time.sleep(0.1)  # the other writer writes before the work begins
        result = json.loads(_told(worker))
        writes = json.loads(_told(writer))
    finally:
        writer.kill()
        worker.kill()
    if result["checked"] != rows:
        raise SystemExit(f"{name}: {result['checked']} of {rows} passwords came back after {phase}.")
    started, began, swept, ended = (result[mark] for mark in ("started", "began", "swept", "ended"))
    during = _held(writes, began, swept)
    return Measured(
        seconds=swept - began,
        cpu_us_per_row=result["cpu"] / rows * 1e6,
        whole_seconds=ended - started,
        rows_per_second=rows / (swept - began),
        whole_rows_per_second=rows / (ended - started),
        peak_mib=result["peak_kib"] / 1024,
        stall_ms=during[-1] * 1e3,
        stall_p99_ms=during[int(len(during) * 0.99)] * 1e3,
        whole_stall_ms=_held(writes, started, ended)[-1] * 1e3,
        load=load,
    )


def _held(writes: list[tuple[float, float]], since: float, until: float) -> list[float]:
    """How long each transaction of the other writer took that was under way then; the longest last."""
    return sorted(length for at, length in writes if at + length > since and at < until) or [0.0]


_PYTHON = [sys.executable, "-m", "bench._run"]


def _command(name: str, phase: str, directory: Path, rows: int) -> list[str]:
    return [*_PYTHON, name, phase, str(directory), str(rows)]


def _child(command: list[str]) -> subprocess.Popen[str]:
    child = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    if child.stdout.readline() != "ready\n":
        child.kill()
        raise SystemExit(f"{' '.join(command[3:5])} did not start.")
    return child


def _told(child: subprocess.Popen[str]) -> str:
    """Let the child go on, and return what it prints."""
    output, _ = child.communicate("\n")
    if child.returncode:
        raise SystemExit("A part of the benchmark failed; the lines above say why.")
    return output


def _report(found: dict[str, dict[str, list[Measured]]], options: argparse.Namespace) -> None:
    medians = {
        phase: {name: median(runs) for name, runs in programs.items()} for phase, programs in found.items()
    }
    for phase, programs in medians.items():
        print(f"\n{phase}: {options.rows:,} rows, medians of {options.rounds} rounds\n")
        _table(programs)
    write(options.results, {"rows": options.rows, "runs": found, "medians": medians})


def _table(programs: dict[str, Measured]) -> None:
    own = programs.get("Mailkeep")
    columns: dict[str, Callable[[Measured], str]] = {
        "rows/s": lambda m: f"{m.rows_per_second:,.0f}",
        "Mailkeep is": lambda m: f"{own.rows_per_second / m.rows_per_second:.2f}×" if own else "",
        "CPU µs/row": lambda m: f"{m.cpu_us_per_row:.1f}",
        "peak MiB": lambda m: f"{m.peak_mib:.0f}",
        "stall ms": lambda m: f"{m.stall_ms:.1f}",
        "p99 ms": lambda m: f"{m.stall_p99_ms:.1f}",
        "whole: s": lambda m: f"{m.whole_seconds:.2f}",
        "stall ms ": lambda m: f"{m.whole_stall_ms:.1f}",
    }
    print(f"  {'':22}" + "".join(f"{head:>12}" for head in columns))
    for name, measured in programs.items():
        cells = [column(measured) for column in columns.values()]
        if name == NOBODY:  # only what it holds up is of interest
            cells[:3] = ["", "", ""]
        print(f"  {name:22}" + "".join(f"{cell:>12}" for cell in cells))
