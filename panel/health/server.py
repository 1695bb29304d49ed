"""Checks of the machine: database, files, disk, clock, and the proxy in front."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
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

LEAST_DISK = 200 * 2**20  # bytes free: a sweep rewrites the database, mail needs room
LEAST_FILES = 10_000  # that the disk can still hold: each message is one
FILES_LOOKED_AT = 200  # of the data directory itself, not of the mail below it
NAMED = 5  # of what was changed in the schema
CLOCK_SECONDS = SLACK  # that the clock may be behind what was written
DAY = 24 * 3600
# Tables that hold a few rows, however large the install is.
SMALL = (Encryption, Person, Session, SetupState, Heartbeat, SweepReport, AlertChannels, InstallCopy)


def database(install: Install) -> Iterator[Check]:
    """Whether the database answers; with `deep`, whether every page of it is intact."""
    if not install.deep:
        yield Check("database", True, "The database answers.")
        return
    (message,) = db.database.execute_sql("PRAGMA quick_check").fetchone()
    if message == "ok" and install.key.row.altered:
        named = ", ".join(install.key.row.altered[:NAMED])
        remedy = "Remove what was planted: see docs/encryption.md, 'A changed schema'."
        yield Check(
            "database", False, f"The database is intact, but not of this version's schema: {named}.", remedy
        )
    elif message == "ok":
        yield Check("database", True, "The database is intact and of this version's schema.")
    else:
        remedy = "Stop Mailkeep and restore it from a backup."
        yield Check("database", False, f"The database is damaged: {message}.", remedy)


def files(install: Install) -> Iterator[Check]:
    """Whether what is private is: modes and owners of the data directory, of its files and of the spool."""
    data_dir, spool, group = (
        install.settings.data_dir,
        install.settings.mail_spool,
        install.settings.mail_group,
    )
    wrong = [path for path in _private_files(data_dir) if _is_open_to_others(path, data_dir)]
    if wrong:
        names = ", ".join(path.name for path in wrong[:5])
        message = f"Other users can read or own what should be private: {names}."
        owner, where = install.vault.keystore.owner, typed(data_dir)
        yield Check("file modes", False, message, f"Type: chown -R {owner} {where} && chmod -R go= {where}")
    elif spool.is_dir() and spool.stat().st_mode & (0o007 if group else 0o077):
        message = f"Other users can get at the collected mail in {spool}."
        yield Check("file modes", False, message, f"Type: chmod {'o=' if group else 'go='} {typed(spool)}")
    else:
        yield Check("file modes", True, f"{_looked_at(data_dir, spool)} are private.")


def _looked_at(data_dir: Path, spool: Path) -> str:
    """What `files` looks at, for a sentence."""
    count = len(_files(data_dir))
    files = "its files" if count <= FILES_LOOKED_AT else f"the first {FILES_LOOKED_AT} of its {count} files"
    return (
        f"The data directory, {files} and the mail spool"
        if spool.is_dir()
        else f"The data directory and {files}"
    )


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if not path.is_dir() and path.name != ".gitignore")


def _private_files(directory: Path) -> list[Path]:
    return [directory, *_files(directory)[:FILES_LOOKED_AT]]


def _is_open_to_others(path: Path, data_dir: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False  # a temporary file, gone meanwhile
    return bool(stat.S_IMODE(found.st_mode) & 0o077) or found.st_uid != data_dir.stat().st_uid


def disk(install: Install) -> Iterator[Check]:
    """Room on every disk that is written to, in bytes and in files."""
    for names, place in _disks(install).values():
        found = os.statvfs(place)
        free, files = found.f_bavail * found.f_frsize, found.f_favail if found.f_files else LEAST_FILES
        message = f"{free / 2**30:.1f} GiB are free on the disk of {names}."
        if files < LEAST_FILES:
            message = f"The disk of {names} can hold only {files} more files."
        ok = free >= LEAST_DISK and files >= LEAST_FILES
        told = "" if ok else "The server's disk is nearly full."
        yield Check("disk", ok, message, "" if ok else f"Make room there: {place}", told=told)


def _disks(install: Install) -> dict[int, tuple[str, Path]]:
    """The distinct disks, each with what lies on it and a directory of it."""
    urls = install.settings.database_url, install.settings.queue_url
    databases = [Path(url.removeprefix("sqlite:///")).parent for url in urls]
    places = [
        ("the data directory", install.settings.data_dir),
        ("the mail spool", install.settings.mail_spool),
    ]
    places += [("the database", databases[0]), ("the queue", databases[1])]
    disks: dict[int, tuple[str, Path]] = {}
    for name, place in places:
        if place.exists():
            disks.setdefault(place.stat().st_dev, (name, place))
    return disks


def clock(install: Install) -> Iterator[Check]:
    """The wall clock against the newest moment written down, and against the clock that nobody can set.

    The first tells of a clock that was set back, also over a restart; the second of every jump
    between two beats of the worker (`heartbeat.beat`).
    """
    now, zone = db.now(), install.settings.timezone
    newest, column = furthest(TABLES, () if install.deep else SMALL)
    jumped_at, jumped_by = install.heartbeat.jumped_at, install.heartbeat.jumped_by
    remedy = "Set the clock right and keep it so: timedatectl set-ntp true."
    if newest - now > CLOCK_SECONDS:
        message = (
            f"The clock shows {exact(now, zone)}, but something was written at {exact(newest, zone)} "
            f"({column}). Mailkeep goes on as if no such time was stored."
        )
        wrong_then = " If it is right, it was wrong then, and this ends when that moment is reached."
        yield Check("clock", False, message, remedy + wrong_then)
    elif jumped_at is not None and abs(now - jumped_at) < DAY:
        way = "forward" if (jumped_by or 0) > 0 else "back"
        message = f"The clock was moved {way} by {abs(jumped_by or 0)} seconds {ago(jumped_at)}."
        yield Check("clock", False, message, remedy + " This ends after a day without another jump.")
    else:
        yield Check("clock", True, f"The clock shows {exact(now, zone)}; nothing contradicts it.")


def proxy(install: Install) -> Iterator[Check]:
    """Whether requests came through a proxy that nobody told us of: all seem to come from it then."""
    trusted, at = install.settings.trusted_proxies, install.heartbeat.forwarded_at
    if trusted:
        proxies = "1 proxy is" if trusted == 1 else f"{trusted} proxies are"
        yield Check("proxy", True, f"{proxies} trusted to say where requests come from.")
    elif at is not None and abs(db.now() - at) < DAY:
        message = (
            "Requests carry the headers of a proxy, but none is trusted: "
            f"{install.heartbeat.forwarded}, {ago(at)}. "
            "People are known by the proxy's address, and HTTPS is not seen."
        )
        remedy = "Set PANEL_TRUSTED_PROXIES to the number of proxies in front (most often 1), and PANEL_URL."
        yield Check("proxy", False, message, remedy)
    else:
        yield Check("proxy", True, "No request of the last 24 hours carried the headers of a proxy.")
