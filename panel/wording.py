"""Pieces of sentences: a count with its noun, a few of many names, no path, why the system refused."""

from __future__ import annotations

import re
from collections.abc import Sequence

FEW = 5  # of many names, in one sentence
PATH = re.compile(r"(?<![\w:/.])/[\w.]")  # of this server; not the path of a web address


def counted(count: int, noun: str) -> str:
    """`count` with its noun: "1 mailbox", "2 mailboxes", "1,234 addresses"."""
    ending = "" if count == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{count:,} {noun}{ending}"


def few(names: Sequence[str], total: int = 0) -> str:
    """The first names, and how many more there are; `total` where not all of them are in `names`."""
    shown = names[:FEW]
    more = max(total, len(names)) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def without_paths(text: str | None) -> str:
    """`text`; empty where it names a path of this server."""
    return "" if text is None or PATH.search(text) else text


def reason(error: OSError) -> str:
    """What the system says, in the middle of a sentence."""
    return (error.strerror or "unknown reason").lower()
