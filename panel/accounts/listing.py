"""The list of mailboxes: searched, by state, sorted, a page at a time.

What grows with the mailboxes is left to indexes and to `names`; what is not OK is read whole, since
it comes first. The page in the middle of 100,000 mailboxes costs SQLite a walk over half of an index.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
    "attention": (Health.OVERDUE,),
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
    key = vault.latest()
    found = _Searched(key, query) if query.q else _All(key, query)
    total = found.counts[query.state]
    query = replace(query, page=min(query.page, max(1, -(-total // ROWS))))
    here = found.places(query.skipped, min(ROWS, total - query.skipped))
    return Listing(overview.lines_of(key, here), total, query, found.counts)


def places(vault: Vault, query: ListQuery) -> list[int]:
    """All that match, whatever their page, as rows of endpoint."""
    key = vault.latest()
    found = _Searched(key, query) if query.q else _All(key, query)
    return found.places(0, found.counts[query.state])


def uuids(vault: Vault, query: ListQuery) -> list[str]:
    """The same as uuids."""
    return overview.uuids_of(places(vault, query))


def counts(vault: Vault, query: ListQuery) -> dict[str, int]:
    """How many mailboxes the search finds by state, "" for all of them."""
    key = vault.latest()
    return (_Searched(key, query) if query.q else _All(key, query)).counts


def _counted(states: Iterable[str], total: int, rest: str) -> dict[str, int]:
    """By state, where all that are not in `states` are in `rest`."""
    found = Counter(states)
    found[rest] += total - found.total()
    return {"": total} | {state: found[state] for state in STATES}


@dataclass
class _All:
    """Every mailbox."""

    key: Snapshot
    query: ListQuery

    def __post_init__(self) -> None:
        self.rest = STATE_OF[totals.UNLISTED[self.key.state.no_key]]
        self._by_server = self.query.sort == "server"
        self._size = _size()
        apart = _apart(self.key, server=self._by_server)
        self._apart = [each for each in apart if each.state != self.rest]
        self.counts = _counted((each.state for each in self._apart), self._size, self.rest)

    def places(self, skip: int, most: int) -> list[int]:
        """Rows of endpoint: `most` of them after the first `skip`."""
        numbers = self._numbers(skip, most)
        if self._by_server or not numbers:
            return numbers
        return [place for (place,) in db.database.execute_sql(PLACES, (json.dumps(numbers),))]

    def _numbers(self, skip: int, most: int) -> list[int]:
        """The same as rows of the table that is read in order."""
        state, sort = self.query.state, self.query.sort
        if sort and not state:
            return self._others(skip, most, [])
        if state == self.rest:
            return self._others(skip, most, self._apart)
        first = sorted((each for each in self._apart if state in ("", each.state)), key=_order(sort))
        found = [each.place if self._by_server else each.number for each in first[skip : skip + most]]
        if state == "" and len(found) < most:
            found += self._others(max(0, skip - len(first)), most - len(found), self._apart)
        return found

    def _others(self, skip: int, most: int, apart: Sequence[Apart]) -> list[int]:
        if self._by_server:
            rows = [(each.place, each.host, each.address) for each in apart] + _removed()
        else:
            rows = [(each.number, each.address, "") for each in apart]
        size = self._size - len(apart)
        values = {"apart": json.dumps(rows), "skip": skip, "most": most}
        if backwards := 2 * skip > size:
            values |= {"skip": max(0, size - skip - most), "most": min(most, size - skip)}
        found = [row[0] for row in _rows(_others(self.query.sort, backwards), values)]
        return found[::-1] if backwards else found


@dataclass
class _Searched:
    """The mailboxes whose address or server contains what is searched for."""

    key: Snapshot
    query: ListQuery

    def __post_init__(self) -> None:
        self._names = names.latest()
        self._lines = self._names.find(self.query.q)
        self.rest = STATE_OF[totals.UNLISTED[self.key.state.no_key]]
        if len(self._lines) <= FEW:
            apart = _these(self.key, [self._names.places[line] for line in self._lines])
        else:
            every = _apart(self.key, server=True)
            apart = [each for each in every if names.matches(each.address, each.host, self.query.q)]
        self._apart = [each for each in apart if each.state != self.rest]
        self.counts = _counted((each.state for each in self._apart), len(self._lines), self.rest)

    def places(self, skip: int, most: int) -> list[int]:
        """Rows of endpoint: `most` of them after the first `skip`."""
        state, sort = self.query.state, self.query.sort
        if sort and not state:
            return self._others(skip, most, [])
        if state == self.rest:
            return self._others(skip, most, self._apart)
        first = sorted((each for each in self._apart if state in ("", each.state)), key=_order(sort))
        found = [each.place for each in first[skip : skip + most]]
        if state == "" and len(found) < most:
            found += self._others(max(0, skip - len(first)), most - len(found), self._apart)
        return found

    def _others(self, skip: int, most: int, apart: Sequence[Apart]) -> list[int]:
        places, without = self._names.places, {each.place for each in apart}
        lines: Iterable[int] = self._lines
        if self.query.sort == "server":
            lines = sorted(lines, key=self._names.host)
        return list(
            islice((places[line] for line in lines if places[line] not in without), skip, skip + most)
        )


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
    rows = {row[0]: row for row in reversed(_rows(text, totals.values(key)))}  # the first one counts
    return [Apart(number, STATE_OF[Health(health)], *rest) for number, health, *rest in rows.values()]


def _these(key: Snapshot, places: list[int]) -> list[Apart]:
    """Each of these rows of endpoint."""
    own = "number, health, CAST(address AS TEXT), place, CAST(host AS TEXT)"
    text = f"{totals.ASSESS.format(THESE)} SELECT {own} FROM judged"  # noqa: S608 - text of ours
    rows = _rows(text, totals.values(key) | {"places": json.dumps(places)})
    return [Apart(number, STATE_OF[Health(health)], *rest) for number, health, *rest in rows]


def _rows(text: str, values: dict[str, Any]) -> list[Any]:
    return list(db.database.execute_sql(text, values).fetchall())


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
    return list(db.database.execute_sql(text))
