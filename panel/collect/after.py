"""After collecting: what the account wants done with delivered mail on its server.

A message that is committed while the account wants something is `pending`. The action follows once the
message is in new/, and the row is updated once the server has confirmed. A round that is killed in
between repeats the action, which changes nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from panel.collect.control import RoundControl
from panel.collect.lease import Lease
from panel.collect.mailbox import MailboxSession
from panel.models import LISTED, Account, Message
from panel.models.prepared import Prepared, given

BATCH = 500  # messages


def apply_pending(
    mailbox: MailboxSession, account: Account, uidvalidity: int, lease: Lease, control: RoundControl
) -> None:
    """Do what is pending in the open mailbox. Raises MailError (step `after`), LeaseLost.

    Leaves the rest to the next round when asked to yield, or when POP3 has ended its session by
    deleting. Mail stays untouched where a person has chosen to leave it since.
    """
    pending = (Message.account == account) & (Message.uidvalidity == uidvalidity) & Message.pending
    where = {"account": account.uuid, "uidvalidity": uidvalidity}
    while (
        not mailbox.ended
        and not control.should_yield
        and (uids := [row.uid for row in _PENDING.all(**where)])
    ):
        current = Account.get_or_none(Account.uuid == account.uuid, LISTED)  # a person may have edited it
        if current is None or current.paused_at is not None:
            return
        lease.renew()
        _apply(mailbox, current, uids)
        with lease.transaction():
            Message.update(pending=False).where(pending & Message.uid.in_(uids)).execute()


def _pending() -> Any:
    this = (Message.account == given("account")) & (Message.uidvalidity == given("uidvalidity"))
    query = Message.select(Message.uid).where(this & Message.pending & ~Message.ready)
    return query.order_by(Message.uid).limit(BATCH)


_PENDING = Prepared(_pending)


def _apply(mailbox: MailboxSession, account: Account, uids: Sequence[int]) -> None:
    if account.on_server == "seen":
        mailbox.mark_seen(uids)
    elif account.on_server == "move":
        mailbox.move(uids, account.move_to)
    elif account.on_server == "delete":
        mailbox.delete(uids)
