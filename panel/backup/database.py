"""What is in one database that was found: whose it is, which passwords, under which keys."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from panel.crypto.keyfile import KEY_ID_BYTES, KeyFile, fingerprint
from panel.encryption.leftovers.scan import SEARCHED, worth_searching
from panel.encryption.leftovers.search import Searcher
from panel.models import SECRET_ROWS, Endpoint, SecretRow, schema
from panel.models.secret_fields import as_bytes
from panel.vault import foreign

OURS = {"account", "encryption", "endpoint"}
NAMES = {"address", "username", "host", "name", "client_id", "issuer", "signs_in_as", "subject"}  # columns
MARKED = "SELECT backup_made_at FROM this_copy WHERE id = 1"
STORED = "SELECT {0}.*, {1} FROM {0} {2} WHERE {0}.clear IS NOT NULL OR {0}.sealed IS NOT NULL"
OF_ACCOUNT = (
    "account.address AS account_address",
    "LEFT JOIN account ON account.uuid = endpoint.account_id",
)


@dataclass(frozen=True)
class FoundDatabase:
    name: str
    intact: bool
    integrity: str  # what PRAGMA integrity_check returned
    instance: str | None = None  # hexadecimal; None: not exactly one
    made_at: int | None = None  # None: it was not made by flask backup create
    mailboxes: int = 0
    sealed: int = 0  # records, of which `others` are no passwords
    others: int = 0
    clear: Sequence[str] = ()  # addresses, one for each password in clear text
    planted: int = 0  # values in clear text where none may be
    keys: Mapping[str, int] = field(default_factory=dict)  # fingerprint, records under it
    opened: int = 0  # records that the key file of this server opens
    left_over: int = 0  # of these, how many stand in clear text in the file all the same, in unused pages
    live: bool = False  # the running server's own
    altered: Sequence[str] = ()  # what of its schema is not as Mailkeep makes it


def read(path: Path, name: str, key: KeyFile | None, *, live: bool, logged: bool) -> FoundDatabase | None:
    """What the database at `path` holds; None where it is none of ours.

    It is never written to. `live`: others have it open, so their locks are respected; the caller
    is a process that has it open nowhere else. `logged`: a write-ahead log lies beside it.
    """
    how = "mode=ro" if live or logged else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True)) as opened:
            opened.execute("PRAGMA trusted_schema = off")
            opened.text_factory = lambda raw: raw.decode("utf-8", "replace")
            entries = opened.execute(schema.ENTRIES).fetchall()
            tables = {row[1] for row in entries if row[0] in ("table", "view")}
            if not tables >= OURS:
                return None
            found = _facts(opened, name, tables)
            found, secrets = _stored(opened, found, key, tables)
            found = replace(found, live=live, altered=_altered(opened, entries, tables))
    except sqlite3.Error as error:
        return FoundDatabase(name, False, str(error), live=live)
    with path.open("rb") as file:  # nobody in this process has it open any more
        return replace(found, left_over=len(Searcher(secrets).secrets_in(file)))


def _altered(opened: sqlite3.Connection, entries: list[Any], tables: set[str]) -> tuple[str, ...]:
    if "schema_migration" not in tables:
        return ("table schema_migration is missing",)
    return schema.altered_in(entries, (row[0] for row in opened.execute("SELECT name FROM schema_migration")))


def _facts(opened: sqlite3.Connection, name: str, tables: set[str]) -> FoundDatabase:
    integrity = str(opened.execute("PRAGMA integrity_check(1)").fetchone()[0])
    ids = [as_bytes(row[0]) for row in opened.execute("SELECT instance_id FROM encryption LIMIT 2")]
    made = opened.execute(MARKED).fetchone() if "this_copy" in tables else None
    return FoundDatabase(
        name=name,
        intact=integrity == "ok",
        integrity=integrity,
        instance=ids[0].hex() if len(ids) == 1 else None,
        made_at=made[0] if made and isinstance(made[0], int) else None,
        mailboxes=int(opened.execute("SELECT count(*) FROM account").fetchone()[0]),
    )


def _stored(
    opened: sqlite3.Connection, found: FoundDatabase, key: KeyFile | None, tables: set[str]
) -> tuple[FoundDatabase, list[str]]:
    """`found` with what it says of secrets, and those of them that are worth searching for."""
    clear: list[str] = []
    keys: Counter[str] = Counter()
    secrets: list[str] = []
    names: set[str] = set()
    others = planted = count = 0
    for model, row in _rows(opened, tables):
        names |= {str(row[name]) for name in NAMES & row.keys()}
        is_password = row["kind"] == model.CLEAR_KIND
        if row["clear"] is not None:
            clear += [str(row["account_address"])] if is_password else []
            planted += not is_password
            continue
        record = as_bytes(row["sealed"])
        keys[fingerprint(record[2 : 2 + KEY_ID_BYTES])] += 1
        others += not is_password
        belongs = row["account_address"] in (None, row.get("address"))
        if key and found.instance and belongs:
            secret = foreign.opened(model, row, record, bytes.fromhex(found.instance), key)
            count += secret is not None
            secrets += [secret.reveal()] if secret and row["kind"] in SEARCHED else []
    found = replace(
        found, sealed=keys.total(), others=others, clear=clear, planted=planted, keys=dict(keys), opened=count
    )
    return found, [secrets[number] for number in worth_searching(secrets, names)]


def _rows(opened: sqlite3.Connection, tables: set[str]) -> Iterator[tuple[type[SecretRow], dict[str, Any]]]:
    """Every row of every table of secrets that there is: an older Mailkeep had fewer."""
    for model in SECRET_ROWS:
        table = model._meta.table_name
        address, join = OF_ACCOUNT if model is Endpoint else ("NULL AS account_address", "")
        query = opened.execute(STORED.format(table, address, join)) if table in tables else ()
        names = [column[0] for column in getattr(query, "description", ())]
        for row in query:
            yield model, dict(zip(names, row, strict=True))
