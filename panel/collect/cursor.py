"""Where the next round begins: which numbering of the mailbox, and how far in it we have come.

UIDs mean something only together with the server's UIDVALIDITY and the endpoint
they were seen at (RFC 9051, 2.3.1.1). When either changes, all numbers are void:
the rows of fetched messages are kept under the number EARLIER, so that messages
which come by again are known by their digest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from panel import db
from panel.collect.lease import Lease
from panel.mail.endpoint import Endpoint as MailServer
from panel.models import Collection, Message, Skipped

EARLIER = 0  # no server's UIDVALIDITY: it is never zero
NAMED = -1  # nor is this: the numbers are ours, where the server knows names only (`pop`)


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


def open_cursor(lease: Lease, begin: str, mark: bytes, uidvalidity: int, uidnext: int) -> Cursor:
    """The cursor for the mailbox that was opened, started anew where its numbers changed.

    Raises LeaseLost.
    """
    row = Collection.get_by_id(lease.account)
    went_back = uidnext <= row.last_uid  # a server restored from its backup gives numbers a second time
    if row.uidvalidity == uidvalidity and row.endpoint_mark == mark and not went_back:
        return Cursor(uidvalidity, row.last_uid, row.begin_below)
    first = row.uidvalidity is None
    cursor = Cursor(uidvalidity, uidnext - 1 if first and begin == "now" else 0, uidnext)
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


def _set_apart(account: str) -> None:
    """Take the numbers off all rows of the account; they keep their digests."""
    here = (Message.account == account) & (Message.uidvalidity != EARLIER)
    Message.update(uidvalidity=EARLIER, uid=Message.id).where(here).execute()
    Skipped.delete().where(Skipped.account == account).execute()  # they are met, and listed, anew
