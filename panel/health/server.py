"""Checks of the machine: database, files, disk, clock, and the proxy in front of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from panel import db
from panel.health.check import Check, Install
from panel.models import (
    TABLES,
    AlertChannels,
    Encryption,
    Heartbeat,
    InstallCopy,
    Person,
    Session,
    SetupState,
    SweepReport,
)
from panel.models.moment import SLACK, furthest
from panel.times import ago, exact
from panel.vault.files import typed
from panel.wording import counted, few

LEAST_DISK = 200 * 2**20  # bytes free: a sweep rewrites the database, and mail arrives
LEAST_FILES = 10_000  # that the disk can still hold: each message is one
MOST_FILES = 200  # of the data directory itself, not of the mail below it
CLOCK_SECONDS = SLACK  # that the clock may be behind a stored time
DAY = 24 * 3600
# Tables of few rows, however large the install is.
SMALL = (Encryption, Person, Session, SetupState, Heartbeat, SweepReport, AlertChannels, InstallCopy)


def database(install: Install) -> Iterator[Check]:
    """Whether the database answers; with `deep`, whether every page of it is intact."""
    if not install.deep:
        yield Check("database", True, "The database is reachable.")
        return
    (message,) = db.database.execute_sql("PRAGMA quick_check").fetchone()
    if message == "ok" and install.key.row.altered:
        message = f"The database is intact, but its schema was changed: {few(install.key.row.altered)}."
        remedy = "Remove the changes: see docs/encryption.md, 'A changed schema'."
        yield Check("database", False, message, remedy)
    elif message == "ok":
        yield Check("database", True, "The database is intact, and its schema is unchanged.")
    else:
        remedy = "Stop Mailkeep and restore the database from a backup."
        yield Check("database", False, f"The database is damaged: {message}.", remedy)


def files(install: Install) -> Iterator[Check]:
    """Whether only Mailkeep can read its files: modes and owners of data directory, its files, and spool."""
    data_dir, spool = install.settings.data_dir, install.settings.mail_spool
    group = install.settings.mail_group
    found = sorted(path for path in data_dir.iterdir() if not path.is_dir() and path.name != ".gitignore")
    wrong = [path for path in [data_dir, *found[:MOST_FILES]] if _is_open_to_others(path, data_dir)]
    if wrong:
        message = f"Other users can read or own private files: {few([path.name for path in wrong])}."
        owner, where = install.vault.keystore.owner, typed(data_dir)
        yield Check("file modes", False, message, f"Run: chown -R {owner} {where} && chmod -R go= {where}")
    elif spool.is_dir() and spool.stat().st_mode & (0o007 if group else 0o077):
        message = f"Other users can read the collected mail in {spool}."
        yield Check("file modes", False, message, f"Run: chmod {'o=' if group else 'go='} {typed(spool)}")
    else:
        some = (
            "its files" if len(found) <= MOST_FILES else f"the first {MOST_FILES} of its {len(found)} files"
        )
        examined = f"{some} and the mail spool" if spool.is_dir() else some
        yield Check("file modes", True, f"The data directory and {examined} are private.")


def _is_open_to_others(path: Path, data_dir: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False  # a temporary file
    return bool(stat.S_IMODE(found.st_mode) & 0o077) or found.st_uid != data_dir.stat().st_uid


def disk(install: Install) -> Iterator[Check]:
    """Free space on every disk that is written to, in bytes and in files."""
    for names, place in _disks(install).values():
        found = os.statvfs(place)
        free, files = found.f_bavail * found.f_frsize, found.f_favail if found.f_files else LEAST_FILES
        message = f"The disk of {names} has {free / 2**30:.1f} GiB free."
        if files < LEAST_FILES:
            message = f"The disk of {names} can hold only {files} more files."
        if free >= LEAST_DISK and files >= LEAST_FILES:
            yield Check("disk", True, message)
        else:
            agent_message = "The server's disk is almost full."
            yield Check("disk", False, message, f"Free up space in {place}.", agent_message=agent_message)


def _disks(install: Install) -> dict[int, tuple[str, Path]]:
    """The distinct disks, each with what is stored on it and a directory of it."""
    settings = install.settings
    places = {
        "the data directory": settings.data_dir,
        "the mail spool": settings.mail_spool,
        "the database": Path(settings.database_url.removeprefix("sqlite:///")).parent,
        "the queue": Path(settings.queue_url.removeprefix("sqlite:///")).parent,
    }
    disks: dict[int, tuple[str, Path]] = {}
    for name, place in places.items():
        if place.exists():
            disks.setdefault(place.stat().st_dev, (name, place))
    return disks


def clock(install: Install) -> Iterator[Check]:
    """The wall clock against the latest stored time, and against the clock that nobody can set.

    The first shows a clock that was set back, also over a restart; the second every jump between two
    heartbeats of the worker (`heartbeat.beat`).
    """
    now, zone = db.now(), install.settings.timezone
    newest, column = furthest(TABLES, () if install.deep else SMALL)
    jumped_at, jumped_by = install.heartbeat.jumped_at, install.heartbeat.jumped_by or 0
    remedy = "Set the clock and keep it synchronised: timedatectl set-ntp true."
    if newest - now > CLOCK_SECONDS:
        later = f"{exact(newest, zone)} ({column})"
        message = f"The clock shows {exact(now, zone)}, but a stored time is later: {later}."
        remedy += " If it is right now, it was wrong then: this problem ends when the stored time is reached."
        yield Check("clock", False, message, remedy)
    elif jumped_at is not None and abs(now - jumped_at) < DAY:
        way = "forward" if jumped_by > 0 else "back"
        message = f"The clock jumped {way} by {counted(abs(jumped_by), 'second')} {ago(jumped_at)}."
        yield Check("clock", False, message, remedy + " This problem ends after a day without another jump.")
    else:
        shown = f"{datetime.fromtimestamp(now, zone):%Y-%m-%d %H:%M %Z}"  # seconds would change each page
        yield Check("clock", True, f"The clock shows {shown}; no stored time is later.")


def proxy(install: Install) -> Iterator[Check]:
    """Whether requests come through a proxy that PANEL_TRUSTED_PROXIES does not count."""
    trusted, at = install.settings.trusted_proxies, install.heartbeat.forwarded_at
    if trusted:
        proxies = "1 proxy is trusted" if trusted == 1 else f"{trusted} proxies are trusted"
        yield Check("proxy", True, f"{proxies} (PANEL_TRUSTED_PROXIES).")
    elif at is not None and abs(db.now() - at) < DAY:
        message = (
            f"Requests carry proxy headers ({install.heartbeat.forwarded}, {ago(at)}), but no proxy is "
            "trusted. Every visitor appears under the proxy's address, and HTTPS is not recognised."
        )
        remedy = "Set PANEL_TRUSTED_PROXIES to the number of proxies in front (usually 1), and PANEL_URL."
        yield Check("proxy", False, message, remedy)
    else:
        yield Check("proxy", True, "No request in the last 24 hours carried proxy headers.")
