"""When a word is due: pure, in seconds."""

from __future__ import annotations

HOUR, DAY = 3600, 24 * 3600
CALM = 300  # a trouble that was not seen for so long is over; one that comes and goes is one trouble
RETURN = HOUR  # one that comes back within so long is the same one still
REMIND = (HOUR, 4 * HOUR, DAY)  # after the first, second, … word; then always the last
AGAIN = (60, 300, 900, HOUR)  # after the first, second, … try in a row that no channel took
LEASE = 300  # whoever has taken a word on has so long to bring it out; then others may


def reminder(times: int) -> int:
    """Seconds from the word that was the `times`-th to the next one."""
    return REMIND[min(times, len(REMIND)) - 1]


def again(failures: int) -> int:
    """Seconds until the next try, after so many in a row that failed."""
    return AGAIN[min(failures, len(AGAIN)) - 1]


def is_due(next_at: int, now: int, *, times: int, failures: int) -> bool:
    """Whether `next_at` has come, or lies where only a wrong clock can have put it.

    That is further ahead than it is set at most after so many words, and so many tries that failed.
    """
    longest = max(LEASE, reminder(max(times, 1)), again(failures) if failures else 0)
    return not now < next_at <= now + longest
