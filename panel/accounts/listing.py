"""The list of mailboxes: searched, by state, sorted, a page at a time.

What grows with the mailboxes is left to indexes and to `names`; what is not OK is read whole, since
it comes first. The page in the middle of 100,000 mailboxes costs SQLite a walk over half of an index.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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


class Assessed(NamedTuple):
    """A mailbox that is not like most. `place` and `number` are its rows of endpoint and account."""

    place: int
    number: int
    state: str
    address: str
    host: str


ASSESSED = "SELECT place, number, health, CAST(address AS TEXT), CAST(host AS TEXT) FROM judged"
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
        self._accounts, total, assessed = _assessed(self.key)
        self._apart = [each for each in assessed if each.state != self.rest]
        self.counts = _counted((each.state for each in self._apart), total, self.rest)
        self._served = total

    def places(self, skip: int, most: int) -> list[int]:
        """Rows of endpoint: `most` of them after the first `skip`."""
        state, sort = self.query.state, self.query.sort
        if sort and not state:
            return self._others(skip, most, [], sort)
        if state == self.rest:
            return self._others(skip, most, self._apart, sort)
        first = sorted((each for each in self._apart if state in ("", each.state)), key=_order(sort))
        found = [each.place for each in first[skip : skip + most]]
        if state == "" and len(found) < most:
            found += self._others(max(0, skip - len(first)), most - len(found), self._apart, sort)
        return found

    def _others(self, skip: int, most: int, apart: Sequence[Assessed], sort: str) -> list[int]:
        by_server = sort == "server"
        if by_server:
            rows = [(each.place, each.host, each.address) for each in apart] + _removed()
        else:
            rows = [(each.number, each.address, "") for each in apart]
        size = (self._served if by_server else self._accounts) - len(apart)
        values = {"apart": json.dumps(rows), "skip": skip, "most": most}
        if backwards := 2 * skip > size:
            values |= {"skip": max(0, size - skip - most), "most": min(most, size - skip)}
        found = [number for (number,) in db.database.execute_sql(_others(sort, backwards), values)]
        if backwards:
            found.reverse()
        if by_server:
            return found
        return [place for (place,) in db.database.execute_sql(PLACES, (json.dumps(found),))]


@dataclass
class _Searched:
    """The mailboxes whose address or server contains what is searched for."""

    key: Snapshot
    query: ListQuery

    def __post_init__(self) -> None:
        self._names = names.latest()
        lines, places = self._names.find(self.query.q), self._names.places
        rest = STATE_OF[totals.UNLISTED[self.key.state.no_key]]
        few = [places[line] for line in lines] if len(lines) <= FEW else None
        _, _, assessed = _assessed(self.key, few)
        known = {each.place: each.state for each in assessed}
        self._lines = [(line, known.get(places[line], rest)) for line in lines]
        self.counts = _counted((state for _, state in self._lines), len(lines), rest)

    def places(self, skip: int, most: int) -> list[int]:
        """Rows of endpoint: `most` of them after the first `skip`."""
        state, sort = self.query.state, self.query.sort
        chosen = [each for each in self._lines if state in ("", each[1])]  # by address
        if sort == "server":
            chosen.sort(key=lambda each: self._names.host(each[0]))
        elif not sort and not state:
            chosen.sort(key=lambda each: RANK[each[1]])
        return [self._names.places[line] for line, _ in chosen[skip : skip + most]]


def _assessed(key: Snapshot, places: list[int] | None = None) -> tuple[int, int, list[Assessed]]:
    """How many accounts there are, how many of them have a server, and those that may be anything but OK.

    With `places`, only of these, each of them.
    """
    values = totals.values(key) | {"places": json.dumps(places)}
    head, scope = totals.SIZES, totals.NOTABLE
    if places is not None:
        head, scope = (
            "0, 0",
            "SELECT account_id FROM endpoint WHERE id IN (SELECT value FROM json_each(:places))",
        )
    text = f"{totals.ASSESS.format(scope)} SELECT {head}, '', '', '' UNION ALL {ASSESSED}"
    (accounts, served, *_), *rows = db.database.execute_sql(text, values).fetchall()
    assessed = [
        Assessed(place, number, STATE_OF[Health(health)], *rest) for place, number, health, *rest in rows
    ]
    return accounts, served, assessed


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
        " JOIN endpoint ON account_id = uuid AND direction = 'in' WHERE removed_at IS NOT NULL"
    )
    return list(db.database.execute_sql(text))
