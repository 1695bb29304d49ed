"""The list of mailboxes: searched, by state, sorted, a page at a time.

What grows with the mailboxes is left to indexes and to `names`; what is not OK is read whole, since
it comes first. The page in the middle of 100,000 mailboxes costs SQLite a walk over half of an index.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from panel import db
from panel.accounts import names, overview, totals
from panel.accounts.overview import Health, Line
from panel.listing import ROWS, Listing, ListQuery
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault

SORTS = ("address", "server")
# In the order of the list: what needs a person comes first.
STATES = {
    "failing": (Health.FAILING, Health.NO_PASSWORD),
    "attention": (Health.CONSENT, Health.OVERDUE),
    "new": (Health.NEW,),
    "paused": (Health.PAUSED, Health.WAITS_FOR_KEY),
    "ok": (Health.OK,),
}
STATE_OF = {health: state for state, healths in STATES.items() for health in healths}
RANK = {state: rank for rank, state in enumerate(STATES)}
FEW = 500  # found mailboxes of which each one is assessed


class Apart(NamedTuple):
    """A mailbox that is not like most. `number` and `place` are its rows of account and endpoint."""

    number: int
    state: str
    address: str
    place: int = 0  # this and the server only where they are asked for
    host: str = ""


# Those that are paused or fail, and what the rest of those is that may not be OK.
PAUSED = (
    "SELECT a.rowid, 'paused', {} FROM account a {} WHERE a.paused_at IS NOT NULL AND a.removed_at IS NULL"
)
FAILING = (
    "SELECT a.rowid, 'failing', {} FROM collection c CROSS JOIN account a ON a.uuid = c.account_id {}"
    " WHERE c.problem IS NOT NULL AND c.problem <> '' AND a.paused_at IS NULL AND a.removed_at IS NULL"
)
SILENT = "SELECT number, health, {} FROM judged WHERE paused_at IS NULL"
SERVER = "CROSS JOIN endpoint e ON e.account_id = a.uuid AND e.direction = 'in'"
THESE = "SELECT account_id FROM endpoint WHERE id IN (SELECT value FROM json_each(:places))"
# The others: by an index, which holds nothing but what it is sorted by. `:skip` is counted among all rows of
# the index; then as many are passed over as were counted there in vain, for not being among the others.
BY = {
    "address": ("account", "address", "rowid", "removed_at IS NULL"),
    "server": ("endpoint", "host, address", "id", "direction = 'in'"),
}
OTHERS = """
WITH apart (number, first, second) AS MATERIALIZED (
  SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
  FROM json_each(:apart)),
start AS MATERIALIZED (
  SELECT {columns} FROM {table} WHERE {where} ORDER BY {order} LIMIT 1 OFFSET :skip)
SELECT {number} FROM {table}
WHERE {where} AND ({columns}) {from_} (SELECT {columns} FROM start)
  AND {number} NOT IN (SELECT number FROM apart)
ORDER BY {order} LIMIT :most OFFSET
  (SELECT count(*) FROM apart WHERE ({apart_columns}) {before} (SELECT {columns} FROM start))
