"""Looking at the processes of a running server."""

from __future__ import annotations

from pathlib import Path

from tests.running import PanelServer, wait_until


def children(pid: int) -> list[int]:
    """The process ids of the direct children of `pid`."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def descendants(pid: int) -> list[int]:
    """The process ids of all that `pid` has started, directly or not."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def child(server: PanelServer, name: str) -> int:
    """The process id of the server's `web` or `worker`, which may just be starting."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [pid for pid in children(server.pid) if name in (*arguments(pid), command(pid))]
        return bool(found)

    wait_until(look, lambda: f"a {name} process:\n{server.log}")
    return found[0]


def arguments(pid: int) -> list[str]:
    """What `pid` was started with; nothing once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def command(pid: int) -> str:
    """The name of `pid`, which one that was forked gave itself (tests/forked_serve.py); "" once it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def state(pid: int) -> str:
    """R, S, T, Z … as in proc(5); "" once it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid: int) -> bool:
    """Whether `pid` runs (a zombie does not)."""
    return state(pid) not in ("", "Z")
