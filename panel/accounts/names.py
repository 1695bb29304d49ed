"""Addresses and servers of all mailboxes in memory, for searching: any part of them, in a millisecond.

SQLite would read every row, and an index of its own for that needs triggers, which the database denies. A
process that is never asked to search holds nothing; 100,000 mailboxes take it 8 MB and are read in 0.2 s.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field

from panel import db

VALID_SECONDS = 60  # for whatever SQL changed: what Mailkeep changes is noticed at once
REMEMBERED = 8  # searches: one that matches all mailboxes takes longer than its page
# Adding, removing and restoring changes a number or a time here; a server changes only with its password.
CHANGED = """SELECT (SELECT max(id) FROM endpoint), (SELECT count(*) FROM account),
  (SELECT count(*) FROM account WHERE removed_at IS NOT NULL),
  (SELECT max(removed_at) FROM account WHERE removed_at IS NOT NULL),
  (SELECT max(secret_set_at) FROM endpoint WHERE secret_set_at <= ?)"""
NAMES = """SELECT endpoint.id, account.address, host
  FROM account CROSS JOIN endpoint ON account_id = uuid AND direction = 'in'
  WHERE removed_at IS NULL ORDER BY account.address"""


@dataclass(frozen=True)
class Names:
    """Every mailbox by address: one line of `text` each, and the number of its row of `endpoint`."""

    changed: tuple[object, ...]
    at: int
    until: float
    text: bytes
    starts: array[int]
    places: array[int]
    found: dict[bytes, list[int]] = field(default_factory=dict)

    def find(self, part: str) -> list[int]:
        """The lines that contain `part`, in whatever case."""
        wanted = _folded(part)
        lines = self.found.get(wanted)
        if lines is None:  # other threads search and forget at the same time
            lines = self._find(wanted)
            for oldest in list(self.found)[: 1 - REMEMBERED]:
                self.found.pop(oldest, None)
            self.found[wanted] = lines
        return lines

    def _find(self, wanted: bytes) -> list[int]:
        lines, at = [], self.text.find(wanted)
        while at >= 0:
            line = bisect_right(self.starts, at) - 1
            lines.append(line)
            at = self.text.find(wanted, self.starts[line + 1])
        return lines

    def host(self, line: int) -> bytes:
        return self.text[self.starts[line] : self.starts[line + 1]].rpartition(b"\t")[2]


_lock = threading.Lock()
_latest: list[Names] = []


def latest() -> Names:
    """The names as they are now."""
    now = db.now()
    changed = tuple(db.database.execute_sql(CHANGED, (now,)).fetchone())
    with _lock:
        known = _latest[-1] if _latest else None
        if known is None or not _is_current(known, changed):
            known = _read(changed, now)
            _latest[:] = [known]
    return known


def _is_current(known: Names, changed: tuple[object, ...]) -> bool:
    """Whether nothing has changed since; what was changed in the second of reading may be missing."""
    stable = not isinstance(changed[-1], int) or changed[-1] < known.at
    return known.changed == changed and stable and time.monotonic() < known.until


def _read(changed: tuple[object, ...], now: int) -> Names:
    parts, places, starts, length = [], array("q"), array("q", [0]), 0
    for place, address, host in db.database.execute_sql(NAMES):
        parts.append(_line(address, host) + b"\n")
        places.append(place)
        length += len(parts[-1])
        starts.append(length)
    return Names(changed, now, time.monotonic() + VALID_SECONDS, b"".join(parts), starts, places)


def matches(address: str, host: str, part: str) -> bool:
    """Whether a search for `part` finds this mailbox."""
    return _folded(part) in _line(address, host)


def _line(address: object, host: object) -> bytes:
    return _folded(f"{address}\t{host}").replace(b"\n", b" ")


def _folded(text: str) -> bytes:
    return text.casefold().encode("utf-8", "surrogatepass")
