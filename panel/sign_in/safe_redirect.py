"""Where to go after the door: only to pages of this panel."""

from __future__ import annotations

LONGEST = 2000


def safe(path: str | None) -> str | None:
    """`path`, where every browser takes it for a page of this site; None otherwise.

    Browsers read '//host' and '/\\host' as another site, and drop tabs and line
    breaks before they look (WHATWG URL, 4.4).
    """
    if not path or len(path) > LONGEST or not path.startswith("/") or path.startswith("//"):
        return None
    if "\\" in path or not path.isprintable():
        return None
    return path
