"""What a round has to fetch, and how far that brings the cursor."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from panel import db
from panel.collect.box import Box
from panel.collect.cursor import Cursor
from panel.collect.delivery import AGAIN_SECONDS
from panel.models import Account, Message, Skipped
from panel.models.moment import SLACK, ahead


def wanted(session: Box, account: Account, cursor: Cursor) -> list[int]:
    """The UIDs above the cursor that are to be collected and were not fetched yet, ascending.

    Of those that were there before us, 'Begin with' decides: all, the unread
    ones, or none; after a change of the numbers also what arrived since the
    account was made, because only their digests can tell whether we had them.
    """
    listed = session.uids(cursor.last_uid)
    if account.begin != "all" and any(uid < cursor.begin_below for uid in listed):
        mine = _begin_with(session, account)
        listed = [uid for uid in listed if uid >= cursor.begin_below or uid in mine]
    done = Message.select(Message.uid).where(
        Message.account == account,
        Message.uidvalidity == cursor.uidvalidity,
        Message.uid > cursor.last_uid,
    )
    return sorted((set(listed) - {row.uid for row in done}) | _due_again(session, account, cursor))


def _due_again(session: Box, account: Account, cursor: Cursor) -> set[int]:
    """The UIDs that the server did not hand out some time ago, if it still lists them."""
    query = Skipped.select(Skipped.uid).where(
        Skipped.account == account,
        Skipped.uidvalidity == cursor.uidvalidity,
        (Skipped.again_at <= db.now()) | ahead(Skipped.again_at, AGAIN_SECONDS),
    )
    again = {row.uid for row in query}
    return again & set(session.sizes(again)) if again else again


def _begin_with(session: Box, account: Account) -> set[int]:
    since = set(session.arrived_since(min(account.created_at, db.now() + SLACK)))
    return since | set(session.unseen()) if account.begin == "unread" else since


class Progress:
    """Which of the wanted UIDs are done: the cursor stands below the first that is not.

    A server may answer in any order and leave messages out; the cursor never
    steps over one that was not dealt with.
    """

    def __init__(self, cursor: Cursor, wanted: Iterable[int], top: int) -> None:
        """Begin at `cursor`; once all `wanted` are done it stands at `top`."""
        self._begun = cursor
        self._left = deque(sorted(wanted))
        self._done: set[int] = set()
        self._top = max(top, cursor.last_uid)

    def done(self, uids: Iterable[int]) -> Cursor:
        """Count these as dealt with. Returns the cursor that may be stored with them."""
        self._done.update(uids)
        while self._left and self._left[0] in self._done:
            self._done.remove(self._left.popleft())
        last = self._left[0] - 1 if self._left else self._top
        return Cursor(self._begun.uidvalidity, max(last, self._begun.last_uid), self._begun.begin_below)

    @property
    def left(self) -> list[int]:
        """Those not dealt with, ascending."""
        return [uid for uid in self._left if uid not in self._done]
