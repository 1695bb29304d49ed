"""Counts of messages by hour as bars and curves: numbers in, geometry and labels out.

Hours are those of UTC; a day is that of the zone it is looked at from. Where a zone's days begin at half
past an hour, that half hour counts for the day before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

HOUR = 3600
DAY = 24 * HOUR
HIGH = 100.0  # of a drawing, whose width is STEP for each bar
STEP = 10.0
GAP = 3.0
ROUND_STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30, 40, 50, 60, 80)
TICKS = 4
MOST = 10**12  # messages: a value that SQL put there must not break a page

Counts = Mapping[int, int]  # messages by the beginning of their hour
SPANS = {"24h": "24 hours", "14d": "14 days", "90d": "90 days"}
DAYS = {"14d": 14, "90d": 90}
LABEL_EVERY = {"24h": 3, "14d": 1, "90d": 7}


@dataclass(frozen=True)
class Bar:
    """One hour or day. `label` is empty where labels would be too dense."""

    label: str
    name: str
    value: int
    x: float
    y: float
    height: float
    now: bool

    @property
    def title(self) -> str:
        """What the bar says to whoever points at it."""
        return f"{self.name}: {self.value:,} {'message' if self.value == 1 else 'messages'}"


@dataclass(frozen=True)
class Chart:
    """Bars of one span up to now. `ticks`: the numbers of the axis, from the top."""

    span: str
    bars: tuple[Bar, ...]
    ticks: tuple[int, ...]

    @property
    def width(self) -> float:
        return STEP * len(self.bars)

    @property
    def bar_width(self) -> float:
        return STEP - GAP

    @property
    def lines(self) -> list[float]:
        """The heights of the lines behind the bars."""
        last = len(self.ticks) - 1
        return [round(HIGH * number / last, 2) for number in range(last)]

    @property
    def total(self) -> int:
        return sum(bar.value for bar in self.bars)

    @property
    def average(self) -> int:
        """Messages of one hour or day."""
        return round(self.total / len(self.bars))

    @property
    def busiest(self) -> Bar | None:
        """The hour or day with the most, where there is any."""
        return max(self.bars, key=lambda bar: bar.value) if self.total else None


@dataclass(frozen=True)
class Curve:
    """A line without axes: the points of the line and of the area below it."""

    line: str
    area: str


def chart(counts: Counts, span: str, now: int, zone: ZoneInfo) -> Chart:
    """The chart of `span`, one of SPANS."""
    series = _hours(counts, now, zone) if span == "24h" else _days(counts, DAYS[span], now, zone)
    step = _step(max(value for *_, value in series))
    top = max(step, -(-max(value for *_, value in series) // step) * step)
    every, last = LABEL_EVERY[span], len(series) - 1
    bars = [
        Bar(
            label if (last - number) % every == 0 else "",
            name,
            value,
            round(number * STEP + GAP / 2, 2),
            round(HIGH - _height(value, top), 2),
            round(_height(value, top), 2),
            number == last,
        )
        for number, (label, name, value) in enumerate(series)
    ]
    return Chart(span, tuple(bars), tuple(range(top, -1, -step)))


def since(span: str, now: int, zone: ZoneInfo) -> int:
    """When the first bar of `span` begins."""
    if span == "24h":
        return _hour(now) - 23 * HOUR
    return start_of(_day(now, zone) - timedelta(days=DAYS[span] - 1), zone)


def day_starts(days: int, now: int, zone: ZoneInfo) -> list[int]:
    """When each of the last `days` days began, today's last, and when today ends."""
    today = _day(now, zone)
    return [start_of(today + timedelta(days=1 - days + number), zone) for number in range(days + 1)]


def curve(values: Sequence[int]) -> Curve:
    """The curve of these values, in a drawing of 100 by 100."""
    top, last = max(*values, 1), len(values) - 1
    points = [f"{100 * n / last:.1f},{95 - 90 * min(v, top) / top:.1f}" for n, v in enumerate(values)]
    return Curve(" ".join(points), " ".join(["0,100", *points, "100,100"]))


def last_hours(counts: Counts, now: int) -> list[int]:
    """How many messages came in each of the last 24 hours."""
    return [_of(counts, _hour(now) - hours * HOUR) for hours in range(23, -1, -1)]


def compared(counts: Counts, now: int, zone: ZoneInfo) -> tuple[int, int | None, str]:
    """Messages of today, those of the same weekday a week ago by now, and its name.

    None instead where nothing was counted so long ago. The hour that has begun counts by its part.
    """
    day, hour = _day(now, zone), _hour(now)
    begin = start_of(day, zone)
    today = sum(_of(counts, at) for at in counts if begin <= at <= now)
    before = start_of(day - timedelta(days=7), zone)
    then = hour - 7 * DAY + _shift(now, zone)
    past = sum(_of(counts, at) for at in counts if before <= at < then)
    past += round(_of(counts, then) * (now - hour) / HOUR)
    known = any(at < before + DAY for at in counts)
    return today, past if known else None, f"{day:%A}"


def start_of(day: date, zone: ZoneInfo) -> int:
    return int(datetime.combine(day, time(), zone).timestamp())


def noon_of(day: date, zone: ZoneInfo) -> int:
    return int(datetime.combine(day, time(12), zone).timestamp())


def _shift(now: int, zone: ZoneInfo) -> int:
    """Seconds by which the clock was changed in the last seven days."""
    offsets = [datetime.fromtimestamp(at, zone).utcoffset() or timedelta() for at in (now, now - 7 * DAY)]
    return int((offsets[0] - offsets[1]).total_seconds())


def _hours(counts: Counts, now: int, zone: ZoneInfo) -> list[tuple[str, str, int]]:
    found = []
    for hours in range(23, -1, -1):
        at = _hour(now) - hours * HOUR
        begin, end = (datetime.fromtimestamp(each, zone) for each in (at, at + HOUR))
        name = f"{begin.day} {begin:%b %H:%M}–{end:%H:%M}"
        found.append((f"{begin:%H:%M}" if hours else "Now", name, _of(counts, at)))
    return found


def _days(counts: Counts, days: int, now: int, zone: ZoneInfo) -> list[tuple[str, str, int]]:
    today = _day(now, zone)
    sums = dict.fromkeys((today - timedelta(days=back) for back in range(days - 1, -1, -1)), 0)
    for at in counts:
        day = _day(at, zone)
        if day in sums and at <= now:
            sums[day] += _of(counts, at)
    short = days <= 14
    return [
        (
            "Today" if day == today else f"{day:%a} {day.day}" if short else f"{day.day} {day:%b}",
            f"{day:%a} {day.day} {day:%b}",
            value,
        )
        for day, value in sums.items()
    ]


def _of(counts: Counts, at: int) -> int:
    return min(max(counts.get(at, 0), 0), MOST)


def _hour(at: int) -> int:
    return at - at % HOUR


def _day(at: int, zone: ZoneInfo) -> date:
    try:
        return datetime.fromtimestamp(at, zone).date()
    except (OverflowError, ValueError, OSError):  # a time that SQL put there
        return datetime.fromtimestamp(0, UTC).date()


def _height(value: int, top: int) -> float:
    return max(HIGH * value / top, 1.0) if value else 0.0


def _step(highest: int) -> int:
    """A round number of which TICKS at most reach `highest`."""
    size = 1
    while True:
        for step in ROUND_STEPS:
            if step * size * TICKS >= highest:
                return step * size
        size *= 10
