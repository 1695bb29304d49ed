"""Each message into the Maildir exactly once, whatever is killed when.

One batch: files are written and fsynced in tmp/, then tmp/ itself → one commit stores the messages' rows
and the cursor, and logs and counts them (`panel.messages.record`) → the files are renamed into new/ →
new/ is fsynced → the next transaction clears `ready`. Files without a committed row are deleted and
fetched again. With one they are ours: `recover` moves those that are still in tmp/; a missing one was
delivered, and may have been taken away since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from peewee import Expression, fn

from panel import db
from panel.collect.cursor import POP3, SUPERSEDED, Cursor
from panel.collect.lease import Lease
from panel.mail import envelope
from panel.mail.envelope import Envelope
from panel.mail.maildir import Maildir
from panel.messages import record
from panel.messages.record import Arrived
from panel.models import Message, Skipped, Uidl
from panel.models.collection import RETRY_SECONDS

COLUMNS = (
    Message.account, Message.uidvalidity, Message.uid, Message.name, Message.digest, Message.ready,
    Message.pending,
)  # fmt: skip
LARGEST = 2**63 - 1  # of the database; a server may name any size


@dataclass(frozen=True)
class Written:
    """One message that is safe in tmp/."""

    uid: int
    name: str
    digest: bytes  # SHA-256 of the message as the server sent it
    size: int = 0
    envelope: Envelope | None = None  # where messages are logged


@dataclass(frozen=True)
class NotFetched:
    """One message that is left on the server, and why."""

    uid: int
    size: int
    reason: str
    retry: bool = False


def write(maildir: Maildir, name: str, uid: int, raw: bytes, *, logged: bool = False) -> Written:
    """Write one message into tmp/ and fsync it; read its header where it is to be `logged`. Thread-safe."""
    maildir.write(name, raw)
    head = envelope.read(raw) if logged else None
    return Written(uid, name, hashlib.sha256(raw).digest(), len(raw), head)


class Delivery:
    """The deliveries of one round, under its lease."""

    def __init__(
        self, maildir: Maildir, lease: Lease, *, pending: bool = False, logged: bool = False
    ) -> None:
        """Deliver into `maildir` while `lease` is held. `pending`: the server has something to do after.

        `logged`: messages that are skipped are logged; others where they carry an envelope.
        """
        self._maildir = maildir
        self._lease = lease
        self._account = lease.account
        self._pending = pending
        self._logged = logged
        self._unfinished = False  # a published message's row still says `ready`

    def recover(self) -> None:
        """Finish what a killed round has committed, and delete what it has not.

        Only at the start, while no thread writes into tmp/. Raises LeaseLost, SpoolError.
        """
        ready = Message.select(Message.name).where(Message.account == self._account, Message.ready)
        names = [row.name for row in ready]
        if not names and self._maildir.is_clean():
            return
        self._lease.renew()  # what lies in tmp/ may be another collector's
        self._publish(names)
        self.finish()
        self._maildir.clean(keep=set())

    def deliver(self, batch: Sequence[Written], not_fetched: Iterable[NotFetched], cursor: Cursor) -> int:
        """Deliver `batch`, list `not_fetched` and move the cursor. Returns how many messages were new.

        Messages that were fetched under an earlier UID are not delivered again.
        Raises LeaseLost before the commit, SpoolError.
        """
        self._maildir.sync_tmp()
        with self._lease.transaction():
            self._clear_ready()
            new = self._new(batch, cursor.uidvalidity)
            self._insert(new, cursor.uidvalidity)
            arrived = [Arrived(message.uid, message.size, message.envelope) for message in new]
            record.delivered(self._account, cursor.uidvalidity, arrived)
            self._unlist(batch, cursor.uidvalidity)
            self._list(not_fetched, cursor.uidvalidity)
            cursor.save(self._account)
        self._publish([message.name for message in new])
        self._maildir.discard({message.name for message in batch} - {message.name for message in new})
        return len(new)

    def finish(self) -> None:
        """Store that the last batch is in new/. Raises LeaseLost."""
        if self._unfinished:
            with self._lease.transaction():
                self._clear_ready()

    # -- rows ------------------------------------------------------------------------

    def _clear_ready(self) -> None:
        """Whatever was published before this transaction began is delivered."""
        ready = (Message.account == self._account) & Message.ready
        Message.update(ready=False).where(ready).execute()
        self._unfinished = False

    def _new(self, batch: Sequence[Written], uidvalidity: int) -> Sequence[Written]:
        digests = [message.digest for message in batch]
        same = self._earlier() & Message.digest.in_(digests)
        if not digests or not Message.select().where(same).exists():
            return batch
        return [message for message in batch if not self._renumber(message, uidvalidity)]

    def _renumber(self, message: Written, uidvalidity: int) -> bool:
        """Whether it was fetched under an earlier UID; its row then takes the new one."""
        same = self._earlier() & (Message.digest == message.digest)
        row = Message.id.in_(Message.select(Message.id).where(same).limit(1))
        return bool(Message.update(uidvalidity=uidvalidity, uid=message.uid).where(row).execute())

    def _earlier(self) -> Expression:
        """Rows whose message may reappear: with a superseded UID, or with a POP3 name that has vanished."""
        listed = Uidl.select(Uidl.id).where(
            (Uidl.account == self._account) & (Uidl.number == Message.uid) & Uidl.gone_at.is_null()
        )
        vanished = (Message.uidvalidity == POP3) & ~fn.EXISTS(listed)
        superseded = Message.uidvalidity == SUPERSEDED
        earlier: Expression = (Message.account == self._account) & (superseded | vanished)
        return earlier

    def _insert(self, new: Sequence[Written], uidvalidity: int) -> None:
        rows = [
            (self._account, uidvalidity, message.uid, message.name, message.digest, True, self._pending)
            for message in new
        ]
        if rows:
            Message.insert_many(rows, COLUMNS).execute()

    def _list(self, not_fetched: Iterable[NotFetched], uidvalidity: int) -> None:
        for message in not_fetched:
            size = min(message.size, LARGEST)
            if self._logged:
                record.skipped(self._account, uidvalidity, message.uid, size, message.reason)
            Skipped.insert(
                account=self._account,
                uidvalidity=uidvalidity,
                uid=message.uid,
                size=size,
                reason=message.reason,
                at=db.now(),
                again_at=db.now() + RETRY_SECONDS if message.retry else None,
            ).on_conflict_replace().execute()

    def _unlist(self, batch: Sequence[Written], uidvalidity: int) -> None:
        """What was fetched after all is no longer listed as skipped."""
        skipped = (Skipped.account == self._account) & (Skipped.uidvalidity == uidvalidity)
        if Skipped.select().where(skipped).exists():
            uids = [message.uid for message in batch]
            Skipped.delete().where(skipped & Skipped.uid.in_(uids)).execute()
            record.forget_skipped(self._account, uidvalidity, uids)

    # -- files -----------------------------------------------------------------------

    def _publish(self, names: list[str]) -> None:
        if names:
            self._maildir.publish(names)
            self._maildir.sync_new()
            self._unfinished = True
