"""Mailboxes as CSV (RFC 4180), without any secret."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from panel.accounts import listing, overview
from panel.activity.log import FORMULA
from panel.listing import ListQuery
from panel.times import machine
from panel.vault.vault import Vault

BATCH = 500
SEALED = "sealed"
COLUMNS = (
    "address", "state", "protocol", "host", "port", "security", "username", "folder", "interval",
    "on_server", "move_to", "deliver_to", "auth", "app", "sign_in_as", "consent", "stored_password",
    "last_success_at", "problem",
)  # fmt: skip


def as_csv(vault: Vault, query: ListQuery) -> Iterator[str]:
    """All that match `query`, in batches. Cells that a spreadsheet would compute are marked."""
    yield _text([list(COLUMNS)])
    places = listing.places(vault, query)
    for start in range(0, len(places), BATCH):
        lines = overview.lines_of(vault.latest(), places[start : start + BATCH])
        yield _text([_cells(line) for line in lines])


def _cells(line: overview.Line) -> list[str]:
    known = {
        **vars(line), "state": line.health.value, "stored_password": _stored(line),
        "sign_in_as": line.signs_in_as,
        "last_success_at": "" if line.last_success_at is None else machine(line.last_success_at),
    }  # fmt: skip
    cells = ("" if known[name] is None else str(known[name]) for name in COLUMNS)
    return [f"'{cell}" if cell.startswith(FORMULA) else cell for cell in cells]


def _stored(line: overview.Line) -> str:
    """How the password is stored; "none" where a token or the name of a file stands in its place."""
    if line.auth in ("oauth", "outside") and line.password == SEALED:
        return "none"
    return overview.STORED[line.password]


def _text(rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
