"""Looking at the processes of a running server."""

from __future__ import annotations

from pathlib import Path

from tests.running import PanelServer


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
    """The process id of the server's `web` or `worker`."""
    for pid in children(server.pid):
        if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    raise AssertionError(f"no {name} process:\n{server.log}")


def alive(pid: int) -> bool:
    """Whether `pid` runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
