"""The anchor of a heading of the manual, as GitHub makes it."""

from __future__ import annotations

import re

DROPPED = re.compile(r"[^\w\- ]")


def anchor(heading: str) -> str:
    """'What it protects, and more' → 'what-it-protects-and-more'."""
    return DROPPED.sub("", heading.lower()).replace(" ", "-")
