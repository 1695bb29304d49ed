"""Promises of keeping: what a sender wrote is gone in time, and no count is lost by folding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from panel import db
from panel.config import Settings
from panel.health import heartbeat, maintenance
from panel.messages import chart, record, retention
from panel.models import Account, Heartbeat, LoggedMessage, MailCount, MailTotal, RoundLog
from tests.messages.test_find import Log, log  # noqa: F401

BERLIN = ZoneInfo("Europe/Berlin")
HOUR, DAY = 3600, 86400


@pytest.fixture
def boxes(app: Flask) -> Iterator[list[Account]]:
    db.database.connect()
    yield [Account.create(address=f"{name}@example.org", created_at=1) for name in "abc"]
    db.database.close()


def count(box: Account, at: int, number: int) -> None:
    at -= at % HOUR
    db.database.execute_sql(record.COUNT, (box.uuid, at, number))
    db.database.execute_sql(record.TOTAL, (at, number))


def by_day(rows: list[tuple[int, int]], zone: ZoneInfo) -> dict[str, int]:
    found: dict[str, int] = {}
    for at, number in rows:
        day = f"{chart._day(at, zone)}"
        found[day] = found.get(day, 0) + number
    return found


def totals() -> list[tuple[int, int]]:
    return [(row.at, row.delivered) for row in MailTotal.select().order_by(MailTotal.at)]


def test_counts_are_folded_by_day_after_sixty_days_and_none_is_lost(boxes: list[Account]) -> None:
    now = db.now()
    for hours in range(0, 100 * 24, 5):
        for number, box in enumerate(boxes, 1):
            count(box, now - hours * HOUR, number)
    before = by_day(totals(), BERLIN)
    retention.prune(30, BERLIN)
    retention.prune(30, BERLIN)
    assert by_day(totals(), BERLIN) == before
    limit = chart.day_starts(61, now, BERLIN)[0]
    old = [at for at, _ in totals() if at < limit]
    assert len(old) == len({chart._day(at, BERLIN) for at in old}) >= 39
    for number, box in enumerate(boxes, 1):
        rows = [(row.at, row.delivered) for row in MailCount.select().where(MailCount.account == box)]
        assert sum(delivered for _, delivered in rows) == number * 480
        assert {at for at, _ in rows if at < limit} == set(old)
    assert all(
        chart._day(at, ZoneInfo(zone)) == chart._day(at, BERLIN)
        for at in old[1:]  # of the first day perhaps one hour alone
        for zone in ("Asia/Tokyo", "America/Los_Angeles")
    )


def test_what_is_older_than_four_hundred_days_goes(boxes: list[Account]) -> None:
    now = db.now()
    for days in (399, 402, 800):
        count(boxes[0], now - days * DAY, 1)
    retention.prune(30, BERLIN)
    assert len(totals()) == MailCount.select().count() == 1


def test_lines_and_rounds_are_removed_in_time(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    box, now = log.mailbox("a@example.org"), db.now()
    for days in (0, 29, *range(31, 41)):
        log.add(box, f"{days} days", at=now - days * DAY)
    record.round_ended(box.uuid, record.Round(now - 89 * DAY, 1, 1, 1), 0)
    record.round_ended(box.uuid, record.Round(now - 91 * DAY, 1, 1, 1), 0)
    retention.prune(30, BERLIN)
    assert [row.subject for row in LoggedMessage.select().order_by(LoggedMessage.id)] == ["0 days", "29 days"]
    assert RoundLog.select().count() == 1
    retention.prune(0, BERLIN)
    assert LoggedMessage.select().count() <= 1  # of this very second


def test_the_worker_notes_what_was_taken(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    box = log.mailbox("a@example.org")
    rows = [log.add(box, str(number)) for number in range(7)]
    log.skip(box, "Too large.")
    new = log.settings.mail_spool / box.uuid / "new"
    for row in rows[:5]:
        (new / row.fetched.name).unlink()  # type: ignore[union-attr]
    maintenance.run(log.settings)
    assert dict(log.find().counts) == {"": 8, "waiting": 2, "taken": 5, "skipped": 1}
    log.settings.mail_spool.rename(log.settings.mail_spool.with_name("unmounted"))
    retention.note_taken(log.settings.mail_spool)
    assert log.find().counts["waiting"] == 2


def test_a_clock_that_jumped_removes_nothing(log: Log, settings: Settings) -> None:
    box = log.mailbox("a@example.org")
    log.add(box, "old", at=db.now() - 40 * DAY)
    heartbeat.beat()
    Heartbeat.update(jumped_at=db.now()).execute()
    maintenance.run(settings)
    assert LoggedMessage.select().exists()
    Heartbeat.update(jumped_at=None, counted_at=None).execute()
    maintenance.run(replace(settings, message_log_days=41))
    assert LoggedMessage.select().exists()
    Heartbeat.update(counted_at=None, pruned_at=None).execute()
    maintenance.run(settings)
    assert not LoggedMessage.select().exists()


@pytest.mark.parametrize("value", ["x'ff'", "'soon'", "9223372036854775807", "-1", "1.5", "9e999"])
def test_no_value_that_sql_wrote_stops_maintenance(log: Log, value: str) -> None:
    box = log.mailbox("a@example.org")
    log.add(box, "one")
    for at in (db.now() - 70 * DAY, db.now() - 71 * DAY, db.now() - 72 * DAY):
        for hours in (0, 1):
            count(box, at + hours * HOUR, 1)
    record.round_ended(box.uuid, record.Round(1, 1, 1, 1), 0)
    for statement in (
        "UPDATE message_log SET at = {}", "UPDATE mail_count SET delivered = {}", "UPDATE mail_total SET delivered = {}",
        "UPDATE round_log SET started_at = {}", "UPDATE message SET name = {}", "UPDATE message SET ready = {}",
        "UPDATE mail_count SET at = {} WHERE at = (SELECT min(at) FROM mail_count)",
        "UPDATE OR IGNORE mail_total SET at = {} WHERE at = (SELECT max(at) FROM mail_total)",
    ):  # fmt: skip
        db.database.execute_sql(statement.format(value))
    retention.note_taken(log.settings.mail_spool)
    retention.prune(30, BERLIN)
    retention.prune(30, BERLIN)
