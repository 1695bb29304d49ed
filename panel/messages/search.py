"""Did the customer's mail come? Messages by words of sender, subject and mailbox, and by day.

The log is read from its newest line: 300,000 lines take a tenth of a second (docs/performance.md), which
no index of words would be worth. Whoever may not read subjects does not search them either.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from panel import db
from panel.listing import LONGEST_SEARCH, ROWS, Listing, ListQuery
from panel.messages import chart
from panel.messages.rows import COLUMNS, JOINS, SKIPPED, TAKEN, WAITING, MessageLine, line, rows

STATES = (WAITING, TAKEN, SKIPPED)
TERMS = 8  # of a search
DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})|(\d{1,2})\.(\d{1,2})\.(\d{4})")
SPECIAL = re.compile("([!%_])")
# By what the worker last saw; where a shown message is now is looked up.
IN_STATE = {
    "": "1",
    WAITING: "waiting",
    TAKEN: "NOT waiting AND reason IS NULL",
    SKIPPED: "reason IS NOT NULL",
}
COUNTED = ("", WAITING, SKIPPED)


@dataclass(frozen=True)
class Scope:
    """What to search in. `account`: one mailbox's uuid; `sender`: a part of name or address."""

    subjects: bool = True
    account: str = ""
    sender: str = ""
    since: int | None = None


def find(
    query: ListQuery, zone: ZoneInfo, spool: Path, scope: Scope, count: int = ROWS
) -> Listing[MessageLine]:
    """Messages with all words of `query.q` in sender, subject or mailbox, newest first.

    A date (2026-11-25, 25.11.2026, today, yesterday) stands for the messages of that day.
    """
    where, values = _where(query.q, zone, scope)
    statement = _statement(where, query.state)
    found = rows(statement, (*values, count, query.skipped))
    every, waiting, skipped = found[0][:3]
    states = {"": every, WAITING: waiting, TAKEN: every - waiting - skipped, SKIPPED: skipped}
    lines = [line(row[3:], spool, scope.subjects) for row in found if row[3] is not None]
    return Listing(lines, states[query.state], query, states)


def _statement(where: str, state: str) -> str:
    """One reading of the log: the counts of all states, and one page."""
    hit = f"WITH hit AS (SELECT id, waiting, reason FROM message_log l WHERE {where})" if where else ""  # noqa: S608
    table = "hit" if where else "message_log"
    counts = [f"(SELECT count(*) FROM {table} WHERE {IN_STATE[each]})" for each in COUNTED]  # noqa: S608
    page = f"SELECT id FROM {table} WHERE {IN_STATE[state]} ORDER BY id DESC LIMIT ? OFFSET ?"  # noqa: S608
    return (
        f"{hit} SELECT {', '.join(counts)}, f.* FROM (SELECT 1) LEFT JOIN (SELECT {COLUMNS} FROM ({page}) p"  # noqa: S608
        f" JOIN message_log l ON l.id = p.id {JOINS}) f ON 1 ORDER BY f.id DESC"
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
