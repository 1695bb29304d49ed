"""How one target and one mailbox have been doing: what is due when, and when a message is given up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from panel.deliver import spool
from panel.deliver.message import Disposition, TryResult

FRESH = 2.0  # seconds in which a folder may have changed without its time having changed


@dataclass(frozen=True)
class Pace:
    """Seconds. `tries`: of a message, before it may be set aside."""

    poll: float = 0.5
    delays: Sequence[float] = (5, 15, 60, 300)  # after each failure of a message,
    down_delays: Sequence[float] = (5, 15, 30, 60)  # and of several messages of one target in a row
    tries: int = 10
    report: float = 10.0


USUAL = Pace()


@dataclass
class TargetHealth:
    """How a target has been doing. It is down once two messages in a row have failed."""

    pace: Pace
    pool: ThreadPoolExecutor
    failing: set[str] = field(default_factory=set)
    failures: int = 0
    since: int = 0  # of the first of them, UTC
    retry_at: float = 0.0
    took_at: float = 0.0  # when it last took or refused a message
    delivered_at: int = 0  # the same, UTC
    answer: str = ""

    @property
    def down(self) -> bool:
        """Whether only one message at a time is tried, and ever less often."""
        return len(self.failing) > 1

    def note(self, key: str, found: TryResult) -> None:
        """Note how a try of the message `key` ended."""
        self.answer = found.answer
        if found.disposition is not Disposition.LATER:
            self.failing.clear()
            self.failures, self.since, self.retry_at = 0, 0, 0.0
            self.took_at, self.delivered_at = time.monotonic(), int(time.time())
            return
        self.failing.add(key)
        self.failures += 1
        self.since = self.since or int(time.time())
        if found.retry_after:
            self.retry_at = max(self.retry_at, time.monotonic() + found.retry_after)

    def forget_gone(self, mailbox: str, there: Iterable[str]) -> None:
        """Only messages that are still `there` show how it is doing: others of `mailbox` were taken away."""
        own = {key for key in self.failing if key.startswith(f"{mailbox}/")}
        gone = own and own - {f"{mailbox}/{name}" for name in there}
        self.failing -= gone
        if gone and not self.failing:
            self.failures, self.since, self.retry_at = 0, 0, 0.0

    def report(self) -> dict[str, object]:
        """What the panel reads of it."""
        return {name: getattr(self, name) for name in ("since", "failures", "answer", "delivered_at")}

    def begins(self) -> bool:
        """Whether a mailbox may be tried now: of a target that is down, then no other for a while."""
        now = time.monotonic()
        if self.retry_at > now:
            return False
        if self.down:
            self.retry_at = now + _nth(self.pace.down_delays, self.failures - 1)
        return True


@dataclass
class Queue:
    """One mailbox, and how its first message has been doing."""

    pace: Pace
    uuid: str
    path: Path
    beside: Path
    reported: dict[str, Any] = field(default_factory=dict)  # what its file of state holds
    address: str = ""
    chosen: str = ""
    busy: bool = False
    waits: bool = True  # there may be mail
    head: str = ""
    attempts: int = 0
    answer: str = ""  # to its first message
    handed: int = 0  # messages in this turn
    problem: str = ""  # with what lies in new/, in this turn
    answered: dict[str, TryResult] = field(default_factory=dict)  # messages that could not be filed yet
    troubles: int = 0  # in a row, with its folders
    failed_at: float = 0.0
    due: float = 0.0
    new: Path = field(init=False)
    _changed: int = 0  # the folder's time when it was last read,
    _read_at: float = 0.0  # and when that was

    def __post_init__(self) -> None:
        """Its mail lies in new/."""
        self.new = self.path / "new"

    def failed(self, name: str, answer: str, health: TargetHealth) -> bool:
        """Note that its first message has failed with that answer. Whether that is given up.

        It is, after its tries, only where the target took another message since its last failure.
        """
        if name != self.head:
            self.head, self.attempts, self.failed_at = name, 0, 0.0
        before, self.failed_at = self.failed_at, time.monotonic()
        self.attempts, self.answer = self.attempts + 1, answer
        self.due = self.failed_at + _nth(self.pace.delays, self.attempts - 1)
        return self.spent and health.took_at > before > 0

    @property
    def spent(self) -> bool:
        """Whether the first message has had its tries."""
        return self.attempts >= self.pace.tries

    def fail_by_itself(self) -> None:
        """Note that its folders could not be used: it is tried ever less often."""
        self.due = time.monotonic() + _nth(self.pace.delays, self.troubles)
        self.troubles += 1

    def done(self, name: str) -> None:
        """Note that the message was delivered, set aside or taken."""
        if name == self.head:
            self.head, self.attempts, self.failed_at, self.due = "", 0, 0.0, 0.0

    def report(self, retry_at: float, **news: object) -> dict[str, Any]:
        """What the panel reads of it: what it read before, and what has changed.

        `retry_at`: until when its target is left alone.
        """
        wait = max(self.due, retry_at, now := time.monotonic()) - now
        self.reported |= {
            "at": int(time.time()), "head": self.head, "attempts": self.attempts,
            "answer": self.answer if self.head else "",
            "next_at": int(time.time() + wait) if self.head else 0, **news,
        }  # fmt: skip
        return self.reported

    def aside(self) -> int:
        """How many of its messages are set aside."""
        return len(spool.listed(self.beside / spool.ASIDE))

    def is_read(self) -> None:
        """Note that new/ is about to be read, for another turn."""
        self.handed, self.problem = 0, ""
        self._changed, self._read_at = self.new.stat().st_mtime_ns, time.time()

    def has_news(self) -> bool:
        """Whether something may have come into new/ since it was read."""
        try:
            changed = self.new.stat().st_mtime_ns
        except OSError:
            return False
        age = abs(time.time() - self._read_at)  # the clock may have been set back
        return changed != self._changed or self._read_at - changed / 1e9 < FRESH < age


def _nth(delays: Sequence[float], number: int) -> float:
    return delays[min(max(number, 0), len(delays) - 1)]
