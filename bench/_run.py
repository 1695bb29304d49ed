"""Children of `bench.sweep`: one program in one phase, and the other writer whose waiting is measured.

python -m bench._run PROGRAM PHASE DIRECTORY [ROWS]
python -m bench._run writer DATABASE
"""

from __future__ import annotations

import json
import resource
import select
import sys
import time
from pathlib import Path

from bench._programs import connect, program

PAUSE = 0.002  # seconds between two writes of the other writer


def main(arguments: list[str]) -> None:
    """Say 'ready', wait for a line, do it, print what was measured as JSON."""
    if arguments[0] == "writer":
        return _write(Path(arguments[1]))
    name, phase, directory, rows = arguments
    working = program(name, Path(directory))
    if phase == "seed":
        working.seed(int(rows))
        return print(working.database)
    working.open()
    _wait()
    started = time.monotonic()
    working.begin(phase)
    began, cpu = time.monotonic(), time.process_time()
    getattr(working, phase)()
    swept, cpu = time.monotonic(), time.process_time() - cpu
    working.finish()
    ended = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    checked = working.check()
    marks = {"started": started, "began": began, "swept": swept, "ended": ended}
    print(json.dumps({**marks, "cpu": cpu, "peak_kib": peak, "checked": checked}))
    return None


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _write(database: Path) -> None:
    """Write one small row again and again until the line comes; each write's begin and length in seconds."""
    connection = connect(database)
    connection.execute("CREATE TABLE IF NOT EXISTS other_writer (id INTEGER PRIMARY KEY, written INTEGER)")
    connection.execute("INSERT OR REPLACE INTO other_writer VALUES (1, 0)")
    writes: list[tuple[float, float]] = []
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        began = time.monotonic()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE other_writer SET written = written + 1")
        connection.execute("COMMIT")
        writes.append((began, time.monotonic() - began))
    print(json.dumps(writes))


if __name__ == "__main__":
    main(sys.argv[1:])
