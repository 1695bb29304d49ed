"""The two-way link between a running round and the scheduler that started it."""

from __future__ import annotations

import time

from panel.mail.policy import Interrupt


class RoundControl:
    """Shared by two threads: the round reports its progress, the scheduler asks it to stop. One flag each."""

    def __init__(self) -> None:
        """The round starts now."""
        self.started_at = time.monotonic()
        # Set by the round.
        self.mailbox_open = False
        self.delivered = False  # at least one batch
        self.result = ""  # at its end: worked, failed (the server's fault), or empty where neither is known
        # Set by the scheduler.
        self.should_yield = False  # end after the next batch; a later round goes on from there
        self.yield_asked_at = 0.0
        self.interrupt = Interrupt()  # ends the round where it waits for the network

    @property
    def seconds(self) -> float:
        """How long the round has been running."""
        return time.monotonic() - self.started_at

    @property
    def was_preempted(self) -> bool:
        """Whether the scheduler ended it because it could not yield; that is no fault of the server."""
        return self.should_yield and self.interrupt.ended
