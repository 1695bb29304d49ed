"""Where a round starts in its mailbox, which messages it has to fetch, and how far it has come.

UIDs are valid only together with the server's UIDVALIDITY and the endpoint they were seen at (RFC 9051,
2.3.1.1). When either changes, all UIDs are void: the rows of fetched messages move to SUPERSEDED, so that
messages which reappear are recognised by digest. Where a server names no UIDVALIDITY, or 0, its UIDs are
taken to be unchanged as long as the newest known message is still found under its own.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from peewee import fn

from panel import db
from panel.collect.lease import Lease
from panel.mail.server import MailServer
from panel.messages import record
from panel.models import Account, Collection, Message, Skipped
from panel.models.collection import RETRY_SECONDS
from panel.models.moment import SLACK, ahead
from panel.models.prepared import Prepared, given

if TYPE_CHECKING:
    from panel.collect.mailbox import MailboxSession

# Values in the place of a UIDVALIDITY; no server's own is zero or below.
SUPERSEDED = 0  # UIDs from before the last change
POP3 = -1  # our own numbers (`pop3`)
NO_UIDVALIDITY = -2  # UIDs of a server that names none
SAMPLES = 20  # known messages of which one that is still there shows that UIDs are unchanged


@dataclass(frozen=True)
class Cursor:
    """All messages of `uidvalidity` up to `last_uid` are done.

    Those below `begin_below` are older than the account; its 'Start with' decides about them.
    """

    uidvalidity: int
    last_uid: int
    begin_below: int

    def save(self, account: str) -> None:
        """Store it; inside the transaction that stores the messages it covers."""
        Collection.update(last_uid=self.last_uid).where(Collection.account == account).execute()


def endpoint_mark(server: MailServer, folder: str) -> bytes:
    """A digest that identifies the mailbox which UIDs belong to."""
    parts = [server.protocol, server.host, server.port, server.username, folder]
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def open_cursor(lease: Lease, begin: str, mark: bytes, mailbox: MailboxSession) -> Cursor:
    """The cursor for the open mailbox, reset where its UIDs changed. Raises LeaseLost, MailError."""
    row = Collection.get_by_id(lease.account)
    uidvalidity = mailbox.uidvalidity or NO_UIDVALIDITY
    same = row.uidvalidity == uidvalidity and row.endpoint_mark == mark
    went_back = 0 < mailbox.uidnext <= row.last_uid  # a server restored from a backup reuses UIDs
    if same and not went_back and (mailbox.uidvalidity or _uids_unchanged(mailbox, lease.account)):
        return Cursor(uidvalidity, row.last_uid, row.begin_below)
    new_only = row.uidvalidity is None and begin == "now"
    cursor = _first(mailbox, uidvalidity, new_only=new_only)
    at_end = cursor.last_uid == cursor.begin_below - 1
    older = len(mailbox.uids(0)) if new_only and at_end else row.older
    with lease.transaction():
        _supersede(lease.account)
        Collection.update(
            uidvalidity=uidvalidity,
            endpoint_mark=mark,
            last_uid=cursor.last_uid,
            begin_below=cursor.begin_below,
            older=older,
        ).where(Collection.account == lease.account).execute()
    return cursor


def _first(mailbox: MailboxSession, uidvalidity: int, *, new_only: bool) -> Cursor:
    """A cursor at the start; with `new_only` at the end, so that only later messages are fetched.

    Where UIDNEXT contradicts the listing (a message may have arrived in between), the start is safe:
    'Start with' then decides by date.
    """
    above = mailbox.highest() + 1
    consistent = mailbox.uidnext == 0 or mailbox.uidnext >= above
    return Cursor(uidvalidity, above - 1 if new_only and consistent else 0, above)


def highest_done(account: str, cursor: Cursor) -> int:
    """The highest UID that was fetched; 0 where there is none above the cursor.

    The cursor may stand below it: `older` moves it back.
    """
    query = Message.select(fn.MAX(Message.uid)).where(
        Message.account == account, Message.uidvalidity == cursor.uidvalidity, Message.uid > cursor.last_uid
    )
    return query.scalar() or 0


def _uids_unchanged(mailbox: MailboxSession, account: str) -> bool:
    query = Message.select(Message.uid, Message.digest).where(
        Message.account == account, Message.uidvalidity == NO_UIDVALIDITY
    )
    known = {row.uid: bytes(row.digest) for row in query.order_by(Message.uid.desc()).limit(SAMPLES)}
    newest = max(mailbox.sizes(known), default=None)
    if newest is None:
        return False
    return known[newest] in {hashlib.sha256(raw).digest() for _, raw in mailbox.fetch([newest])}


def _supersede(account: str) -> None:
    """Void the UIDs of all rows; digests stay. What was skipped is found, and listed, again."""
    valid = (Message.account == account) & (Message.uidvalidity != SUPERSEDED)
    Message.update(uidvalidity=SUPERSEDED, uid=Message.id).where(valid).execute()
    Skipped.delete().where(Skipped.account == account).execute()
    record.forget_skipped(account)


def wanted_uids(mailbox: MailboxSession, account: Account, cursor: Cursor) -> list[int]:
    """The UIDs to fetch, ascending: those above the cursor that are not done, and those due for a retry.

    For messages older than the account 'Start with' decides: all, the unread, or none. After a reset
    also what arrived since the account was created, because only digests tell whether it was fetched.
    """
    listed = mailbox.uids(cursor.last_uid)
    if account.begin != "all" and any(uid < cursor.begin_below for uid in listed):
        chosen = _chosen(mailbox, account)
        listed = [uid for uid in listed if uid >= cursor.begin_below or uid in chosen]
    where = {"account": account.uuid, "uidvalidity": cursor.uidvalidity, "last_uid": cursor.last_uid}
    return sorted(
        (set(listed) - {row.uid for row in _DONE.all(**where)}) | _retries(mailbox, account, cursor)
    )


def _done() -> Any:
    this = (Message.account == given("account")) & (Message.uidvalidity == given("uidvalidity"))
    return Message.select(Message.uid).where(this & (Message.uid > given("last_uid")))


_DONE = Prepared(_done)


def _chosen(mailbox: MailboxSession, account: Account) -> set[int]:
    since = set(mailbox.arrived_since(min(account.created_at, db.now() + SLACK)))
    return since | set(mailbox.unseen()) if account.begin == "unread" else since


def _retries(mailbox: MailboxSession, account: Account, cursor: Cursor) -> set[int]:
    where = {"account": account.uuid, "uidvalidity": cursor.uidvalidity, "now": db.now()}
    due = {row.uid for row in _AGAIN.all(**where)}
    return due & set(mailbox.sizes(due)) if due else due


def _again() -> Any:
    this = (Skipped.account == given("account")) & (Skipped.uidvalidity == given("uidvalidity"))
    is_due = (Skipped.again_at <= given("now")) | ahead(Skipped.again_at, RETRY_SECONDS, given("now"))
    return Skipped.select(Skipped.uid).where(this & is_due)


_AGAIN = Prepared(_again)


class UidTracker:
    """Which wanted UIDs are done. The cursor stays below the first that is not.

    Servers answer in any order and leave messages out; the cursor never passes one that is not done.
    """

    def __init__(self, cursor: Cursor, wanted: Iterable[int], top: int) -> None:
        """Start at `cursor`; once all `wanted` are done, it stands at `top`."""
        self._start = cursor
        self._left = deque(sorted(wanted))
        self._done: set[int] = set()
        self._top = max(top, cursor.last_uid)

    def done(self, uids: Iterable[int]) -> Cursor:
        """Count these as done. Returns the cursor to store with them."""
        self._done.update(uids)
        while self._left and self._left[0] in self._done:
            self._done.remove(self._left.popleft())
        last = self._left[0] - 1 if self._left else self._top
        return replace(self._start, last_uid=max(last, self._start.last_uid))

    @property
    def left(self) -> list[int]:
        """Those not done, ascending."""
        return [uid for uid in self._left if uid not in self._done]
