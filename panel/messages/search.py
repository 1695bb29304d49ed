"""Did the customer's mail come? Messages by words of sender, subject and mailbox, and by day.

The log is read from its newest line: 300,000 lines take a tenth of a second (docs/performance.md), which
no index of words would be worth. Whoever may not read subjects does not search them either.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from pathlib import Path
from zoneinfo import ZoneInfo

from panel import db
from panel.deliver.status import Gone
from panel.deliver.targets import MAILDIR
from panel.listing import LONGEST_SEARCH, ROWS, Listing, ListQuery
from panel.messages import chart, rows

STATES = (rows.WAITING, rows.TAKEN, rows.DELIVERED, rows.SET_ASIDE, rows.SKIPPED)
TERMS = 8  # of a search
DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})|(\d{1,2})\.(\d{1,2})\.(\d{4})")
SPECIAL = re.compile("([!%_])")
LEFT = "NOT waiting AND reason IS NULL"
# What was set aside is found by its files, which are few. Copies of what was delivered may be many: for these
# stand the messages of mailboxes with a target, as long as copies are kept.
OUT = f"""
aside AS MATERIALIZED (
  SELECT l.id FROM message_log l JOIN message m ON m.id = l.fetched_id
  WHERE l.account_id IN (SELECT value FROM json_each(?)) AND m.name IN (SELECT value FROM json_each(?))
), outgoing AS (
  SELECT uuid FROM account WHERE CASE deliver_to WHEN '' THEN ? ELSE deliver_to END <> '{MAILDIR}'
), kept AS (SELECT id FROM message_log WHERE at >= ? ORDER BY at LIMIT 1)"""  # noqa: S608 - text of ours
IS_ASIDE = "id IN (SELECT id FROM aside)"
# Ids ascend; by an index on account or time, each line would be sought on its own.
IS_DELIVERED = "id >= (SELECT id FROM kept) AND +account_id IN (SELECT uuid FROM outgoing)"


@dataclass(frozen=True)
class Scope:
    """What to search in. `account`: one mailbox's uuid; `sender`: a part of name or address."""

    subjects: bool = True
    account: str = ""
    sender: str = ""
    since: int | None = None


def find(
    query: ListQuery, zone: ZoneInfo, spool: Path, scope: Scope, count: int = ROWS, gone: Gone | None = None
) -> Listing[rows.MessageLine]:
    """Messages with all words of `query.q` in sender, subject or mailbox, newest first.

    A date (2026-11-25, 25.11.2026, today, yesterday) stands for the messages of that day. With `gone`, those
    that were delivered or set aside have states of their own; otherwise they count as taken.
    """
    where, values = _where(query.q, zone, scope)
    conditions = _conditions(gone)
    statement = _statement(where, conditions, query.state, gone is not None)
    found = db.read(statement, (*_out_values(gone), *values, count, query.skipped))
    every, *numbers, _ = found[0][: len(conditions)]
    states = dict(zip(conditions, [every, *numbers, every - sum(numbers)], strict=True))
    lines = [rows.line(each, spool, scope.subjects) for row in found if (each := row[len(conditions) :])[0]]
    return Listing(lines, states.get(query.state, 0), query, states)


def _conditions(gone: Gone | None) -> dict[str, str]:
    """Each state by what the worker last saw, TAKEN last; where a shown message is now is looked up."""
    taken, states = LEFT, {"": "1", rows.WAITING: "waiting", rows.SKIPPED: "reason IS NOT NULL"}
    if gone is not None:
        states[rows.SET_ASIDE] = f"{LEFT} AND {IS_ASIDE}"
        states[rows.DELIVERED] = f"{LEFT} AND NOT {IS_ASIDE} AND {IS_DELIVERED}"
        taken = f"{LEFT} AND NOT ({IS_ASIDE} OR {IS_DELIVERED})"
    return {**states, rows.TAKEN: taken}


