"""What became of a message whose client left before it had the answer: it will come again, and is answered
so again, instead of being sent twice.

Kept in the database, so that it outlives a restart, until the client goes on after the answer, or an hour.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from panel import db
from panel.errors import DatabaseError
from panel.models.submission import SubmissionAnswer, SubmissionPassword
from panel.submission.passwords import SendingMailbox

REMEMBERED = 60 * 60  # seconds
MOST_ROWS = 10_000  # the oldest are deleted first
LONGEST_WAIT = 600.0  # seconds, for another connection that sends the same message

log = logging.getLogger(__name__)


class Answers:
    def __init__(self) -> None:
        self._under_way: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def alone(self, key: str) -> Iterator[bool]:
        """Wait until no other connection sends the message `key`. False where one still does."""
        with self._changed:
            is_alone = self._changed.wait_for(lambda: key not in self._under_way, LONGEST_WAIT)
            if is_alone:
                self._under_way.add(key)
        try:
            yield is_alone
        finally:
            with self._changed:
                if is_alone:
                    self._under_way.remove(key)
                self._changed.notify_all()

    def find(self, key: str) -> str | None:
        """The answer to the message `key`, if it was sent and its client did not go on."""
        with db.explained(), db.database.connection_context():
            now = db.now()
            recent = SubmissionAnswer.at.between(now - REMEMBERED, now)
            found = SubmissionAnswer.get_or_none((SubmissionAnswer.digest == key) & recent)
            return None if found is None else str(found.reply)

    def store(self, key: str, reply: str, mailbox: SendingMailbox) -> None:
        """The mailbox's server took the message `key` with `reply`; count it."""
        row, now = SubmissionPassword, db.now()
        with _logged(mailbox), db.transaction():
            old = SubmissionAnswer.select(SubmissionAnswer.digest).order_by(SubmissionAnswer.at.desc())
            forgotten = SubmissionAnswer.digest << old.offset(MOST_ROWS)
            SubmissionAnswer.delete().where((SubmissionAnswer.at < now - REMEMBERED) | forgotten).execute()
            SubmissionAnswer.insert(digest=key, reply=reply, at=now).on_conflict_replace().execute()
            row.update(sent=row.sent + 1, sent_at=now).where(row.account == mailbox.uuid).execute()

    def forget(self, key: str, mailbox: SendingMailbox) -> None:
        """The client has read the answer to the message `key`."""
        with _logged(mailbox):
            SubmissionAnswer.delete().where(SubmissionAnswer.digest == key).execute()


@contextmanager
def _logged(mailbox: SendingMailbox) -> Iterator[None]:
    """The database, whose errors change nothing: the message is sent, whatever is noted of it."""
    try:
        with db.explained(), db.database.connection_context():
            yield
    except DatabaseError as error:
        log.warning("What became of a message of %s was not noted: %s", mailbox.address, error)
