"""Promises of times as people read them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from panel.times import ago, exact, machine, until


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"), (59, "just now"), (60, "1 minute ago"), (119, "1 minute ago"), (120, "2 minutes ago"),
        (3600, "1 hour ago"), (86400 * 3, "3 days ago"), (-30, "just now"), (-300, "at a time ahead of the clock"), (-86400 * 3, "at a time ahead of the clock"),
    ],
)  # fmt: skip
def test_how_long_ago(seconds: int, words: str) -> None:
    assert ago(1_000_000, today=1_000_000 + seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(30, "in a moment"), (300, "in 5 minutes"), (0, "now"), (-59, "now"), (-86400, "now")],
)
def test_how_long_until(seconds: int, words: str) -> None:
    assert until(1_000_000 + seconds, today=1_000_000) == words


def test_never() -> None:
    assert ago(None) == "never"


def test_the_exact_time_has_its_zone() -> None:
    assert exact(1_795_476_553, ZoneInfo("Europe/Berlin")) == "2026-11-24 00:29:13 CET"
    assert machine(0) == "1970-01-01T00:00:00+00:00"


@pytest.mark.parametrize("at", [-1, 2**40, 2**62])
def test_a_number_that_is_no_time_breaks_nothing(at: int) -> None:
    assert exact(at, ZoneInfo("UTC"))
    assert machine(at)
