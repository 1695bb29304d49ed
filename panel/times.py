"""Times for people: relative, and exact with the zone."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from panel.db import now
from panel.errors import BadInput
from panel.models.moment import SLACK

LAST = 253_402_214_400  # the last day of the year 9999
STEPS = ((86400, "day"), (3600, "hour"), (60, "minute"))


def ago(at: int | None, today: int | None = None) -> str:
    """A past time (Unix seconds) relative to now: 'just now', '5 minutes ago', 'never'.

    One that lies further ahead than two clocks differ is named as such.
    """
    today = now() if today is None else today
    if at is not None and whole(at) > today:
        return "at a time ahead of the clock" if whole(at) > today + SLACK else "just now"
    if at is None:
        return "never"
    span = _span(today - whole(at))
    return f"{span} ago" if span else "just now"


def until(at: int | None, today: int | None = None) -> str:
    """A planned time relative to now: 'in 2 hours', 'in a moment'; 'now' once it has come."""
    if at is None:
        return "never"
    seconds = whole(at) - (now() if today is None else today)
    span = _span(seconds)
    return "now" if seconds <= 0 else f"in {span}" if span else "in a moment"


def _span(seconds: int) -> str:
    """How long that is, in its largest unit; empty below a minute."""
    for size, name in STEPS:
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''}"
    return ""


def exact(at: int, zone: ZoneInfo) -> str:
    """`at` as 2026-11-23 20:15:04 UTC."""
    return _moment(at).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def short(at: int, zone: ZoneInfo) -> str:
    """A past time for a list: '2 min ago', '14:31' today, '25 Nov 23:41' this year, then with the year."""
    today = now()
    seconds = today - whole(at)
    if seconds < 3600:
        return ago(at, today) if seconds < 60 else f"{seconds // 60} min ago"
    moment, this = _moment(at).astimezone(zone), _moment(today).astimezone(zone)
    if moment.date() == this.date():
        return moment.strftime("%H:%M")
    day = f"{moment.day} {moment:%b}"
    return f"{day} {moment:%H:%M}" if moment.year == this.year else f"{day} {moment.year}"


def day(at: int, zone: ZoneInfo) -> str:
    """The day of a past time, as a heading: 'Today, Thu 26 Nov', 'Wed 25 Nov'; in other years with it."""
    moment, this = (_moment(each).astimezone(zone) for each in (at, now()))
    name = f"{moment:%a} {moment.day} {moment:%b}"
    if moment.date() == this.date():
        return f"Today, {name}"
    return name if moment.year == this.year else f"{name} {moment.year}"


def clock(at: int, zone: ZoneInfo) -> str:
    """The time of day, below its day: 14:31."""
    return _moment(at).astimezone(zone).strftime("%H:%M")


@cache
def zone_names() -> tuple[str, ...]:
    """The names of time zones to choose from: those of places, and UTC."""
    return ("UTC", *sorted(name for name in _all_zones() if "/" in name and not name.startswith("Etc/")))


def known_zone(name: object) -> str:
    """`name`, if a time zone is called so; empty otherwise."""
    return name if isinstance(name, str) and name in _all_zones() else ""


@cache
def _all_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_of(name: object, default: ZoneInfo) -> ZoneInfo:
    """The time zone called `name`, or `default` where there is none of that name."""
    return ZoneInfo(known) if (known := known_zone(name)) else default


def machine(at: int) -> str:
    """`at` in ISO 8601, for HTML's datetime attribute."""
    return _moment(at).isoformat()


def whole(at: object) -> int:
    """`at` limited to what datetime can represent: a value that SQL put there must not break a page."""
    return min(max(at, 0), LAST) if isinstance(at, int) else 0


def parsed(text: str, zone: ZoneInfo) -> int:
    """The seconds of a day or time in `zone`, unless it names another. Raises BadInput (field `since`)."""
    try:
        found = datetime.fromisoformat(text.strip())
        return max(int((found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()), 0)
    except (ValueError, OverflowError):
        raise BadInput(
            f"“{text[:40]}” is not a date.", "Enter one such as 2026-11-25 or 2026-11-25T14:30.", "since"
        ) from None


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(whole(at), UTC)
