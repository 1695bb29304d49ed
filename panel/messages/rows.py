"""One message as lists show it, and where it is now. Whatever type SQL put into a column, a line is text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from panel.deliver import status
from panel.deliver.spool import ASIDE, SENT
from panel.models.base import as_text, as_whole

WAITING = "waiting"  # its file lies where it was delivered
TAKEN = "taken"
SKIPPED = "skipped"
DELIVERED, SET_ASIDE = "delivered", "aside"  # by the deliverer
PLACES = {SENT: DELIVERED, ASIDE: SET_ASIDE}

COLUMNS = (
    "l.id, l.at, l.size, l.sender, l.sender_name, l.subject, l.message_id, l.reason, l.account_id,"
    " CAST(a.address AS TEXT), m.name, m.ready, l.waiting"
)
JOINS = "JOIN account a ON a.uuid = l.account_id LEFT JOIN message m ON m.id = l.fetched_id"


@dataclass(frozen=True)
class MessageLine:
    """One message as lists show it."""

    at: int
    mailbox: str  # its address
    account: str  # its uuid
    sender: str
    sender_name: str
    subject: str | None  # None for whoever may not read it
    message_id: str
    size: int
    place: str  # waiting, delivered, aside, taken, or skipped: then `reason` says why
    reason: str
    file: str  # in the Maildir; empty where it was skipped
    went_at: int | None = None  # when it was delivered or set aside
    attempts: int = 0  # to deliver it
    answer: str = ""  # of its target, which has refused it at least once; for whoever may read subjects

    @property
    def known_as(self) -> str:
        """Name or address of the sender."""
        return self.sender_name or self.sender


def line(row: Sequence[Any], spool: Path, subjects: bool) -> MessageLine:
    """The line of a row of COLUMNS. Looks for its file."""
    _, at, size, sender, name, subject, message_id, reason, account, mailbox, file, ready, waiting = row
    place, went_at = SKIPPED, None
    if reason is None:
        seen = is_waiting(spool, account, file, ready)
        place = WAITING if (waiting if seen is None else seen) else TAKEN
    attempts, answer = status.tries(spool, text(account), text(file)) if place == WAITING else (0, "")
    if place == TAKEN and (went := status.where(spool, text(account), text(file))):
        place, went_at = PLACES[went[0]], went[1]
        if place == SET_ASIDE:
            answer = status.refusal(spool, text(account), text(file))
    return MessageLine(
        at=whole(at),
        mailbox=text(mailbox),
        account=text(account),
        sender=text(sender),
        sender_name=text(name),
        subject=text(subject) if subjects else None,
        message_id=text(message_id),
        size=whole(size),
        place=place,
        reason=text(reason),
        file=text(file),
        went_at=went_at,
        attempts=attempts,
        answer=answer if subjects else "",
    )


def is_waiting(spool: Path, account: object, name: object, ready: object) -> bool | None:
    """Whether the message still lies where it was delivered; None where that cannot be seen.

    `ready`: it is on its way from tmp/ into new/.
    """
    try:
        new = spool / str(UUID(text(account))) / "new"  # never a path that SQL put there
        if "/" in text(name) or not name:
            return None
        (new / text(name)).stat()
    except FileNotFoundError:
        return True if ready else (False if new.is_dir() else None)
    except (OSError, ValueError):
        return None
    return True


def text(value: object) -> str:
    """The value as text; empty where there is none."""
    return "" if value is None else as_text(value)


def whole(value: object) -> int:
    """The value as a whole number; 0 where it is none."""
    return as_whole(value) or 0
