"""How much mail came in, with the latest messages and rounds, for the pages of others. One statement each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from panel import db
from panel.messages import chart
from panel.messages.chart import Chart, Curve
from panel.messages.rows import COLUMNS, JOINS, MessageLine, line, text, whole
from panel.models.base import as_whole

LATEST = 7  # messages beside a chart
ROUNDS_SHOWN = 5
SKIPPED_SECONDS = 7 * 24 * 3600
NOTHING = ", NULL" * 10  # in the place of columns that only messages have

SUMMARY = f"""
SELECT 'count', at, delivered{NOTHING}, NULL FROM mail_total WHERE at >= ? AND at <= ?
UNION ALL SELECT 'ever', EXISTS (SELECT 1 FROM mail_total), NULL{NOTHING}, NULL
UNION ALL SELECT 'skipped', count(*), count(DISTINCT account_id){NOTHING}, NULL FROM message_log
  WHERE reason IS NOT NULL AND +at >= ?
UNION ALL SELECT 'message', * FROM (SELECT {COLUMNS} FROM message_log l {JOINS} ORDER BY l.id DESC LIMIT ?)
"""  # noqa: S608 - text of ours
MAILBOX = f"""
SELECT 'count', at, delivered{NOTHING}, NULL FROM mail_count
  WHERE account_id = :uuid AND at >= :begin AND at <= :now
UNION ALL SELECT 'ever', min(at), CAST(total(delivered) AS INTEGER){NOTHING}, NULL
  FROM mail_count WHERE account_id = :uuid
UNION ALL SELECT 'now', quiet_rounds, took, last_success_at{NOTHING} FROM collection WHERE account_id = :uuid
UNION ALL SELECT 'message', * FROM (SELECT {COLUMNS} FROM message_log l {JOINS}
  WHERE l.account_id = :uuid ORDER BY l.id DESC LIMIT :latest)
UNION ALL SELECT 'round', *, NULL, NULL, NULL, NULL FROM (
  SELECT started_at, took, found, delivered, skipped, error, times, first_at, quiet FROM round_log
  WHERE account_id = :uuid ORDER BY id DESC LIMIT :rounds)
"""  # noqa: S608
LAST = """
SELECT uuid, -1, (SELECT l.at FROM message_log l WHERE l.account_id = uuid AND l.reason IS NULL
  ORDER BY l.id DESC LIMIT 1) FROM account WHERE uuid IN ({marks})
"""
BY_DAY = """
WITH day (number, start_at, end_at) AS (VALUES {days})
SELECT c.account_id, d.number, CAST(total(c.delivered) AS INTEGER)
FROM mail_count c JOIN day d ON c.at >= d.start_at AND c.at < d.end_at
WHERE c.account_id IN ({marks}) GROUP BY 1, 2
"""


@dataclass(frozen=True)
class MailSummary:
    """The mail of all mailboxes. `before`: by now on the same weekday a week ago, None where unknown."""

    chart: Chart
    curve: Curve
    today: int
    before: int | None
    weekday: str
    latest: list[MessageLine]
    ever: bool  # whether any message was ever delivered
    skipped: tuple[int, int]  # messages of the last seven days, and of how many mailboxes

    @property
    def comparison(self) -> str:
        """Today's number beside that of a week ago, in words."""
        if self.before is None:
            return ""
        if not self.before or not self.today:
            return f"{self.before:,} by this time last {self.weekday}"
        percent = round(100 * (self.today - self.before) / self.before)
        if not percent:
            return f"As many as by this time last {self.weekday}"
        return f"{abs(percent):,}% {'more' if percent > 0 else 'fewer'} than by this time last {self.weekday}"


@dataclass(frozen=True)
class RoundLine:
    """One round with news, or failures in a row with the same error."""

    started_at: int
    took: int  # milliseconds
    found: int
    delivered: int
    skipped: int
    error: str
    times: int
    first_at: int
    quiet: int  # rounds without news before it


