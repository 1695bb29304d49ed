"""What becomes of delivered mail on its server, as the account wants it: nothing, unless somebody chose more.

Each message that was committed while the account wanted something is `owed`. It
is done for messages in new/ only, and noted after the server said yes; a round
that is killed in between does it again, which changes nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence

from panel import db
from panel.collect.box import Box
from panel.collect.lease import Lease
from panel.collect.turn import Turn
from panel.models import Account, Message

AT_ONCE = 500  # messages


def settle(box: Box, account: Account, uidvalidity: int, lease: Lease, turn: Turn) -> None:
    """Do what is owed in the mailbox that `box` has open. Raises MailError (step `after`), LeaseLost.

    Who chose to keep mail on the server since, keeps it. POP3 ends the session with
    deleting; what is left then, or when `turn` gives way, is done in the next round.
    """
    while not box.ended and not turn.give_way and (uids := _owed(account, uidvalidity)):
        now = Account.get_or_none(Account.uuid == account.uuid)  # somebody may have changed it meanwhile
        if now is None or now.paused_at is not None:
            return
        if now.on_server != "keep":
            _do(box, now, uids)
        with db.transaction():
            lease.keep()
            here = (Message.account == account) & (Message.uidvalidity == uidvalidity)
            Message.update(pending=False).where(here & Message.uid.in_(uids)).execute()


def _owed(account: Account, uidvalidity: int) -> list[int]:
    here = (Message.account == account) & (Message.uidvalidity == uidvalidity)
    query = Message.select(Message.uid).where(here & Message.pending & ~Message.ready)
    return [row.uid for row in query.order_by(Message.uid).limit(AT_ONCE)]


def _do(box: Box, account: Account, uids: Sequence[int]) -> None:
    if account.on_server == "seen":
        box.mark_seen(uids)
    elif account.on_server == "move":
        box.move(uids, account.move_to)
    elif account.on_server == "delete":
        box.delete(uids)
