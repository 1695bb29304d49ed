"""One opened mailbox: what is wanted of it is fetched, and delivered batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from panel.collect import after, delivery, listing
from panel.collect.box import Box
from panel.collect.cursor import Cursor
from panel.collect.delivery import Delivery, Passed, Written
from panel.collect.lease import Lease
from panel.collect.listing import Progress
from panel.collect.stream import Messages, Stream
from panel.collect.turn import Turn
from panel.errors import MailError, MessageTooLarge
from panel.mail.maildir import Maildir
from panel.mail.policy import Policy
from panel.models import Account

BATCH = 250  # messages to one commit,
BATCH_SECONDS = 10.0  # or what has come in that time
RESERVE = 180.0  # seconds of the session kept back for ending it well

NOT_HANDED_OUT = "The server lists it but did not hand it out. It is tried again every 15 minutes."


class Visit:
    """Counts what it has delivered and passed over; `more`: it ended before all was fetched."""

    def __init__(
        self, account: Account, session: Box, maildir: Maildir, lease: Lease, policy: Policy, turn: Turn
    ) -> None:
        """Visit the mailbox of `account` that `session` has open, delivering into `maildir` under `lease`.

        It ends early, after a batch, where `turn` is to give way.
        """
        self._account = account
        self._session = session
        self._maildir = maildir
        self._lease = lease
        self._limit = policy.max_message
        self._turn = turn
        self._delivery = Delivery(maildir, lease, owes=account.on_server != "keep")
        self.delivered = self.passed = 0
        self.more = False

    def run(self, cursor: Cursor, measure: bool) -> None:
        """Fetch and deliver what is wanted; with `measure`, ask for all sizes before.

        At last what is owed is done on the server, for messages that are safe in new/.

        Sizes cost the server a reading of every message, so they are asked for
        only after one was too large. Raises MessageTooLarge then: that message is
        listed, the session closed. Raises MailError, SpoolError, LeaseLost too;
        what was fetched before is delivered.
        """
        uids = listing.wanted(self._session, self._account, cursor)
        self._cursor = cursor
        self._progress = Progress(cursor, uids, max([*uids, cursor.begin_below - 1]))
        self._deliver([], self._too_large(uids) if measure else [])
        try:
            self._in_turn(self._fetch)
        except MessageTooLarge as error:
            if error.uid in self._progress.left:
                self._deliver([], [Passed(error.uid, error.size, error.message)])
            raise
        if not self.more:
            self._close(self._progress.left)
        self._delivery.finish()
        if not self.more:
            settle = partial(after.settle, self._session, self._account, cursor.uidvalidity)
            self._in_turn(partial(settle, self._lease, self._turn))

    def _in_turn(self, work: Callable[[], None]) -> None:
        """Do `work`; where the turn ended it in between, the next round goes on."""
        try:
            work()
        except MailError as error:
            if not self._turn.was_cut_short or isinstance(error, MessageTooLarge):
                raise
            self.more = True

    def _fetch(self) -> None:
        if not self._progress.left:
            return
        messages = self._in_time(self._session.fetch(self._progress.left))
        with Stream(messages, partial(delivery.write, self._maildir)) as stream:
            for batch in _batches(stream):
                if batch:
                    self._deliver(batch, [])
                else:
                    self._lease.keep()

    def _in_time(self, messages: Messages) -> Messages:
        """`messages` until the session's time is nearly over, or others are to have their turn."""
        for message in messages:
            yield message
            if self._session.seconds_left() < RESERVE or self._turn.give_way:
                self.more = True
                return

    def _deliver(self, batch: Sequence[Written], passed: Sequence[Passed]) -> None:
        cursor = self._progress.done([*(one.uid for one in batch), *(one.uid for one in passed)])
        if not batch and not passed and cursor == self._cursor:
            return  # most rounds find nothing, and then write nothing
        self._cursor = cursor
        self.delivered += self._delivery.deliver(batch, passed, cursor)
        self._turn.delivered = self._turn.delivered or bool(batch)
        self.passed += len(passed)

    def _too_large(self, uids: Sequence[int]) -> list[Passed]:
        sizes = self._session.sizes(uids)
        return [self._passed(uid, size) for uid, size in sizes.items() if size > self._limit]

    def _passed(self, uid: int, size: int) -> Passed:
        if size > self._limit:
            return Passed(uid, size, f"Larger than {self._limit >> 20} MiB.")
        return Passed(uid, size, NOT_HANDED_OUT, again=True)

    def _close(self, left: Sequence[int]) -> None:
        """Deal with what fetching left out: listed where it is still there; otherwise it was removed."""
        there = self._session.sizes(left)
        self._progress.done(uid for uid in left if uid not in there)
        self._deliver([], [self._passed(uid, size) for uid, size in there.items()])


def _batches(stream: Iterable[Written | None]) -> Iterator[list[Written]]:
    """What is written, some at a time; empty as a sign of life. What there is comes before a MailError."""
    batch: list[Written] = []
    begun = time.monotonic()
    try:
        for one in stream:
            if one is not None:
                batch.append(one)
            if one is None or len(batch) >= BATCH or time.monotonic() - begun > BATCH_SECONDS:
                yield batch
                batch, begun = [], time.monotonic()
    except MailError:
        yield batch
        raise
    if batch:
        yield batch
