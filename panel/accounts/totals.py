"""How all mailboxes are, in numbers: found by index, so that it costs as much as there are that are not OK.

The states are those of `overview.Line.health`; a test compares both.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from panel import db
from panel.accounts.overview import OVERDUE, ROUND_SECONDS, Health
from panel.models.collection import LEASE_SECONDS
from panel.models.moment import SLACK
from panel.models.oauth import WAITING
from panel.vault.snapshot import Snapshot

LATE_SECONDS = 3600  # since the last round of a mailbox that is not known to fail, and its interval
NAMED = 5
UNLISTED = {False: Health.OK, True: Health.WAITS_FOR_KEY}  # what all the others are

# Every mailbox that may be anything but OK, by index.
SILENT = f"""
  SELECT account_id FROM endpoint INDEXED BY endpoint_empty WHERE sealed IS NULL AND clear IS NULL
  UNION SELECT account_id FROM collection WHERE last_success_at IS NULL
  UNION SELECT account_id FROM collection WHERE next_due_at < :now - :round
  UNION SELECT account_id FROM collection WHERE last_success_at > :now + :slack
  UNION SELECT value FROM json_each(:unreadable)
  UNION SELECT account_id FROM consent INDEXED BY consent_waiting WHERE {WAITING}
  UNION SELECT uuid
    FROM (SELECT 1 WHERE (SELECT count(*) FROM collection) < (SELECT count(*) FROM account))
    CROSS JOIN account WHERE uuid NOT IN (SELECT account_id FROM collection)"""  # noqa: S608 - text of ours
NOTABLE = f"""
  SELECT uuid FROM account WHERE paused_at IS NOT NULL AND removed_at IS NULL
  UNION SELECT account_id FROM collection WHERE problem IS NOT NULL
  UNION {SILENT}"""  # noqa: S608 - text of ours
# What each of them is. `number` and `place` are the rows of account and endpoint.
ASSESS = """
WITH notable (uuid) AS ({}), known AS (
  SELECT a.uuid, a.rowid AS number, e.id AS place, a.address, e.host, a.interval, a.paused_at, c.problem,
    e.sealed IS NULL AND e.clear IS NULL AS empty,
    e.kind = 'consent' AND NOT EXISTS (SELECT 1 FROM consent s WHERE s.account_id = a.uuid
      AND s.connected_at IS NOT NULL AND s.ended_at IS NULL) AS waits, c.next_due_at < :now - :round AS due,
    CASE WHEN typeof(c.last_success_at) = 'integer' AND c.last_success_at BETWEEN 0 AND :now + :slack
      THEN c.last_success_at END AS success,
    CASE WHEN a.created_at <= :now + :slack THEN a.created_at ELSE 0 END AS created,
    c.leased_by IS NOT NULL AND c.leased_until > :now AND c.leased_until <= :now + :lease + :slack AS busy
  FROM notable CROSS JOIN account a ON a.uuid = notable.uuid AND a.removed_at IS NULL
  JOIN endpoint e ON e.account_id = a.uuid AND e.direction = 'in'
  LEFT JOIN collection c ON c.account_id = a.uuid
), judged AS (
  SELECT *, paused_at IS NULL AND NOT waits AND NOT coalesce(busy, 0)
      AND :now > coalesce(success, created) + interval + :late AS late,
    CASE WHEN paused_at IS NOT NULL THEN 'paused'
      WHEN :no_key AND NOT empty THEN 'waits for the key'
      WHEN empty OR uuid IN (SELECT value FROM json_each(:unreadable)) THEN 'no password'
      WHEN waits THEN 'consent needed'
      WHEN problem <> '' THEN 'failing'
      WHEN success IS NULL THEN 'new'
      WHEN due AND :now - success > :overdue * interval + :round AND NOT busy THEN 'overdue'
      ELSE 'ok' END AS health
  FROM known
)
"""
ASSESSED = ASSESS.format(NOTABLE)
GONE = "removed_at IS NOT NULL"
# How many accounts there are, and how many servers to collect from.
ACCOUNTS = f"(SELECT count(*) FROM account) - (SELECT count(*) FROM account WHERE {GONE})"  # noqa: S608
SIZES = f"""{ACCOUNTS},
  (SELECT count(*) FROM endpoint) - (SELECT count(*) FROM endpoint WHERE direction <> 'in')
    - (SELECT count(*) FROM account CROSS JOIN endpoint ON account_id = uuid AND direction = 'in'
      WHERE {GONE})"""  # noqa: S608
# First of all of them: how many accounts, how many servers to collect from, and the newest and the oldest
# collection; then for each state what there is of it.
COUNTED = f"""{ASSESSED}
SELECT '', {SIZES},
  (SELECT last_success_at FROM collection CROSS JOIN account
    ON uuid = account_id AND paused_at IS NULL AND removed_at IS NULL
    WHERE last_success_at BETWEEN 0 AND :now + :slack ORDER BY last_success_at DESC LIMIT 1),
  (SELECT last_success_at FROM collection CROSS JOIN account
    ON uuid = account_id AND paused_at IS NULL AND removed_at IS NULL
    WHERE last_success_at BETWEEN 0 AND :now + :slack AND problem IS NULL AND next_due_at >= :now - :round
    ORDER BY last_success_at LIMIT 1), NULL
