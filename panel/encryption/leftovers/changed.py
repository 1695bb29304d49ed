"""Which mailbox passwords were changed since encryption was turned on: old backups hold the others.

It goes by when a person last entered each; for people only, nothing is decided by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from peewee import SQL

from panel import db
from panel.listing import ROWS, Listing, ListQuery
from panel.models import Account, Endpoint
from panel.models.endpoint import PASSWORD
from panel.models.prepared import Prepared, given


@dataclass(frozen=True)
class ChecklistEntry:
    """The password of one server of an account. `changed_at` is None where old backups still hold it."""

    account: str
    address: str
    direction: str  # in, out
    changed_at: int | None
    added: bool  # the account itself came later: its password never stood in clear text


class StoredPassword(NamedTuple):
    uuid: str
    address: str
    created_at: object
    direction: str
    secret_set_at: object


@dataclass(frozen=True)
class Checklist:
    """The stored passwords, the unchanged ones apart: how many there are, and the first ones by name."""

    unchanged: tuple[ChecklistEntry, ...] = ()
    changed: tuple[ChecklistEntry, ...] = ()
    unchanged_count: int = 0
    changed_count: int = 0

    @property
    def total(self) -> int:
        return self.unchanged_count + self.changed_count


def since(at: int | None, most: int = 10**9) -> Checklist:
    """The checklist for encryption that was turned on at `at`; empty where it is not on.

    It names `most` of each kind, by address. What was entered in that very second may have been stored
    just before: it counts as unchanged.
    """
    if at is None:
        return Checklist()
    total, changed = db.database.execute_sql(COUNTED, {"at": at}).fetchone()
    return Checklist(_named(UNCHANGED, at, most), _named(CHANGED, at, most), total - changed, changed)


def counts(at: int | None) -> tuple[int, int]:
    """How many passwords there are, and how many of them were changed since `at`; none where it is not on."""
    if at is None:
        return 0, 0
    total, changed = db.database.execute_sql(COUNTED, {"at": at}).fetchone()
    return total, changed


def listed(at: int, query: ListQuery) -> Listing[ChecklistEntry]:
    """One page of them: the longest ago entered first. A state is `unchanged` or `changed`."""
    total, changed = counts(at)
    found = {"": total, "unchanged": total - changed, "changed": changed}
    part = query.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    values = {"at": at, "state": query.state, "q": f"%{part}%", "most": ROWS, "skipped": query.skipped}
    rows = db.database.execute_sql(PAGE, values).fetchall()
    matching = found[query.state]
    if query.q:  # where the page is not full, it is the last one
        matching = query.skipped + len(rows)
        if len(rows) == ROWS or (not rows and query.skipped):
            [(matching,)] = db.database.execute_sql(f"SELECT count(*) FROM ({LISTED})", values).fetchall()  # noqa: S608
    return Listing([_mailbox(StoredPassword(*row), at) for row in rows], matching, query, found)


def _named(which: Prepared, at: int, most: int) -> tuple[ChecklistEntry, ...]:
    rows = which.all(at=at, most=most)
    return tuple(sorted((_mailbox(row, at) for row in rows), key=lambda box: (box.address, box.direction)))


def _mailbox(row: Any, at: int) -> ChecklistEntry:
    entered = row.secret_set_at
    changed = isinstance(entered, int) and entered > at
    added = isinstance(row.created_at, int) and row.created_at > at
    return ChecklistEntry(row.uuid, row.address, row.direction, entered if changed else None, added)


def _select(*ranges: Any) -> Any:
    """The first servers of each range of an index, one after the other."""
    first: Any
    first, *others = (Endpoint.select(Endpoint.id).where(each) for each in ranges)
    for other in others:
        first = first.union_all(other)
    columns = Account.uuid, Account.address, Account.created_at, Endpoint.direction, Endpoint.secret_set_at
    named = Endpoint.id.in_(first.limit(given("most"))) & (Endpoint.kind == PASSWORD)
    return Endpoint.select(*columns).join(Account).where(named)


def _unchanged() -> Any:
    entered, stored = Endpoint.secret_set_at, Endpoint.clear.is_null(False) | Endpoint.sealed.is_null(False)
    return _select(stored & entered.is_null(), entered <= given("at"), entered >= TEXT)


TEXT = SQL("''")  # the smallest text, which is larger than every number: SQL may have put one there
CHANGED = Prepared(lambda: _select((Endpoint.secret_set_at > given("at")) & (Endpoint.secret_set_at < TEXT)))
UNCHANGED = Prepared(_unchanged)
# Both times without the mailboxes that have no password of their own: an index holds those alone.
COUNTED = """
SELECT (SELECT count(*) FROM endpoint) - (SELECT count(*) FROM endpoint WHERE kind <> 'password')
    - (SELECT count(*) FROM endpoint
       WHERE sealed IS NULL AND clear IS NULL AND +secret_set_at IS NULL AND kind = 'password'),
  (SELECT count(*) FROM endpoint WHERE secret_set_at > :at AND secret_set_at < '')
    - (SELECT count(*) FROM endpoint
       WHERE kind <> 'password' AND +secret_set_at > :at AND +secret_set_at < '')
"""
# By the index of the time: neither sorting nor joining depends on how many there are.
LISTED = """
SELECT id FROM endpoint
WHERE (secret_set_at IS NOT NULL OR sealed IS NOT NULL OR clear IS NOT NULL)
  AND kind = 'password'
  AND (:state = '' OR (:state = 'changed') = coalesce(secret_set_at > :at AND secret_set_at < '', 0))
  AND (:q = '%%' OR address LIKE :q ESCAPE '\\')
ORDER BY secret_set_at, id
"""
PAGE = f"""
SELECT a.uuid, CAST(a.address AS TEXT), a.created_at, e.direction, e.secret_set_at
FROM ({LISTED} LIMIT :most OFFSET :skipped) page
JOIN endpoint e USING (id) JOIN account a ON a.uuid = e.account_id AND a.removed_at IS NULL
ORDER BY e.secret_set_at, e.id
"""  # noqa: S608 - text of ours
