"""What running processes record of themselves: the worker its heartbeat, web processes proxy headers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import peewee

from panel import db
from panel.models import Heartbeat

SILENT_SECONDS = 90  # a heartbeat comes every five seconds, a check for alerts every ten
JUMP_SECONDS = 60  # the wall clock may drift so far from the monotonic one between two beats
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")
PROXY_SECONDS = 3600  # between two records of one process

log = logging.getLogger(__name__)


def read() -> Heartbeat:
    """The row; an empty one where nothing was recorded yet."""
    return Heartbeat.get_or_none(Heartbeat.id == 1) or Heartbeat()


def is_recent(at: int | None) -> bool:
    """Whether `at` is so close to now that whoever recorded it is running."""
    return at is not None and abs(db.now() - at) <= SILENT_SECONDS


def beat() -> None:
    """Record that the worker is alive, and whether the wall clock was set since its last beat.

    Measured against CLOCK_BOOTTIME, which runs on while the machine sleeps and which nobody can
    set. After a reboot there is nothing to compare with.
    """
    before = read()
    now, boot, uptime = db.now(), boot_id(), boot_seconds()
    values: dict[str, object] = {"beat_at": now, "boot": boot, "boot_seconds": uptime}
    if before.beat_at is not None and before.boot == boot:
        jump = (now - before.beat_at) - (uptime - (before.boot_seconds or 0))
        if abs(jump) > JUMP_SECONDS:
            log.warning("The clock of this server was moved by %d seconds.", jump)
            values |= {"jumped_at": now, "jumped_by": jump}
    _record(**values)


class ProxyWatch:
    """Records, for one web process, that a proxy is in front which PANEL_TRUSTED_PROXIES does not count."""

    def __init__(self) -> None:
        self._next = 0.0  # on the monotonic clock

    def see(self, names: Iterable[str], peer: str) -> None:
        """Record a request from `peer` whose headers have these names, once in `PROXY_SECONDS`.

        Anybody can send such headers; so the record names their sender, and nothing depends on it.
        """
        given = {name.lower() for name in names}
        found = [name for name in PROXY_HEADERS if name.lower() in given]
        if not found or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PROXY_SECONDS
        try:
            _record(forwarded_at=db.now(), forwarded=f"{', '.join(found)} from {peer}")
        except peewee.DatabaseError as error:
            log.warning("The proxy in front could not be recorded: %s.", type(error).__name__)


def claim(what: str, every: int) -> bool:
    """Whether the work whose time is in the column `what` is due; true for one of several callers.

    Due is what was not claimed in the last `every` seconds, or in a future that a wrong clock made.
    """
    column, now = getattr(Heartbeat, what), db.now()
    due = column.is_null() | (column <= now - every) | (column > now)
    _record()
    return cast(int, Heartbeat.update(**{what: now}).where(due).execute()) == 1


def is_due(what: str, every: int) -> bool:
    """The same question, without claiming."""
    at = getattr(read(), what)
    return at is None or not 0 <= db.now() - at < every


def boot_id() -> str:
    """The id of this boot of this machine; empty where the kernel has none."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def boot_seconds() -> int:
    """Seconds since the machine was started, sleep included."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


def _record(**values: object) -> None:
    query = Heartbeat.insert(id=1, **values)
    if values:
        query.on_conflict(conflict_target=[Heartbeat.id], update=values).execute()
    else:
        query.on_conflict_ignore().execute()
