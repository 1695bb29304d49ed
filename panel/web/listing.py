"""What the address of a list asks for."""

from __future__ import annotations

from collections.abc import Collection

from flask import request

from panel.listing import LAST_PAGE, LONGEST_SEARCH, ListQuery


def read_query(states: Collection[str] = (), sorts: Collection[str] = ()) -> ListQuery:
    """`q`, `state`, `sort` and `page` of the request; what is unknown or malformed counts as not given."""
    q = request.args.get("q", "").replace("\0", "").strip()[:LONGEST_SEARCH]
    state, sort = request.args.get("state", ""), request.args.get("sort", "")
    page = request.args.get("page", 1, type=int)
    return ListQuery(
        q,
        state if state in states else "",
        sort if sort in sorts else "",
        min(max(page, 1), LAST_PAGE),
    )
