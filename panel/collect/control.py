"""The two-way link between a running round and the scheduler that started it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from panel.mail.policy import Interrupt


@dataclass
class RoundControl:
    """Shared by two threads: the round reports its progress, the scheduler asks it to stop. One flag each."""

    started_at: float = field(default_factory=time.monotonic)
    # Set by the round.
    mailbox_open: bool = False
    delivered: bool = False  # at least one batch
    found: int = 0  # messages that were wanted,
    new: int = 0  # delivered
    skipped: int = 0  # and left on the server
    result: str = ""  # at its end: worked, failed (the server's fault), or empty where neither is known
    # Set by the scheduler.
    should_yield: bool = False  # end after the next batch; a later round goes on from there
    yield_asked_at: float = 0.0
    interrupt: Interrupt = field(default_factory=Interrupt)  # ends the round where it waits for the network

    @property
    def seconds(self) -> float:
        """How long the round has been running."""
        return time.monotonic() - self.started_at

    @property
    def was_preempted(self) -> bool:
        """Whether the scheduler ended it because it could not yield; that is no fault of the server."""
        return self.should_yield and self.interrupt.ended
