"""Where the next round begins: which numbering of the mailbox, and how far in it we have come.

UIDs mean something only together with the server's UIDVALIDITY and the endpoint
they were seen at (RFC 9051, 2.3.1.1). When either changes, all numbers are void:
the rows of fetched messages are kept under the number EARLIER, so that messages
which come by again are known by their digest. A server that tells no UIDVALIDITY, or 0, is
believed as long as the newest message that we have is still found under its number.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from panel import db
from panel.collect.lease import Lease
from panel.mail.server import MailServer
from panel.models import Collection, Message, Skipped

if TYPE_CHECKING:
    from panel.collect.box import Box

EARLIER = 0  # numbers of before; no server's UIDVALIDITY that we keep is zero
NAMED = -1  # nor this: the numbers are ours, where the server knows names only (`pop`)
UNTOLD = -2  # numbers of a server that tells no UIDVALIDITY
PROOFS = 20  # messages of which one that is still there shows that the numbers are the same


@dataclass(frozen=True)
class Cursor:
    """All messages of `uidvalidity` up to `last_uid` are done.

    Those below `begin_below` were there before us; what becomes of them, the
    account's 'Begin with' says.
    """

    uidvalidity: int
    last_uid: int
    begin_below: int

    def save(self, account: str) -> None:
        """Store it; inside the transaction of what it counts as done."""
        Collection.update(last_uid=self.last_uid).where(Collection.account == account).execute()


def endpoint_mark(server: MailServer, folder: str) -> bytes:
    """Stands for the mailbox that UIDs belong to."""
    parts = [server.protocol, server.host, server.port, server.username, folder]
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def open_cursor(lease: Lease, begin: str, mark: bytes, box: Box) -> Cursor:
    """The cursor for the mailbox that `box` has open, started anew where its numbers changed.

    Raises LeaseLost, MailError.
    """
    row = Collection.get_by_id(lease.account)
    uidvalidity = box.uidvalidity or UNTOLD
    same = row.uidvalidity == uidvalidity and row.endpoint_mark == mark
    went_back = 0 < box.uidnext <= row.last_uid  # a server restored from its backup gives numbers again
    if same and not went_back and (box.uidvalidity or _numbers_hold(box, lease.account)):
        return Cursor(uidvalidity, row.last_uid, row.begin_below)
    cursor = _begun(box, uidvalidity, new_only=row.uidvalidity is None and begin == "now")
    with db.transaction():
        lease.keep()
        _set_apart(lease.account)
        Collection.update(
            uidvalidity=uidvalidity,
            endpoint_mark=mark,
            last_uid=cursor.last_uid,
            begin_below=cursor.begin_below,
        ).where(Collection.account == lease.account).execute()
    return cursor


def _begun(box: Box, uidvalidity: int, *, new_only: bool) -> Cursor:
    """A cursor from the start; with `new_only` behind all that is there.

    Where the server's UIDNEXT is no higher than a number that it lists, and a message
    that came this very moment is one reason, dates decide what was there before.
    """
    above = box.highest() + 1
    clear = box.uidnext == 0 or box.uidnext >= above
    return Cursor(uidvalidity, above - 1 if new_only and clear else 0, above)


def _numbers_hold(box: Box, account: str) -> bool:
    """Whether the newest message that we know by number still has it, where no UIDVALIDITY tells."""
    query = Message.select(Message.uid, Message.digest).where(
        Message.account == account, Message.uidvalidity == UNTOLD
    )
    known = {row.uid: bytes(row.digest) for row in query.order_by(Message.uid.desc()).limit(PROOFS)}
    newest = max(box.sizes(known), default=None)
    if newest is None:
        return False
    return known[newest] in {hashlib.sha256(raw).digest() for _, raw in box.fetch([newest])}


def _set_apart(account: str) -> None:
    """Take the numbers off all rows of the account; they keep their digests."""
    here = (Message.account == account) & (Message.uidvalidity != EARLIER)
    Message.update(uidvalidity=EARLIER, uid=Message.id).where(here).execute()
    Skipped.delete().where(Skipped.account == account).execute()  # they are met, and listed, anew
