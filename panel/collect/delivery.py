"""Each message into the Maildir once, whatever is killed when.

A batch: files written and fsynced in tmp/, then tmp/ itself → one commit of the
messages' rows together with the cursor → files renamed into new/ → new/ fsynced
→ rows no longer `ready`, which the next transaction notes. Before the commit
nothing counts: the files are swept away and fetched again. After it the files
are ours: `recover` moves what is still in tmp/; what is not there was delivered,
and somebody may have taken it since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from peewee import Expression, fn

from panel import db
from panel.collect.cursor import EARLIER, NAMED, Cursor
from panel.collect.lease import Lease
from panel.mail.maildir import Maildir
from panel.models import Message, Skipped, Uidl

AGAIN_SECONDS = 900  # until a message that the server did not hand out is tried again
LARGEST = 2**63 - 1  # that the database holds; a server may say anything


@dataclass(frozen=True)
class Written:
    """One message that is safe in tmp/."""

    uid: int
    name: str
    digest: bytes  # SHA-256 of the message as the server sent it


@dataclass(frozen=True)
class Passed:
    """One message that is not fetched, and why."""

    uid: int
    size: int
    reason: str
    again: bool = False  # whether to try it again later


def write(maildir: Maildir, uid: int, raw: bytes) -> Written:
    """Write one message into tmp/ and fsync it. Several threads may do so at once."""
    name = maildir.unique_name(len(raw))
    maildir.write(name, raw)
    return Written(uid, name, hashlib.sha256(raw).digest())


class Delivery:
    """The delivering of one round, under its lease."""

    def __init__(self, maildir: Maildir, lease: Lease, *, owes: bool = False) -> None:
        """Deliver into `maildir` while `lease` is held. `owes`: then the server has something to do."""
        self._maildir = maildir
        self._lease = lease
        self._account = lease.account
        self._owes = owes
        self._unsettled = False  # something was published whose row still says `ready`

    def recover(self) -> None:
        """Finish what a killed round has committed, and sweep away what it has not.

        Only at the beginning, while nobody writes into tmp/. Raises LeaseLost, SpoolError.
        """
        ready = Message.select(Message.name).where(Message.account == self._account, Message.ready)
        self._publish([row.name for row in ready])
        self.finish()
        self._maildir.clean(keep=set())

    def deliver(self, batch: Sequence[Written], passed: Iterable[Passed], cursor: Cursor) -> int:
        """Deliver `batch`, list `passed` and move the cursor. Returns how many were new.

        Messages that an earlier numbering of the mailbox brought already are not
        delivered again. Raises LeaseLost before anything was committed, SpoolError.
        """
        self._maildir.sync_tmp()
        with db.transaction():
            self._lease.keep()
            self._settle()
            fresh = self._fresh(batch, cursor.uidvalidity)
            self._note(fresh, cursor.uidvalidity)
            self._unlist(batch, cursor.uidvalidity)
            self._list(passed, cursor.uidvalidity)
            cursor.save(self._account)
        self._publish([one.name for one in fresh])
        self._maildir.discard({one.name for one in batch} - {one.name for one in fresh})
        return len(fresh)

    def finish(self) -> None:
        """Note that the last batch lies in new/. Raises LeaseLost."""
        if self._unsettled:
            with db.transaction():
                self._lease.keep()
                self._settle()

    # -- rows ------------------------------------------------------------------------

    def _settle(self) -> None:
        """What was published before this transaction began is delivered."""
        here = (Message.account == self._account) & Message.ready
        Message.update(ready=False).where(here).execute()
        self._unsettled = False

    def _fresh(self, batch: Sequence[Written], uidvalidity: int) -> Sequence[Written]:
        digests = [one.digest for one in batch]
        same = self._earlier() & Message.digest.in_(digests)
        if not digests or not Message.select().where(same).exists():
            return batch
        return [one for one in batch if not self._known(one, uidvalidity)]

    def _known(self, one: Written, uidvalidity: int) -> bool:
        """Whether it was fetched by another number; its row then takes the new one."""
        earlier = Message.select(Message.id).where(self._earlier() & (Message.digest == one.digest)).limit(1)
        same = Message.id.in_(earlier)
        return bool(Message.update(uidvalidity=uidvalidity, uid=one.uid).where(same).execute())

    def _earlier(self) -> Expression:
        """What may come once more by another number: of an earlier numbering, or a name that has vanished."""
        listed = Uidl.select(Uidl.id).where(
            (Uidl.account == self._account) & (Uidl.number == Message.uid) & Uidl.gone_at.is_null()
        )
        vanished = (Message.uidvalidity == NAMED) & ~fn.EXISTS(listed)
        earlier: Expression = (Message.account == self._account) & (
            (Message.uidvalidity == EARLIER) | vanished
        )
        return earlier

    def _note(self, fresh: Sequence[Written], uidvalidity: int) -> None:
        rows = [
            {
                "account": self._account,
                "uidvalidity": uidvalidity,
                "uid": one.uid,
                "name": one.name,
                "digest": one.digest,
                "ready": True,
                "pending": self._owes,
            }
            for one in fresh
        ]
        if rows:
            Message.insert_many(rows).execute()

    def _list(self, passed: Iterable[Passed], uidvalidity: int) -> None:
        for one in passed:
            Skipped.insert(
                account=self._account,
                uidvalidity=uidvalidity,
                uid=one.uid,
                size=min(one.size, LARGEST),
                reason=one.reason,
                at=db.now(),
                again_at=db.now() + AGAIN_SECONDS if one.again else None,
            ).on_conflict_replace().execute()

    def _unlist(self, batch: Sequence[Written], uidvalidity: int) -> None:
        """What was not handed out before, and is now, is not skipped any more."""
        here = (Skipped.account == self._account) & (Skipped.uidvalidity == uidvalidity)
        if Skipped.select().where(here & Skipped.again_at.is_null(False)).exists():
            Skipped.delete().where(here & Skipped.uid.in_([one.uid for one in batch])).execute()

    # -- files -----------------------------------------------------------------------

    def _publish(self, names: list[str]) -> None:
        if names:
            self._maildir.publish(names)
            self._maildir.sync_new()
            self._unsettled = True