UNION ALL
SELECT health, count(*), min(success), sum(late), sum(late AND coalesce(problem, '') = ''), sum(problem <> '')
FROM judged GROUP BY health
"""  # noqa: S608 - text of ours
LATE = "late AND coalesce(problem, '') = ''"
NOT_OK = "health NOT IN ('ok', 'paused')"


@dataclass(frozen=True)
class Totals:
    """How all mailboxes are that have a mail server. Times are UTC seconds."""

    health: Counter[Health]  # one that is being collected at this moment counts as OK, not as overdue
    without_server: int  # mailboxes that SQL took the server from; no list shows them
    newest: int | None  # when any that is not paused was last collected
    oldest: int | None  # of those that are OK, when the one was that was collected the longest ago
    problems: int  # of those that are not paused: the last round failed
    late: int  # of those that are not paused: no round has succeeded for an hour more than its interval
    late_unexplained: int  # of these, those that no problem explains,
    late_named: tuple[str, ...]  # and the addresses of some of them

    @property
    def total(self) -> int:
        return self.health.total()

    @property
    def running(self) -> int:
        """Those that nobody paused."""
        return self.total - self.health[Health.PAUSED]


def read(key: Snapshot) -> Totals:
    """The numbers of this moment; `key` says which passwords cannot be decrypted."""
    asked = values(key)
    (_, accounts, served, newest, oldest, _), *states = db.read(COUNTED, asked)
    health, sums = Counter[Health](), [0, 0, 0]
    for name, count, least, *parts in states:
        health[Health(name)] = count
        oldest = _earlier(oldest, least) if name == Health.OK else oldest
        if name != Health.PAUSED:
            sums = [one + (more or 0) for one, more in zip(sums, parts, strict=True)]
    health[UNLISTED[key.state.no_key]] += served - health.total()
    late, unexplained, problems = sums
    return Totals(
        health=+health,
        without_server=max(accounts - served, 0),
        newest=newest,
        oldest=oldest,
        problems=problems,
        late=late,
        late_unexplained=unexplained,
        late_named=_named(LATE, asked) if unexplained else (),
    )


def not_ok(key: Snapshot) -> tuple[str, ...]:
    """The first NAMED addresses of mailboxes that are neither OK nor paused."""
    return _named(NOT_OK, values(key))


def _named(which: str, asked: dict[str, Any]) -> tuple[str, ...]:
    text = f"{ASSESSED} SELECT CAST(address AS TEXT) FROM judged WHERE {which} ORDER BY 1 LIMIT {NAMED}"  # noqa: S608
    return tuple(address for (address,) in db.read(text, asked))


def values(key: Snapshot) -> dict[str, Any]:
    """What ASSESS is asked with."""
    return {
        "now": db.now(), "slack": SLACK, "lease": LEASE_SECONDS, "late": LATE_SECONDS,
        "overdue": OVERDUE, "round": ROUND_SECONDS,
        "no_key": key.state.no_key,
        "unreadable": json.dumps([each.account for each in key.failures if each.stops_collecting]),
    }  # fmt: skip


def _earlier(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)
