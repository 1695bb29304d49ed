"""Through how many mailboxes helpdesks send, and which of these cannot, as the database has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

MOST_NAMED = 5  # mailboxes that fail
# Rows as those of `sign_ins.FACTS`, with which they are read.
FACTS = f"""
SELECT 'senders', NULL, NULL, NULL, max(s.sent_at), NULL, NULL, count(*), CAST(total(s.sent) AS INTEGER)
FROM submission_password s JOIN account a ON a.uuid = s.account_id AND a.removed_at IS NULL
UNION ALL
SELECT * FROM (SELECT 'sender', CAST(a.uuid AS TEXT), CAST(a.address AS TEXT), CAST(s.problem AS TEXT), NULL,
    NULL, CAST(s.remedy AS TEXT), NULL, NULL
  FROM submission_password s JOIN account a ON a.uuid = s.account_id AND a.removed_at IS NULL
  WHERE s.problem <> '' ORDER BY a.address LIMIT {MOST_NAMED})
"""  # noqa: S608 - a number of ours


@dataclass(frozen=True)
class FailingSender:
    """A mailbox whose server could not be signed in to."""

    path: str  # its uuid in a URL
    address: str
    problem: str
    remedy: str


@dataclass(frozen=True)
class SendingTotals:
    """All mailboxes with a submission password."""

    mailboxes: int
    sent: int
    sent_at: int | None
    failing: list[FailingSender]  # the first of them


def stored(rows: list[Any]) -> SendingTotals:
    """From the rows of FACTS."""
    _, _, _, _, sent_at, _, _, mailboxes, sent = next(row for row in rows if row[0] == "senders")
    failing = [
        FailingSender(quote(row[1], ""), row[2], row[3], row[6] or "") for row in rows if row[0] == "sender"
    ]
    return SendingTotals(mailboxes, sent, sent_at if isinstance(sent_at, int) else None, failing)
