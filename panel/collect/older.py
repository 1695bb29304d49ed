"""Mail that 'Start with' left on the server, collected after all; and skipped messages, tried again.

The cursor moves back to the start of the mailbox. What was fetched keeps its row, by which the next round
knows it; so nothing is delivered twice.
"""

from __future__ import annotations

from panel.collect.lease import Lease, LeaseLost
from panel.errors import Refused
from panel.models import Account, Collection, Skipped

BUSY = ("Mail is being collected at this moment.", "Try again once this round has ended.")


def collect_older(uuid: str) -> None:
    """Have the next round fetch every message that was not fetched yet.

    Raises Refused where the mailbox was never opened, or while a round is under way: that would
    store its own cursor over this one.
    """
    account, was_opened = Account.get_by_id(uuid), Collection.uidvalidity.is_null(False)
    if account.begin == "all":
        raise Refused("All mail of this mailbox is collected already.")
    if not Collection.select().where(Collection.account == uuid, was_opened).exists():
        raise Refused("This mailbox was not collected yet.", "Try again after its first run.")
    lease = Lease(uuid)
    if not lease.take():
        raise Refused(*BUSY)
    try:
        with lease.transaction():
            Account.update(begin="all").where(Account.uuid == uuid).execute()
            Collection.update(last_uid=0, older=None).where(Collection.account == uuid).execute()
    except LeaseLost:
        raise Refused(*BUSY) from None
    finally:
        lease.release()


def retry_skipped(uuid: str) -> int:
    """Have the next round try every skipped message of the mailbox again; how many there are."""
    return int(Skipped.update(again_at=0).where(Skipped.account == uuid).execute())
