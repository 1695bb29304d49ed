"""A round under way, as who gave it its turn sees it, and what is asked of it."""

from __future__ import annotations

import time

from panel.mail.policy import Interrupt


class Turn:
    """Written by two threads, one flag each: the round says how far it is, the scheduler what it is to do."""

    def __init__(self) -> None:
        """The round begins now."""
        self.begun = time.monotonic()
        self.opened = False  # the mailbox is open,
        self.delivered = False  # and something of it was delivered
        self.result = (
            ""  # at its end: worked, failed (by its server), or empty where nothing tells of the server
        )
        self.give_way = False  # to end where it is, once it has delivered a batch, and go on later
        self.asked_at = 0.0  # when that was asked of it
        self.interrupt = Interrupt()  # ends it where it waits for the network

    @property
    def seconds(self) -> float:
        """How long it has taken until now."""
        return time.monotonic() - self.begun

    @property
    def was_cut_short(self) -> bool:
        """Whether it was asked to give way, could not, and was ended: no fault of the server then."""
        return self.give_way and self.interrupt.ended
