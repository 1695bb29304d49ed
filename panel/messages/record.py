"""Writes what came in, inside the transaction that stores the delivery: neither without the other.

The message log holds what `Envelope` read; counts hold numbers only. Everything here is a few statements
of plain SQL for each batch, since every round with news runs them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from panel import db
from panel.mail.envelope import Envelope

HOUR = 3600
ROUNDS = 50  # of one mailbox that are kept
ERROR = 1_000  # characters

LOG = """
INSERT INTO message_log
  (account_id, fetched_id, at, size, sender, sender_name, subject, message_id, waiting)
SELECT account_id, id, ?, ?, ?, ?, ?, ?, 1 FROM message WHERE account_id = ? AND uidvalidity = ? AND uid = ?
"""
SKIPPED = "FROM message_log WHERE account_id = ? AND uidvalidity = ? AND uid = ? AND reason IS NOT NULL"
LOG_SKIPPED = f"""
INSERT INTO message_log
  (account_id, at, size, sender, sender_name, subject, message_id, waiting, reason, uidvalidity, uid)
SELECT ?, ?, ?, '', '', '', '', 0, ?, ?, ? WHERE NOT EXISTS (SELECT 1 {SKIPPED})
"""
AGAIN_SKIPPED = f"UPDATE message_log SET size = ?, reason = ? WHERE id IN (SELECT id {SKIPPED})"  # noqa: S608
NO_LONGER_SKIPPED = f"DELETE {SKIPPED}"
COUNT = """
INSERT INTO mail_count (account_id, at, delivered) VALUES (?, ?, ?)
ON CONFLICT (account_id, at) DO UPDATE SET delivered = delivered + excluded.delivered
"""
TOTAL = """
INSERT INTO mail_total (at, delivered) VALUES (?, ?)
ON CONFLICT (at) DO UPDATE SET delivered = delivered + excluded.delivered
"""
AGAIN = """
UPDATE round_log SET times = times + 1, started_at = ?, took = ?
WHERE id = (SELECT max(id) FROM round_log WHERE account_id = ?) AND error = ? AND delivered = 0 AND ? = 0
"""
ROUND = """
INSERT INTO round_log
  (account_id, started_at, took, found, delivered, skipped, error, times, first_at, quiet)
SELECT uuid, ?, ?, ?, ?, ?, ?, 1, ?, ? FROM account WHERE uuid = ?
"""
OLD_ROUNDS = """
DELETE FROM round_log WHERE account_id = ? AND id <=
  (SELECT id FROM round_log WHERE account_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)
"""


@dataclass(frozen=True)
class Arrived:
    """One delivered message; without `envelope` it is counted, not logged."""

    uid: int
    size: int
    envelope: Envelope | None


def delivered(account: str, uidvalidity: int, messages: Iterable[Arrived]) -> None:
    """Log and count these, whose rows in `message` exist. Call it in their transaction."""
    now, count = db.now(), 0
    for each in messages:
        count += 1
        if (head := each.envelope) is not None:
            _run(
                LOG, now, each.size, head.sender, head.sender_name, head.subject, head.message_id,
                account, uidvalidity, each.uid,
            )  # fmt: skip
    if count:
        hour = now - now % HOUR
        _run(COUNT, account, hour, count)
        _run(TOTAL, hour, count)


def skipped(account: str, uidvalidity: int, uid: int, size: int, reason: str) -> None:
    """Log one that is left on its server, once however often it is tried."""
    which = (account, uidvalidity, uid)
    _run(LOG_SKIPPED, account, db.now(), size, reason, uidvalidity, uid, *which)
    _run(AGAIN_SKIPPED, size, reason, *which)


def forget_skipped(account: str, uidvalidity: int | None = None, uids: Iterable[int] = ()) -> None:
    """Remove the lines of skipped messages that were delivered after all; without `uids` all of a mailbox."""
    if uidvalidity is None:
        _run("DELETE FROM message_log WHERE account_id = ? AND reason IS NOT NULL", account)
    for uid in uids:
        _run(NO_LONGER_SKIPPED, account, uidvalidity, uid)


@dataclass(frozen=True)
class Round:
    """How one round went. Times: UTC seconds, and milliseconds that it took."""

    started_at: int
    took: int
    found: int = 0
    delivered: int = 0
    skipped: int = 0
    error: str | None = None


def round_ended(account: str, this: Round, quiet: int) -> None:
    """Keep a round that brought something or failed, after `quiet` ones without news."""
    error = this.error if this.error is None else this.error[:ERROR]
    with db.transaction():
        again = error is not None and this.delivered == 0
        if again and _run(AGAIN, this.started_at, this.took, account, error, quiet):
            return
        _run(
            ROUND, this.started_at, this.took, this.found, this.delivered, this.skipped, error,
            this.started_at, quiet, account,
        )  # fmt: skip
        _run(OLD_ROUNDS, account, account, ROUNDS)


def _run(statement: str, *values: object) -> int:
    changed: int = db.database.execute_sql(statement, values).rowcount
    return changed
