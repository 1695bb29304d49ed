"""The programs that `bench.sweep` compares: the same rows, each in a database and a process of its own.

A program knows how to `seed` rows in clear, to `open` what it works with (not
measured), to `enable` and to `rotate`. Journal and sync are the same for all: WAL, FULL.
The peers re-encrypt as their own commands or manuals do, in the quickest form that they offer.
"""

from __future__ import annotations

import importlib
import json
import sqlite3
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

# Nothing of the panel is imported: children would be measured with what their parent needs.
ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench/results"
T = TypeVar("T")
PRAGMAS = ("journal_mode = wal", "synchronous = full", "secure_delete = on", "busy_timeout = 60000")
OLD, NEW = "an old key of the benchmark", "a new key of the benchmark"


# name: module and class, and the package that must be installed for it
NOBODY = "nobody"
PROGRAMS = {
    NOBODY: ("bench._programs", "Nobody", "sqlite3"),
    "Mailkeep": ("bench._mailkeep", "Mailkeep", "peewee"),
    "bare UPDATE": ("bench._programs", "BareUpdate", "sqlite3"),
    "SQLAlchemy ORM, CBC": ("bench._sqlalchemy", "Orm", "sqlalchemy_utils"),
    "SQLAlchemy Core, CBC": ("bench._sqlalchemy", "Cbc", "sqlalchemy_utils"),
    "SQLAlchemy Core, GCM": ("bench._sqlalchemy", "Gcm", "sqlalchemy_utils"),
    "Airflow's way": ("bench._sqlalchemy", "Airflow", "sqlalchemy_utils"),
    "Django fernet fields": ("bench._django", "Django", "encrypted_fields"),
}


def installed(name: str) -> bool:
    return find_spec(PROGRAMS[name][2]) is not None


def chosen(names: str, installed: Callable[[str], bool]) -> list[str]:
    """Those of the `names`, with | between, that are installed."""
    found = []
    for name in names.split("|"):
        if installed(name):
            found.append(name)
        else:
            print(f"{name} is left out: its packages are not installed. script/bench installs them.")
    return found


def median(runs: list[T]) -> T:
    """A dataclass of numbers with the median of each."""
    figures = [vars(run) for run in runs]
    return type(runs[0])(**{name: statistics.median(each[name] for each in figures) for name in figures[0]})


def write(path: Path, found: Any) -> None:
    """Write results as JSON, and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, default=asdict, indent=1) + "\n", "utf-8")
    print(f"\nwritten to {path}")


def program(name: str, directory: Path) -> Program:
    module, kind, _ = PROGRAMS[name]
    made: Program = getattr(importlib.import_module(module), kind)(directory)
    return made


def passwords(rows: int) -> Iterator[tuple[int, str, str]]:
    """Number, user name and password of each row: 24 characters, the same for all programs."""
    for number in range(1, rows + 1):
        secret = uuid.uuid5(uuid.NAMESPACE_OID, str(number)).hex[:24]
        yield number, f"user{number}@example.org", secret


def mailboxes(rows: int) -> Iterator[dict[str, object]]:
    """The columns of each mailbox on a page of `bench.pages`; its record is as long as ours."""
    now = int(time.time())
    for _, name, _ in passwords(rows):
        yield {
            "address": name, "host": "imap.example.org", "port": 993, "security": "tls", "username": name,
            "is_encrypted": True, "last_success_at": now, "secret": bytes(146),
        }  # fmt: skip


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the settings that all share."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


class Program:
    """One way of encrypting a table of passwords, in the file `database`."""

    database: Path

    def seed(self, rows: int) -> None:
        """Make the database with that many passwords in clear."""
        raise NotImplementedError

    def open(self) -> None:
        """Connect; what is done here is not measured."""
        raise NotImplementedError

    def begin(self, phase: str) -> None:
        """What must go before enabling or rotating, measured apart."""

    def enable(self) -> None:
        """Encrypt every password."""
        raise NotImplementedError

    def rotate(self) -> None:
        """Encrypt every password under another key."""
        raise NotImplementedError

    def finish(self) -> None:
        """What belongs to it afterwards, measured apart."""

    def check(self) -> int:
        """How many passwords are encrypted now and come back as they were."""
        raise NotImplementedError


class Peer(Program):
    """A program on one plain table, with the columns that a mail account has. It leaves old values there."""

    def __init__(self, directory: Path) -> None:
        self.database = directory / "peer.db"

    def seed(self, rows: int) -> None:
        connection = connect(self.database)
        connection.execute(
            "CREATE TABLE account (id INTEGER PRIMARY KEY, address TEXT, host TEXT, port INTEGER,"
            " username TEXT, is_encrypted INTEGER NOT NULL DEFAULT 0, clear TEXT, secret TEXT)"
        )
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO account VALUES (?, ?, 'imap.example.org', 993, ?, 0, ?, NULL)",
            ((number, name, name, secret) for number, name, secret in passwords(rows)),
        )
        connection.execute("COMMIT")
        connection.close()


class Nobody(Peer):
    """Does nothing for a second: what the other writer waits for anyway, on this machine at this time."""

    def open(self) -> None:
        with connect(self.database) as connection:
            self.rows = int(connection.execute("SELECT count(*) FROM account").fetchone()[0])

    def enable(self) -> None:
        time.sleep(1)

    def rotate(self) -> None:
        time.sleep(1)

    def check(self) -> int:
        return self.rows


class BareUpdate(Peer):
    """No cryptography at all: one statement writes a constant over every row. Nothing can be quicker."""

    def open(self) -> None:
        self.connection = connect(self.database)

    def enable(self) -> None:
        self.connection.execute("UPDATE account SET clear = NULL, secret = ?", (bytes(146),))

    def rotate(self) -> None:
        self.connection.execute("UPDATE account SET clear = NULL, secret = ?", (bytes([1]) * 146,))

    def check(self) -> int:
        return int(self.connection.execute("SELECT count(*) FROM account WHERE clear IS NULL").fetchone()[0])