def _out_values(gone: Gone | None) -> tuple[str | int, ...]:
    if gone is None:
        return ()
    return json.dumps([*gone.aside]), json.dumps([*chain(*gone.aside.values())]), gone.default, gone.since


def _statement(where: str, conditions: Mapping[str, str], state: str, out: bool) -> str:
    """One reading of the log: the counts of all states but TAKEN, which is the rest, and one page."""
    hit = f"hit AS (SELECT id, waiting, reason, account_id FROM message_log l WHERE {where})"  # noqa: S608
    tables = ", ".join([OUT] * out + [hit] * bool(where))
    table = "hit" if where else "message_log"
    counts = [
        "NULL" if each == rows.TAKEN else f"(SELECT count(*) FROM {table} WHERE {condition})"  # noqa: S608
        for each, condition in conditions.items()
    ]
    page = f"SELECT id FROM {table} WHERE {conditions[state]} ORDER BY id DESC LIMIT ? OFFSET ?"  # noqa: S608
    return (
        f"{'WITH ' + tables if tables else ''} SELECT {', '.join(counts)}, f.* FROM (SELECT 1)"  # noqa: S608
        f" LEFT JOIN (SELECT {rows.COLUMNS} FROM ({page}) p"
        f" JOIN message_log l ON l.id = p.id {rows.JOINS}) f ON 1 ORDER BY f.id DESC"
    )


def _where(text: str, zone: ZoneInfo, scope: Scope) -> tuple[str, list[object]]:
    """The condition of the search and its values; empty where everything is wanted."""
    parts: list[str] = []
    values: list[object] = []
    for term in _plain(text).split()[:TERMS]:
        if day := _date(term, zone):
            parts.append("l.at >= ? AND l.at < ?")
            values += [chart.start_of(day, zone), chart.start_of(day + timedelta(days=1), zone)]
        else:
            fields = ["l.sender", "l.sender_name", *(["l.subject"] if scope.subjects else [])]
            patterns = _patterns(term)
            addresses = f"SELECT uuid FROM account WHERE {_like(['address'], patterns)}"  # noqa: S608
            parts.append(f"({_like(fields, patterns)} OR l.account_id IN ({addresses}))")
            values += patterns * (len(fields) + 1)
    if scope.account:
        parts.append("l.account_id = ?")
        values.append(scope.account)
    if scope.sender:
        patterns = _patterns(_plain(scope.sender))
        parts.append(f"({_like(['l.sender', 'l.sender_name'], patterns)})")
        values += patterns * 2
    if scope.since is not None:
        parts.append("l.at >= ?")
        values.append(scope.since)
    return " AND ".join(parts), values


def _plain(text: str) -> str:
    """Composed as the log is; LIKE would end at a NUL, and refuses a pattern of 50 kB."""
    return unicodedata.normalize("NFC", text[:LONGEST_SEARCH].replace("\0", ""))


def _like(fields: list[str], patterns: list[str]) -> str:
    return " OR ".join(f"{field} LIKE ? ESCAPE '!'" for field in fields for _ in patterns)


def _patterns(term: str) -> list[str]:
    """What LIKE is to find for `term`: SQLite knows the case of ASCII letters only."""
    same = {term} if term.isascii() else {term, term.lower(), term.upper(), term.capitalize()}
    return ["%" + SPECIAL.sub(r"!\1", each) + "%" for each in sorted(same)]


def _date(term: str, zone: ZoneInfo) -> date | None:
    """The day that `term` names, or None."""
    today = datetime.fromtimestamp(db.now(), zone).date()
    if term.lower() in ("today", "yesterday"):
        return today - timedelta(days=term.lower() == "yesterday")
    if not (found := DATE.fullmatch(term)):
        return None
    year, month, day = found.group(1, 2, 3) if found[1] else found.group(6, 5, 4)
    try:
        known = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return known if 1970 < known.year < 9999 else None
