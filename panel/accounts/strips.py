"""The mail of the last days in a row of the list: a number, and bars as one path of an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from panel.messages import service as messages

HIGH = 20  # of the drawing; each day is 3 wide, with its gap
DAYS = 7


@dataclass(frozen=True)
class Strip:
    """One mailbox's mail. `bars` is empty where there was none."""

    today: int
    last_at: int | None
    bars: str


def of(uuids: Sequence[str], zone: ZoneInfo) -> dict[str, Strip]:
    """Those of these mailboxes."""
    if not uuids:
        return {}
    return {
        uuid: Strip(mail.today, mail.last_at, _path(mail.days))
        for uuid, mail in messages.today_for(uuids, zone, DAYS).items()
    }


def _path(days: Sequence[int]) -> str:
    """A stroke for each day that had mail."""
    most = max(days)
    tops = ((day, HIGH - max(1, HIGH * count // most)) for day, count in enumerate(days) if count)
    return "".join(f"M{3 * day + 1} {HIGH}V{top}" for day, top in tops)
