"""How mailboxes sign in: passwords, consents with their apps, secrets kept outside, as the database has it.

One statement reads all of it, and with it what other checks need; nothing is decrypted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from panel import db
from panel.models.endpoint import CONSENT, PASSWORD, REFERENCE
from panel.models.oauth import WAITING
from panel.oauth import sentences
from panel.wording import counted

MOST = 500  # mailboxes without a consent that are alerts of their own
DAY = 24 * 3600
SOON, VERY_SOON = 30 * DAY, 7 * DAY  # before a client secret expires
LAST_DATE = 253_402_300_800  # the year 10000, beyond all that is shown as a date
TESTING = 8 * DAY  # a Google app in Testing ends its consents after seven
FACTS = f"""
WITH unconnected AS (
  SELECT s.account_id, s.app, s.ended_code, s.connected_at, s.ended_at, s.created_at,
    row_number() OVER (ORDER BY s.ended_at IS NULL, s.ended_at DESC, s.id) AS place, count(*) OVER () AS found
  FROM consent s INDEXED BY consent_waiting CROSS JOIN account a
    ON a.uuid = s.account_id AND a.paused_at IS NULL AND a.removed_at IS NULL
  WHERE {WAITING})
SELECT 'waiting', CAST(a.uuid AS TEXT), CAST(a.address AS TEXT), w.ended_code, w.connected_at, w.ended_at,
  o.provider, w.found, w.created_at
FROM unconnected w CROSS JOIN account a ON a.uuid = w.account_id LEFT JOIN oauth_app o ON o.uid = w.app
WHERE w.place <= {MOST}
UNION ALL
SELECT 'app', uid, name, problem, problem_at, secret_expires_at, problem_remedy,
  (SELECT count(*) FROM consent WHERE consent.app = oauth_app.uid), NULL FROM oauth_app
UNION ALL
SELECT kind, direction, NULL, NULL, NULL, NULL, NULL, count(*), NULL FROM endpoint WHERE kind <> '{PASSWORD}'
  GROUP BY kind, direction
UNION ALL
SELECT '{PASSWORD}', 'any', NULL, NULL, NULL, NULL, NULL, (SELECT count(*) FROM endpoint)
  - (SELECT count(*) FROM endpoint WHERE kind <> '{PASSWORD}'), NULL
UNION ALL
SELECT * FROM (SELECT 'report', NULL, NULL, NULL, NULL, finished_at, NULL, NULL, NULL FROM sweep_report
  WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1)
"""  # noqa: S608 - text of ours


@dataclass(frozen=True)
class WaitingMailbox:
    """A mailbox without a consent. `ended`: by the provider; otherwise nobody has signed in yet."""

    uuid: str
    address: str
    ended: bool
    since: int
    message: str
    remedy: str

    @property
    def path(self) -> str:
        return f"/accounts/{quote(self.uuid, '')}"[:200]


@dataclass(frozen=True)
class AppFact:
    uid: str
    name: str
    problem: str
    remedy: str
    problem_at: int | None
    expires_at: int | None  # its client secret
    mailboxes: int

    @property
    def path(self) -> str:
        return f"/server/oauth/{quote(self.uid, '')}"[:200]

    def expires_within(self, seconds: int) -> bool:
        """Whether its client secret expires so soon, or has expired."""
        return self.expires_at is not None and self.expires_at - db.now() <= seconds

    @property
    def expiry(self) -> str:
        """When the client secret expires, in a sentence."""
        assert self.expires_at is not None
        day, days = f"{datetime.fromtimestamp(self.expires_at, UTC):%Y-%m-%d}", self._days_left
        when = f"expires on {day}, in {counted(days, 'day')}" if days > 0 else f"expired on {day}"
        return f"The client secret of the app “{self.name}” {when}."

    @property
    def _days_left(self) -> int:
        assert self.expires_at is not None
        return -((db.now() - self.expires_at) // DAY)


NEW_SECRET = "Create a new one at the provider and enter it on the app's page; nobody needs to sign in again."  # noqa: S105


@dataclass(frozen=True)
class SignIns:
    """All of it. `waiting`: the first MOST of those `waiting_count`, the ended ones before the others."""

    waiting: list[WaitingMailbox]
    waiting_count: int
    apps: list[AppFact]
    passwords: int  # servers that are signed in to with one
    by_consent: int  # mailboxes that are collected so
    by_reference: int
    references: int  # servers, of either direction, with a secret kept outside
    others: int  # servers, of either direction, without a password
    reported_at: int  # when the newest report of a sweep was finished; 0 where there is none


def read(rows: list[Any] | None = None) -> SignIns:
    """As it is now; `rows` of FACTS where they were read already."""
    rows = db.database.execute_sql(FACTS).fetchall() if rows is None else rows
    waiting = [row for row in rows if row[0] == "waiting"]
    count = {(row[0], row[1]): row[7] for row in rows if row[0] in (PASSWORD, CONSENT, REFERENCE)}
    return SignIns(
        [_waiting(row) for row in waiting],
        waiting[0][7] if waiting else 0,
        [_app(row) for row in rows if row[0] == "app"],
        passwords=count.get((PASSWORD, "any"), 0),
        by_consent=count.get((CONSENT, "in"), 0),
        by_reference=count.get((REFERENCE, "in"), 0),
        references=sum(number for (kind, _), number in count.items() if kind == REFERENCE),
        reported_at=next((row[5] for row in rows if row[0] == "report" and isinstance(row[5], int)), 0),
        others=sum(number for (kind, _), number in count.items() if kind != PASSWORD),
    )


def _waiting(row: Any) -> WaitingMailbox:
    _, uuid, address, code, connected_at, ended_at, provider, _, created_at = row
    error = sentences.waits() if ended_at is None else sentences.ended(str(code or ""))
    remedy = error.remedy
    known = isinstance(ended_at, int) and isinstance(connected_at, int)
    if provider == "google" and known and 0 <= ended_at - connected_at <= TESTING:
        remedy = (
            "Google ends every consent of an app in Testing after seven days: publish the app "
            "(Google Auth Platform, Audience). Then connect the mailbox again."
        )
    since = ended_at if ended_at is not None else created_at
    since = since if isinstance(since, int) else 0
    return WaitingMailbox(uuid, address, ended_at is not None, since, error.message, remedy)


def _app(row: Any) -> AppFact:
    _, uid, name, problem, problem_at, expires_at, remedy, mailboxes, _ = row
    return AppFact(
        str(uid), str(name), str(problem or ""), str(remedy or ""),
        problem_at if isinstance(problem_at, int) else None,
        expires_at if isinstance(expires_at, int) and 0 < expires_at < LAST_DATE else None, mailboxes,
    )  # fmt: skip
