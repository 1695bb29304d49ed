"""Bringing the database to this code's schema, and refusing one that is newer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playhouse.migrations import Runner

from panel.db import explained
from panel.errors import DatabaseError, NoInstall
from panel.models.encryption import Encryption
from panel.models.set_up import SetUp

MIGRATIONS = Path(__file__).with_name("migrations")


def _runner(database: Any) -> Runner:
    return Runner(database, str(MIGRATIONS))


def upgrade(database: Any) -> list[str]:
    """Apply what is pending and return its names. Call it under the install's lock.

    Raises DatabaseError where the database was written by a newer Mailkeep.
    """
    with explained():
        refuse_newer(database)
        applied: list[str] = _runner(database).up()
        with database.atomic():
            SetUp.insert(id=1).on_conflict_ignore().execute()
            if not Encryption.select().exists() and "0001_first" in applied:
                Encryption.begin()
    return applied


def check(database: Any) -> None:
    """Raise NoInstall, or DatabaseError where the schema is not that of this code."""
    with explained():
        refuse_newer(database)
        pending = [m.name for m in _runner(database).status() if not m.applied]
    if len(pending) == len(_runner(database).migrations()):
        raise NoInstall(
            "Mailkeep is not set up here yet.", "Start it once with script/server, or run: flask setup"
        )
    if pending:
        raise DatabaseError(
            "The database was written by an older Mailkeep.", "Start script/server once: it upgrades it."
        )


def refuse_newer(database: Any) -> None:
    """Raise DatabaseError where migrations were applied that this code does not have."""
    unknown = [m.name for m in _runner(database).status() if m.path is None]
    if unknown:
        raise DatabaseError(
            f"The database was written by a newer Mailkeep ({unknown[-1]} is not known here).",
            "Run that version or a newer one, or restore a database backup from before the upgrade.",
        )
