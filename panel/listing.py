"""What a list is asked for, and what it found: one page of rows, never all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

ROWS = 50  # of one page
LONGEST_SEARCH = 200  # characters
LAST_PAGE = 10**9

Row = TypeVar("Row")


@dataclass(frozen=True)
class ListQuery:
    """What a person asks of a list. An empty `state` or `sort` means all rows, in the list's own order."""

    q: str = ""
    state: str = ""
    sort: str = ""
    page: int = 1

    @property
    def skipped(self) -> int:
        """How many rows come before this page."""
        return (self.page - 1) * ROWS


@dataclass(frozen=True)
class Listing(Generic[Row]):
    """One page of a list. `counts`: rows by state for the chips, "" for all of them."""

    rows: Sequence[Row]
    total: int  # rows that match search and state
    query: ListQuery
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def page(self) -> int:
        """The number of this page, from 1."""
        return self.query.page

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-self.total // ROWS))

    @property
    def first(self) -> int:
        """The number of the first row, from 1; 0 where there are none."""
        return self.query.skipped + 1 if self.rows else 0

    @property
    def last(self) -> int:
        return self.query.skipped + len(self.rows)

    @property
    def links(self) -> list[int]:
        """The page numbers to offer; 0 stands for a gap."""
        near = {1, self.pages, *range(self.page - 1, self.page + 2)}
        found: list[int] = []
        for number in sorted(n for n in near if 1 <= n <= self.pages):
            if found and number > found[-1] + 1:
                found.append(0)
            found.append(number)
        return found
