"""Promises of retention: old events are removed, which is an event, and a wrong clock does not remove all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask

from panel import db
from panel.activity import log
from panel.config import Settings
from panel.health import heartbeat, maintenance
from panel.models import Activity
from tests.sign_in.browser import later

DAY = 24 * 3600


@pytest.fixture(autouse=True)
def database(app: Flask) -> Iterator[None]:
    with db.database.connection_context():
        yield


def happened(*days_ago: int) -> None:
    for days in days_ago:
        Activity.create(
            at=db.now() - days * DAY, who="ada", what="signed in", subject=f"{days}", address="", detail=""
        )


def left() -> list[str]:
    return [row.subject for row in Activity.select().where(Activity.what == "signed in")]


def removals() -> list[tuple[str, str]]:
    rows = Activity.select().where(Activity.what == "old activity removed")
    return [(row.who, row.detail.partition(" from ")[0]) for row in rows]


def test_what_is_older_goes_and_the_removal_is_an_event_with_the_count() -> None:
    happened(500, 401, 399, 0)
    assert log.prune(400) == 2
    assert left() == ["399", "0"]
    assert removals() == [("worker", "2 events")]


def test_where_nothing_is_old_nothing_is_written() -> None:
    happened(1)
    assert log.prune(400) == 0
    assert removals() == []


def test_many_go_in_batches_each_with_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "BATCH", 2)
    happened(500, 501, 502)
    assert log.prune(400) == 3
    assert removals() == [("worker", "2 events"), ("worker", "1 event")]


def test_the_worker_removes_once_a_day_what_the_setting_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat.beat()
    happened(31, 20)
    maintenance.run(replace(settings, activity_days=30))
    assert left() == ["20"]
    later(monkeypatch, maintenance.COUNT_SECONDS + 1)
    happened(31)
    maintenance.run(replace(settings, activity_days=30))
    assert left() == ["20", "31"]
    later(monkeypatch, maintenance.DAY)
    maintenance.run(replace(settings, activity_days=30))
    assert left() == ["20"]


def test_a_clock_that_jumped_years_ahead_empties_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat.beat()
    happened(5)
    later(monkeypatch, 3000 * DAY)
    heartbeat.beat()
    maintenance.run(settings)
    assert left() == ["5"]


def test_a_clock_that_was_ahead_does_not_stop_it_for_years(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as ahead:
        later(ahead, 3000 * DAY)
        assert heartbeat.claim("pruned_at", DAY)
    assert heartbeat.is_due("pruned_at", DAY)
    assert heartbeat.claim("pruned_at", DAY)
    assert not heartbeat.claim("pruned_at", DAY)
