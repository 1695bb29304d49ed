"""One open mailbox: fetch what is wanted and deliver it, batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from panel.collect import after, delivery
from panel.collect.control import RoundControl
from panel.collect.cursor import Cursor, UidTracker, highest_done, wanted_uids
from panel.collect.delivery import Delivery, NotFetched, Written
from panel.collect.lease import Lease
from panel.collect.mailbox import MailboxSession
from panel.collect.pipeline import Messages, Pipeline
from panel.errors import MailError, MessageTooLarge
from panel.mail.maildir import Maildir
from panel.models import Account

BATCH = 250  # messages per commit,
BATCH_SECONDS = 10.0  # or what has come in that time
RESERVE = 180.0  # seconds of the session for ending it in an orderly way

WITHHELD = "The server lists the message but did not send it. Mailkeep tries again every 15 minutes."


@dataclass
class Transfer:
    """From an open mailbox into a Maildir, under a lease; ends after a batch when asked to yield.

    `more`: it ended before everything was fetched.
    """

    account: Account
    mailbox: MailboxSession
    maildir: Maildir
    lease: Lease
    limit: int  # bytes of a message
    control: RoundControl
    logged: bool = True  # whether messages are
    delivered: int = 0
    skipped: int = 0
    more: bool = False

    def __post_init__(self) -> None:
        pending = self.account.on_server != "keep"
        self._names: dict[int, str] = {}  # of the files of messages that were read and not yet written
        self._delivery = Delivery(self.maildir, self.lease, pending=pending, logged=self.logged)

    def run(self, cursor: Cursor, measure: bool) -> None:
        """Fetch and deliver what is wanted, then do what is pending on the server.

        `measure`: ask for all sizes first. That costs the server a reading of every message, so it is
        done only after one was too large. Raises MessageTooLarge then (the message is listed, the
        session closed), MailError, SpoolError, LeaseLost; what was fetched before is delivered.
        """
        uids = wanted_uids(self.mailbox, self.account, cursor)
        self.control.found = max(self.control.found, len(uids))
        self._cursor = cursor
        self._tracker = UidTracker(cursor, uids, max([*uids, *self._passed(cursor)]))
        self._deliver([], self._too_large(uids) if measure else [])
        try:
            self._unless_preempted(self._fetch)
        except MessageTooLarge as error:
            if error.uid in self._tracker.left:
                self._deliver([], [NotFetched(error.uid, error.size, error.message)])
            raise
        if not self.more:
            self._list_withheld(self._tracker.left)
        self._delivery.finish()
        if not self.more:
            apply = partial(after.apply_pending, self.mailbox, self.account, cursor.uidvalidity)
            self._unless_preempted(partial(apply, self.lease, self.control))

    def _passed(self, cursor: Cursor) -> list[int]:
        """UIDs up to which all are done once the wanted ones are."""
        before = cursor.begin_below - 1
        return [before, highest_done(self.account.uuid, cursor)] if cursor.last_uid < before else [before]

    def _unless_preempted(self, work: Callable[[], None]) -> None:
        """Do `work`. If the scheduler ends it, the next round goes on."""
        try:
            work()
        except MailError as error:
            if not self.control.was_preempted or isinstance(error, MessageTooLarge):
                raise
            self.more = True

    def _fetch(self) -> None:
        if not self._tracker.left:
            return
        self.lease.renew()  # before anything lies in tmp/
        messages = self._in_time(self.mailbox.fetch(self._tracker.left))
        with Pipeline(messages, self._write) as written:
            for batch in _batches(written):
                if batch:
                    self._deliver(batch, [])
                else:
                    self.lease.renew()

    def _in_time(self, messages: Messages) -> Messages:
        """`messages` until the session's time is nearly over or the round is to yield.

        Here they get their names: several threads write them, and names tell the order.
        """
        for uid, raw in messages:
            self._names[uid] = self.maildir.unique_name(len(raw), uid)
            yield uid, raw
            if self.mailbox.seconds_left() < RESERVE or self.control.should_yield:
                self.more = True
                return

    def _write(self, uid: int, raw: bytes) -> Written:
        return delivery.write(self.maildir, self._names.pop(uid), uid, raw, logged=self.logged)

    def _deliver(self, batch: Sequence[Written], not_fetched: Sequence[NotFetched]) -> None:
        cursor = self._tracker.done([*(one.uid for one in batch), *(one.uid for one in not_fetched)])
        if not batch and not not_fetched and cursor == self._cursor:
            return  # most rounds find nothing, and then write nothing
        self._cursor = cursor
        new = self._delivery.deliver(batch, not_fetched, cursor)
        self.delivered += new
        self.control.new += new
        self.control.delivered = self.control.delivered or bool(batch)
        self.skipped += len(not_fetched)
        self.control.skipped += len(not_fetched)

    def _too_large(self, uids: Sequence[int]) -> list[NotFetched]:
        sizes = self.mailbox.sizes(uids)
        return [self._not_fetched(uid, size) for uid, size in sizes.items() if size > self.limit]

    def _not_fetched(self, uid: int, size: int) -> NotFetched:
        if size > self.limit:
            return NotFetched(uid, size, f"Larger than {self.limit >> 20} MiB.")
        return NotFetched(uid, size, WITHHELD, retry=True)

    def _list_withheld(self, left: Sequence[int]) -> None:
        """List what was not sent although it is there; the rest was removed meanwhile."""
        there = self.mailbox.sizes(left)
        self._tracker.done(uid for uid in left if uid not in there)
        self._deliver([], [self._not_fetched(uid, size) for uid, size in there.items()])


def _batches(messages: Iterable[Written | None]) -> Iterator[list[Written]]:
    """Messages in batches; an empty one as a sign of life. Before a MailError comes what there is."""
    batch: list[Written] = []
    begun = time.monotonic()
    try:
        for message in messages:
            if message is not None:
                batch.append(message)
            if message is None or len(batch) >= BATCH or time.monotonic() - begun > BATCH_SECONDS:
                yield batch
                batch, begun = [], time.monotonic()
    except MailError:
        yield batch
        raise
    if batch:
        yield batch
