"""What is in one database that was found: whose it is, which passwords, under which keys."""

from __future__ import annotations

import mmap
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from panel.crypto.keyfile import KeyFile, fingerprint
from panel.encryption.leftovers import search
from panel.models import schema
from panel.secret import Secret
from panel.vault import foreign

OURS = {"account", "encryption", "endpoint"}
MARKED = "SELECT backup_made_at FROM this_copy WHERE id = 1"


@dataclass(frozen=True)
class FoundDatabase:
    """One database of ours. `opened`: how many sealed passwords the key file of this server opens.

    `left_over`: how many of those stand in clear in the file all the same, in pages nobody uses any more.
    """

    name: str
    intact: bool
    says: str  # what PRAGMA integrity_check said
    instance: str | None = None  # hexadecimal; None: not exactly one
    made_at: int | None = None  # None: it was not made by flask backup create
    accounts: int = 0
    sealed: int = 0
    clear: tuple[str, ...] = ()  # addresses, one for each password in clear
    keys: tuple[tuple[str, int], ...] = ()  # fingerprint, passwords under it
    opened: int = 0
    left_over: int = 0
    live: bool = False  # the running server's own
    altered: tuple[str, ...] = ()  # what of its schema is not as Mailkeep makes it


def read(path: Path, name: str, key: KeyFile | None, *, live: bool = False) -> FoundDatabase | None:
    """What the database at `path` holds; None where it is none of ours.

    It is never written to. `live`: others have it open, so their locks are kept; the caller
    is a process that has it open nowhere else.
    """
    how = "mode=ro" if live else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True)) as found:
            found.execute("PRAGMA trusted_schema = off")
            found.text_factory = lambda raw: raw.decode("utf-8", "replace")
            entries = found.execute(schema.ENTRIES).fetchall()
            tables = {row[1] for row in entries if row[0] in ("table", "view")}
            if not tables >= OURS:
                return None
            altered = _altered(found, entries, tables)
            database, secrets = _facts(found, name, key, tables, live)
    except sqlite3.Error as error:
        return FoundDatabase(name, False, str(error), live=live)
    return _with_left_over(replace(database, altered=altered), path, secrets)


def _altered(found: sqlite3.Connection, entries: list[Any], tables: set[str]) -> tuple[str, ...]:
    if "schema_migration" not in tables:
        return ("table schema_migration is missing",)
    return schema.altered_in(entries, (row[0] for row in found.execute("SELECT name FROM schema_migration")))


def _facts(
    found: sqlite3.Connection, name: str, key: KeyFile | None, tables: set[str], live: bool
) -> tuple[FoundDatabase, list[Secret]]:
    says = str(found.execute("PRAGMA integrity_check(1)").fetchone()[0])
    ids = [bytes_of(row[0]) for row in found.execute("SELECT instance_id FROM encryption LIMIT 2")]
    instance = ids[0] if len(ids) == 1 else None
    made = found.execute(MARKED).fetchone() if "this_copy" in tables else None
    clear: list[str] = []
    keys: dict[str, int] = {}
    secrets, names = [], set()
    for row in _rows(found):
        names |= {str(row[name]).lower() for name in ("address", "username", "host")}
        if row["clear"] is not None:
            clear.append(str(row["account_address"]))
            continue
        record = bytes_of(row["sealed"])
        under = fingerprint(record[2:10])
        keys[under] = keys.get(under, 0) + 1
        belongs = row["account_address"] in (None, row.get("address"))
        secret = foreign.opened(row, record, instance, key) if key and instance and belongs else None
        if secret is not None:
            secrets.append(secret)
    return FoundDatabase(
        name=name,
        intact=says == "ok",
        says=says,
        instance=instance.hex() if instance else None,
        made_at=made[0] if made and isinstance(made[0], int) else None,
        accounts=int(found.execute("SELECT count(*) FROM account").fetchone()[0]),
        sealed=sum(keys.values()),
        clear=tuple(clear),
        keys=tuple(sorted(keys.items())),
        opened=len(secrets),
        live=live,
    ), [secret for secret in secrets if patterns.says_something(secret, names)]


def _rows(found: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    query = found.execute(
        "SELECT endpoint.*, account.address AS account_address FROM endpoint LEFT JOIN account"
        " ON account.uuid = endpoint.account_id"
        " WHERE endpoint.clear IS NOT NULL OR endpoint.sealed IS NOT NULL ORDER BY account.address"
    )
    names = [column[0] for column in query.description]
    for row in query:
        yield dict(zip(names, row, strict=True))


def _with_left_over(found: FoundDatabase, path: Path, secrets: list[Secret]) -> FoundDatabase:
    """Look for each of `secrets` in the bytes of the file, now that nobody here has it open."""
    if not secrets:
        return found
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        count = sum(_holds(data, secret) for secret in secrets)
    return FoundDatabase(**{**vars(found), "left_over": count})


def _holds(data: mmap.mmap, secret: Secret) -> bool:
    return any(data.find(form) >= 0 for form in patterns.of(secret))


def bytes_of(value: object) -> bytes:
    """A blob, whatever SQL put in its place."""
    return value if isinstance(value, bytes) else str(value).encode()