@dataclass(frozen=True)
class MailboxActivity:
    """One mailbox's mail: its chart, the latest messages and rounds, and how many found nothing since."""

    chart: Chart
    today: int
    ever: int
    ever_since: int | None
    latest: list[MessageLine]
    rounds: list[RoundLine]
    quiet: int
    last_success_at: int | None
    took: int | None  # milliseconds


@dataclass(frozen=True)
class MailboxMail:
    """What a list shows of a mailbox: messages of the last days, today's last, and when the last one came."""

    days: tuple[int, ...]
    last_at: int | None

    @property
    def today(self) -> int:
        return self.days[-1]


def summary(zone: ZoneInfo, spool: Path, span: str) -> MailSummary:
    """The mail of all mailboxes; `span` is one of `chart.SPANS`."""
    now = db.now()
    begin = min(chart.since(span, now, zone), chart.day_starts(8, now, zone)[0])
    found = db.read(SUMMARY, (begin, now, now - SKIPPED_SECONDS, LATEST))
    counts = _counts(found)
    today, before, weekday = chart.compared(counts, now, zone)
    return MailSummary(
        chart=chart.chart(counts, span, now, zone),
        curve=chart.curve(chart.last_hours(counts, now)),
        today=today,
        before=before,
        weekday=weekday,
        latest=[line(row[1:], spool, True) for row in found if row[0] == "message"],
        ever=any(row[0] == "ever" and row[1] for row in found),
        skipped=next((row[1], row[2]) for row in found if row[0] == "skipped"),
    )


def mailbox_activity(uuid: str, zone: ZoneInfo, spool: Path, span: str = "14d") -> MailboxActivity:
    """One mailbox's mail; `templates/messages/_mailbox.html` shows it."""
    now = db.now()
    begin = min(chart.since(span, now, zone), chart.day_starts(1, now, zone)[0])
    values = {"uuid": uuid, "begin": begin, "now": now, "latest": LATEST - 1, "rounds": ROUNDS_SHOWN}
    found = db.read(MAILBOX, values)
    counts = _counts(found)
    of = {row[0]: row for row in found}
    _, quiet, took, success = of["now"][:4] if "now" in of else ("now", 0, None, None)
    return MailboxActivity(
        chart=chart.chart(counts, span, now, zone),
        today=chart.compared(counts, now, zone)[0],
        ever=whole(of["ever"][2]),
        ever_since=as_whole(of["ever"][1]),
        latest=[line(row[1:], spool, True) for row in found if row[0] == "message"],
        rounds=[_round(row) for row in found if row[0] == "round"],
        quiet=whole(quiet),
        last_success_at=as_whole(success),
        took=as_whole(took),
    )


def today_for(uuids: Sequence[str], zone: ZoneInfo, days: int = 14) -> dict[str, MailboxMail]:
    """The mail of these mailboxes on the last `days` days, for the rows of a list."""
    starts = chart.day_starts(days, db.now(), zone)
    marks = ", ".join("?" * len(uuids))
    statement = BY_DAY.format(days=", ".join(["(?, ?, ?)"] * days), marks=marks)
    bounds = [each for n in range(days) for each in (n, starts[n], starts[n + 1])]
    found = db.read(f"{statement} UNION ALL {LAST.format(marks=marks)}", (*bounds, *uuids, *uuids))
    numbers = {uuid: [0] * days for uuid in uuids}
    last: dict[str, int | None] = {}
    for uuid, number, value in found:
        if number >= 0:
            numbers[uuid][number] = whole(value)
        else:
            last[uuid] = as_whole(value)
    return {uuid: MailboxMail(tuple(each), last.get(uuid)) for uuid, each in numbers.items()}


def _round(row: Sequence[Any]) -> RoundLine:
    _, started, took, found, delivered, skipped, error, times, first, quiet = row[:10]
    return RoundLine(
        started_at=whole(started),
        took=whole(took),
        found=whole(found),
        delivered=whole(delivered),
        skipped=whole(skipped),
        error=text(error),
        times=whole(times),
        first_at=whole(first),
        quiet=whole(quiet),
    )


def _counts(found: Iterable[Sequence[Any]]) -> dict[int, int]:
    return {row[1]: whole(row[2]) for row in found if row[0] == "count" and isinstance(row[1], int)}
