"""How many secrets are stored in which way, and which of them are known not to open.

All of it is found by index: only counting rows grows with the mailboxes, half a millisecond for 100,000.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from peewee import fn

from panel import db
from panel.crypto.keyfile import KEY_ID_BYTES, KeyFile
from panel.models import SECRET_ROWS, Consent
from panel.models.secret_fields import as_bytes
from panel.vault import owners, rows
from panel.vault.owners import Failure
from panel.vault.state import RecordFacts

UNKNOWN_KEY = "It was encrypted under a key that is not in the key file."
KEY_ID = f"substr(sealed, 3, {KEY_ID_BYTES})"
# Of each table: records, passwords in clear text, rows that may be failures, and records of no password.
# What was planted in clear text has an index of its own, which hardly ever holds anything.
TOTALS = """
SELECT '{0}', (SELECT count(*) FROM {0}) - (SELECT count(*) FROM {0} WHERE sealed IS NULL), {clear},
  (SELECT count(*) FROM {0} WHERE failed_rev IS NOT NULL)
    + (SELECT count(*) FROM {0} WHERE {planted}), {others}
"""
# Then the records of every key but `:key`.
UNDER = "SELECT {1}, count(*), 0, 0, 0 FROM {0} WHERE sealed IS NOT NULL AND {1} {2} GROUP BY 1"


def _totals(model: rows.Model) -> str:
    table, kind = model._meta.table_name, model.CLEAR_KIND
    if kind is None:
        return TOTALS.format(table, clear="0", planted="clear IS NOT NULL", others="NULL")
    planted = f"clear IS NOT NULL AND kind <> '{kind}'"
    in_clear = "(SELECT count(*) FROM {} WHERE clear IS NOT NULL) - (SELECT count(*) FROM {} WHERE {})"
    others = "(SELECT count(*) FROM {0} INDEXED BY {0}_other WHERE kind <> '{1}' AND (sealed IS NULL) = 0)"
    clear = in_clear.format(table, table, planted)
    return TOTALS.format(table, clear=clear, planted=planted, others=others.format(table, kind))


COUNTED = " UNION ALL ".join(
    (
        *map(_totals, SECRET_ROWS),
        *(
            UNDER.format(model._meta.table_name, KEY_ID, others)
            for model in SECRET_ROWS
            for others in ("< :key", "> :key", "IS NULL")
        ),
    )
)


def read(file: KeyFile | None) -> RecordFacts:
    """How the secrets are stored, and what is known to be wrong with `file` as the key file."""
    key = file.primary.id if file else b""
    found = db.database.execute_sql(COUNTED, {"key": key}).fetchall()
    tables, under = found[: len(SECRET_ROWS)], found[len(SECRET_ROWS) :]
    sealed = {table: count for table, count, *_ in tables}
    by_key: Counter[bytes] = Counter()
    for key_id, count, *_ in under:
        by_key[b"" if key_id is None else as_bytes(key_id)] += count
    by_key[key] = sum(sealed.values()) - by_key.total()
    facts = RecordFacts(
        clear=sum(clear for _, _, clear, *_ in tables),
        others=sum(count if others is None else others for _, count, _, _, others in tables),
        tokens=sealed[Consent._meta.table_name],
        sealed_by_key={key_id: count for key_id, count in by_key.items() if count},
    )
    # Hardly ever any: building the queries that name them takes longer than all the rest.
    unknown = facts.sealed_by_key.keys() - {each.id for each in file.keys} if file else ()
    odd = any(count for _, _, _, count, _ in tables)
    return replace(facts, failures=tuple(_failures(file))) if odd or unknown else facts


def _failures(file: KeyFile | None) -> Iterator[Failure]:
    """As far as is known; without a key file only what was planted in clear text."""
    for model in SECRET_ROWS:
        failed = rows.planted(model)
        if file is not None:
            known = (model.failed_rev == model.rev) & (model.failed_generation == file.generation)
            key_id = fn.substr(model.sealed, 3, KEY_ID_BYTES)  # NULL for an empty record
            unknown = key_id.is_null() | key_id.not_in([key.id for key in file.keys])
            failed = failed | (rows.stored(model) & known) | (model.sealed.is_null(False) & unknown)
        for row in owners.by_owner(model, failed):
            is_planted = row.clear is not None and not row.may_be_clear
            yield owners.failure(row, rows.PLANTED if is_planted else row.failure or UNKNOWN_KEY)


A_RECORD = "EXISTS (SELECT 1 FROM {} WHERE sealed IS NOT NULL)"
ANY_SEALED = "SELECT " + " OR ".join(A_RECORD.format(model._meta.table_name) for model in SECRET_ROWS)


def any_sealed() -> bool:
    """Whether at least one secret is stored sealed."""
    return bool(db.database.execute_sql(ANY_SEALED).fetchone()[0])


def any_under(key_ids: Iterable[bytes]) -> bool:
    """Whether at least one secret is sealed under one of these keys."""
    ids = list(key_ids)
    return any(
        model.select()
        .where(model.sealed.is_null(False) & fn.substr(model.sealed, 3, KEY_ID_BYTES).in_(ids))
        .exists()
        for model in SECRET_ROWS
    )
