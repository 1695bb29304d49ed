"""Promises of the charts: every message counts on the day it came, in the zone of whoever looks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from flask import Flask, render_template

from panel import db
from panel.config import Settings
from panel.messages import chart, record, service
from panel.models import Account, LoggedMessage, MailCount, MailTotal

BERLIN, KIRITIMATI = ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Kiritimati")
NOW = int(datetime(2026, 11, 26, 14, 31, tzinfo=BERLIN).timestamp())  # a Thursday
HOUR, DAY = 3600, 86400


def at(day: int, hour: int, zone: ZoneInfo = BERLIN) -> int:
    return int(datetime(2026, 11, day, hour, tzinfo=zone).timestamp())


def values(found: chart.Chart) -> list[int]:
    return [bar.value for bar in found.bars]


def test_days_are_those_of_the_viewer() -> None:
    counts = {at(25, 23): 1, at(26, 0): 2, at(26, 14): 4, at(26, 16): 1000}  # the last lies ahead
    assert values(chart.chart(counts, "14d", NOW, BERLIN))[-3:] == [0, 1, 6]
    assert values(chart.chart(counts, "14d", NOW, ZoneInfo("UTC")))[-3:] == [0, 3, 4]
    assert values(chart.chart(counts, "14d", NOW, KIRITIMATI))[-3:] == [0, 3, 4]


@pytest.mark.parametrize("span, bars", [("24h", 24), ("14d", 14), ("90d", 90)])
def test_a_span_has_one_bar_for_each_hour_or_day_and_the_last_is_now(span: str, bars: int) -> None:
    found = chart.chart({NOW - NOW % HOUR: 3}, span, NOW, BERLIN)
    assert values(found) == [0] * (bars - 1) + [3]
    assert [bar.now for bar in found.bars] == [False] * (bars - 1) + [True]
    assert (found.total, found.ticks) == (3, (3, 2, 1, 0))
    assert found.busiest is found.bars[-1] and found.busiest.title.endswith(": 3 messages")


def test_a_change_of_the_clock_loses_no_hour() -> None:
    now = int(datetime(2026, 10, 26, 12, tzinfo=BERLIN).timestamp())
    counts = {now - hours * HOUR: 1 for hours in range(14 * 24)}
    found = values(chart.chart(counts, "14d", now, BERLIN))
    assert found[-2:] == [25, 13] and set(found[1:-2]) == {24}


@pytest.mark.parametrize("highest", [0, 1, 4, 5, 7, 99, 2041, 10**7, 10**13, -5])
def test_the_axis_has_few_whole_numbers_and_holds_every_bar(highest: int) -> None:
    found = chart.chart({NOW - NOW % HOUR: highest}, "14d", NOW, BERLIN)
    assert 2 <= len(found.ticks) <= 5 and found.ticks[-1] == 0
    assert found.ticks[0] >= found.bars[-1].value
    assert all(0 <= bar.y <= 100 and 0 <= bar.height <= 100 for bar in found.bars)
    assert len({a - b for a, b in zip(found.ticks, found.ticks[1:], strict=False)}) == 1


def test_today_is_compared_with_the_same_weekday_by_now() -> None:
    counts = {at(26, 9): 106, at(19, 9): 90, at(19, 14): 20, at(19, 20): 500}
    today, before, weekday = chart.compared(counts, NOW, BERLIN)
    assert (today, before, weekday) == (106, 100, "Thursday")
    assert chart.compared({at(26, 9): 1}, NOW, BERLIN)[1] is None


@pytest.fixture
def box(app: Flask) -> Iterator[Account]:
    db.database.connect()
    yield Account.create(address="a@example.org", created_at=1)
    db.database.close()


def test_the_comparison_is_a_sentence(box: Account, settings: Settings) -> None:
    MailTotal.create(at=db.now() - 7 * DAY - 8 * DAY, delivered=1)
    found = service.summary(BERLIN, settings.mail_spool, "90d")
    assert found.comparison == f"0 by this time last {found.weekday}" and found.ever and not found.today
    MailTotal.create(at=db.now() // HOUR * HOUR, delivered=3)
    assert service.summary(BERLIN, settings.mail_spool, "14d").today == 3


def test_a_list_gets_the_mail_of_its_rows_in_one_statement(box: Account) -> None:
    other = Account.create(address="b@example.org", created_at=1)
    now = db.now() // HOUR * HOUR
    MailCount.insert_many(
        [(box.uuid, now, 2), (box.uuid, now - 3 * DAY, 5), (box.uuid, now - 99 * DAY, 7)],
        [MailCount.account, MailCount.at, MailCount.delivered],
    ).execute()
    LoggedMessage.create(account=box, at=now + 7, size=1)
    found = service.today_for([box.uuid, other.uuid], BERLIN)
    assert (found[box.uuid].today, found[box.uuid].last_at, sum(found[box.uuid].days)) == (2, now + 7, 7)
    assert len(found[box.uuid].days) == 14 and found[box.uuid].days[-4] == 5
    assert (found[other.uuid].today, found[other.uuid].last_at) == (0, None)
    assert service.today_for([], BERLIN) == {}


def test_a_mailbox_shows_its_chart_messages_and_rounds(app: Flask, box: Account, settings: Settings) -> None:
    now = db.now()
    record.round_ended(box.uuid, record.Round(now - 60, 700, 3, 2, 1), 0)
    record.round_ended(box.uuid, record.Round(now - 30, 30_000, error="<b>Connection</b> closed."), 4)
    record.round_ended(box.uuid, record.Round(now - 20, 31_000, error="<b>Connection</b> closed."), 0)
    LoggedMessage.create(
        account=box, at=now, size=24_000, subject="Cannot <i>log in</i>", sender="m@example.com"
    )
    MailCount.create(account=box, at=now - now % HOUR, delivered=2)
    found = service.mailbox_activity(box.uuid, BERLIN, settings.mail_spool, "14d")
    assert (found.today, found.ever, found.chart.total) == (2, 2, 2)
    assert [(row.delivered, row.times, row.quiet) for row in found.rounds] == [(0, 2, 4), (2, 1, 0)]
    with app.test_request_context(f"/accounts/{box.uuid}"):
        html = render_template(
            "messages/_mailbox.html", mail=found, spans=chart.SPANS, address=box.address, logged=True
        )
    assert "Cannot &lt;i&gt;log in&lt;/i&gt;" in html and "&lt;b&gt;Connection&lt;/b&gt; closed." in html
    assert "2 times since" in html and "Show as table" in html and "<title>" in html and "24 kB" in html
    assert "style=" not in html and "<script" not in html
    empty = Account.create(address="c@example.org", created_at=1)
    nothing = service.mailbox_activity(empty.uuid, BERLIN, settings.mail_spool)
    assert (nothing.today, nothing.latest, nothing.rounds, nothing.took) == (0, [], [], None)
