"""What running processes note of themselves: the worker its beat, the web server the headers of a proxy."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import cast

from panel import db
from panel.models import Heartbeat

JUMP_SECONDS = 60  # the wall clock may run so far apart from the monotonic one between two beats
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = logging.getLogger(__name__)


def read() -> Heartbeat:
    """The row; an empty one where nothing was noted yet."""
    return Heartbeat.get_or_none(Heartbeat.id == 1) or Heartbeat()


def beat() -> None:
    """Note that the worker lives, and whether the wall clock was moved since its last beat.

    Measured against CLOCK_BOOTTIME, which runs on while the machine sleeps and which nobody can
    set. After a reboot there is nothing to compare with.
    """
    before = read()
    now, boot, uptime = db.now(), boot_id(), boot_seconds()
    values: dict[str, object] = {"beat_at": now, "boot": boot, "boot_seconds": uptime}
    if before.beat_at is not None and before.boot == boot:
        jump = (now - before.beat_at) - (uptime - (before.boot_seconds or 0))
        if abs(jump) > JUMP_SECONDS:
            log.warning("The clock of this machine was moved by %d seconds.", jump)
            values |= {"jumped_at": now, "jumped_by": jump}
    _note(**values)


def note_forwarded(headers: Collection[str], peer: str) -> None:
    """Note that a request from `peer` carried these headers, which only a proxy sets."""
    _note(forwarded_at=db.now(), forwarded=f"{', '.join(headers)} from {peer}")


def claim(what: str, every: int) -> bool:
    """Whether the work whose time is kept in the column `what` is due, for one caller alone.

    Due is what was not claimed in the last `every` seconds, or in a future that a wrong clock made.
    """
    column, now = getattr(Heartbeat, what), db.now()
    due = column.is_null() | (column <= now - every) | (column > now)
    _note()
    return cast(int, Heartbeat.update(**{what: now}).where(due).execute()) == 1


def is_due(what: str, every: int) -> bool:
    """The same question, asked without claiming."""
    at = getattr(read(), what)
    return at is None or not 0 <= db.now() - at < every


def boot_id() -> str:
    """Which boot of which machine this is; empty where the kernel does not tell."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def boot_seconds() -> int:
    """Seconds since the machine was started, sleep included."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


def _note(**values: object) -> None:
    query = Heartbeat.insert(id=1, **values)
    if values:
        query.on_conflict(conflict_target=[Heartbeat.id], update=values).execute()
    else:
        query.on_conflict_ignore().execute()
