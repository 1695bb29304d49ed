"""One message on its way to a target, and what became of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

from panel.logs import escaped

LONGEST_ANSWER = 300  # characters that are kept of what a target says


@dataclass(frozen=True)
class OutgoingMessage:
    """A message. `id` stays the same over all tries, whatever is killed in between."""

    file: BinaryIO  # at its start
    size: int
    id: str
    mailbox: str  # its address
    uid: str  # on the mail server; empty where it is not known


class Disposition(Enum):
    """What became of one try."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # this message is set aside
    LATER = "later"


@dataclass(frozen=True)
class TryResult:
    """How one try ended, what the target answered, and the seconds that it asks to wait."""

    disposition: Disposition
    answer: str
    retry_after: int = 0


def result(disposition: Disposition, answer: str, retry_after: int = 0) -> TryResult:
    """A TryResult whose answer is one line that people can read."""
    return TryResult(disposition, escaped(" ".join(answer.split()))[:LONGEST_ANSWER], retry_after)


def delivery_id(mailbox: str, name: str) -> str:
    """The id of the message in the file `name` of the mailbox with that uuid.

    It follows from the name, which nothing changes but `deliver again`: nothing has to be stored for it.
    """
    return hashlib.sha256(f"{mailbox}/{name}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