"""
PLACES = (
    "SELECT endpoint.id FROM json_each(?) CROSS JOIN account ON account.rowid = value"
    " CROSS JOIN endpoint ON account_id = uuid AND direction = 'in' ORDER BY json_each.key"
)


def page(vault: Vault, query: ListQuery) -> Listing[Line]:
    """The mailboxes that match; a page beyond the last one is the last one."""
    found = _matches(vault, query)
    total = found.counts[query.state]
    query = replace(query, page=min(query.page, max(1, -(-total // ROWS))))
    here = found.places(query.skipped, min(ROWS, total - query.skipped))
    return Listing(overview.lines_of(found.key, here), total, query, found.counts)


def places(vault: Vault, query: ListQuery) -> list[int]:
    """All that match, whatever their page, as rows of endpoint."""
    found = _matches(vault, query)
    return found.places(0, found.counts[query.state])


def uuids(vault: Vault, query: ListQuery) -> list[str]:
    """The same as uuids."""
    return overview.uuids_of(places(vault, query))


def counts(vault: Vault, query: ListQuery) -> dict[str, int]:
    """How many mailboxes the search finds by state, "" for all of them."""
    return _matches(vault, query).counts


def _matches(vault: Vault, query: ListQuery) -> _Matches:
    return (_Searched if query.q else _All)(vault.latest(), query)


class _Matches:
    """Mailboxes in the order of the list: those that are not like most, then the others."""

    def __init__(self, key: Snapshot, query: ListQuery, apart: Iterable[Apart], size: int) -> None:
        self.key, self._query, self._size = key, query, size
        self._rest = STATE_OF[totals.UNLISTED[key.state.no_key]]
        self._apart = [each for each in apart if each.state != self._rest]
        found = Counter(each.state for each in self._apart)
        found[self._rest] += size - found.total()
        self.counts = {"": size} | {state: found[state] for state in STATES}

    def places(self, skip: int, most: int) -> list[int]:
        """Rows of endpoint: `most` of them after the first `skip`."""
        return self._numbers(skip, most)

    def _numbers(self, skip: int, most: int) -> list[int]:
        state, sort = self._query.state, self._query.sort
        if sort and not state:
            return self._others(skip, most, [])
        if state == self._rest:
            return self._others(skip, most, self._apart)
        first = sorted((each for each in self._apart if state in ("", each.state)), key=_order(sort))
        found = [self._number(each) for each in first[skip : skip + most]]
        if state == "" and len(found) < most:
            found += self._others(max(0, skip - len(first)), most - len(found), self._apart)
        return found

    def _number(self, each: Apart) -> int:
        return each.place

    def _others(self, skip: int, most: int, apart: Sequence[Apart]) -> list[int]:
        """`most` of those that are not `apart`, after the first `skip`."""
        raise NotImplementedError


class _All(_Matches):
    """Every mailbox. Numbers are rows of the table that is read in order."""

    def __init__(self, key: Snapshot, query: ListQuery) -> None:
        self._by_server = query.sort == "server"
        super().__init__(key, query, _apart(key, server=self._by_server), _size())

    def places(self, skip: int, most: int) -> list[int]:
        numbers = self._numbers(skip, most)
        if self._by_server or not numbers:
            return numbers
        return [place for (place,) in db.database.execute_sql(PLACES, (json.dumps(numbers),))]

    def _number(self, each: Apart) -> int:
        return each.place if self._by_server else each.number

    def _others(self, skip: int, most: int, apart: Sequence[Apart]) -> list[int]:
        if self._by_server:
            rows = [(each.place, each.host, each.address) for each in apart] + _removed()
        else:
            rows = [(each.number, each.address, "") for each in apart]
        size = self._size - len(apart)
        values = {"apart": json.dumps(rows), "skip": skip, "most": most}
        if backwards := 2 * skip > size:
            values |= {"skip": max(0, size - skip - most), "most": min(most, size - skip)}
        found = [row[0] for row in db.read(_others(self._query.sort, backwards), values)]
        return found[::-1] if backwards else found


class _Searched(_Matches):
    """The mailboxes whose address or server contains what is searched for."""

    def __init__(self, key: Snapshot, query: ListQuery) -> None:
        self._names = names.latest()
        self._lines = self._names.find(query.q)
        if len(self._lines) <= FEW:
            apart = _these(key, [self._names.places[line] for line in self._lines])
        else:
            every = _apart(key, server=True)
            apart = [each for each in every if names.matches(each.address, each.host, query.q)]
        super().__init__(key, query, apart, len(self._lines))

    def _others(self, skip: int, most: int, apart: Sequence[Apart]) -> list[int]:
        places, without = self._names.places, {each.place for each in apart}
        lines: Iterable[int] = self._lines
        if self._query.sort == "server":
            lines = sorted(lines, key=self._names.host)
        found = (places[line] for line in lines if places[line] not in without)
        return list(islice(found, skip, skip + most))


def _size() -> int:
    """How many mailboxes there are; one that SQL took the server from counts, though no list shows it."""
    return int(db.database.execute_sql(f"SELECT {totals.ACCOUNTS}").fetchone()[0])


def _apart(key: Snapshot, *, server: bool) -> list[Apart]:
    """All that are not like most; with `server`, also with their server, which takes as long again."""
    columns = "CAST(a.address AS TEXT)" + (", e.id, CAST(e.host AS TEXT)" if server else "")
    own = "CAST(address AS TEXT)" + (", place, CAST(host AS TEXT)" if server else "")
    parts = [SILENT.format(own), PAUSED.format(columns, SERVER if server else "")]
    if not key.state.no_key:  # without the key, one that failed waits for it like the others
        parts.append(FAILING.format(columns, SERVER if server else ""))
    text = totals.ASSESS.format(totals.SILENT) + " UNION ALL ".join(parts)
    rows = {row[0]: row for row in reversed(db.read(text, totals.values(key)))}  # the first one counts
    return [Apart(number, STATE_OF[Health(health)], *rest) for number, health, *rest in rows.values()]


def _these(key: Snapshot, places: list[int]) -> list[Apart]:
    """Each of these rows of endpoint."""
    own = "number, health, CAST(address AS TEXT), place, CAST(host AS TEXT)"
    text = f"{totals.ASSESS.format(THESE)} SELECT {own} FROM judged"  # noqa: S608 - text of ours
    rows = db.read(text, totals.values(key) | {"places": json.dumps(places)})
    return [Apart(number, STATE_OF[Health(health)], *rest) for number, health, *rest in rows]


def _order(sort: str) -> Any:
    if sort == "server":
        return lambda each: (each.host, each.address)
    return lambda each: (0 if sort else RANK[each.state], each.address)


def _others(sort: str, backwards: bool) -> str:
    table, columns, number, where = BY[sort or "address"]
    order = ", ".join(f"{column} DESC" for column in columns.split(", ")) if backwards else columns
    return OTHERS.format(
        table=table, columns=columns, number=number, where=where, order=order,
        apart_columns="first, second" if "," in columns else "first",
        from_="<=" if backwards else ">=", before=">" if backwards else "<",
    )  # fmt: skip


def _removed() -> list[tuple[int, str, str]]:
    """Those that no list shows, but an index holds."""
    text = (
        "SELECT endpoint.id, host, endpoint.address FROM account"
        " CROSS JOIN endpoint ON account_id = uuid AND direction = 'in' WHERE removed_at IS NOT NULL"
    )
    return db.read(text)
