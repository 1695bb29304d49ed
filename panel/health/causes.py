"""Why mailboxes fail: those that fail alike, on the same server, are one cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from panel import db
from panel.models.moment import SLACK
from panel.models.oauth import WAITING

EXAMPLES = 5  # mailboxes that one cause names
# What their server is, and what happened there without the server's own words, which differ from one login
# to the next. Errors that name a path of this server are one cause, and so are those of the directory that
# secrets kept outside lie in. Mailboxes that wait for a consent or their app are not here: see `sign_ins`.
CAUSES = f"""
WITH failing AS (
  SELECT a.uuid, CAST(a.address AS TEXT) AS address,
    CASE WHEN c.problem LIKE '%PANEL_SECRETS_DIR %' THEN '' ELSE CAST(e.host AS TEXT) END AS host,
    CAST(c.problem AS TEXT) AS problem, CAST(c.remedy AS TEXT) AS remedy, c.last_success_at AS success,
    CASE WHEN instr(c.problem, ' /') THEN ''
      ELSE substr(c.problem, 1, coalesce(nullif(instr(c.problem, ' It says: '), 0) - 1, 1000)) END AS cause,
    coalesce(c.failing_since, c.last_success_at, a.created_at) AS since
  FROM collection c JOIN account a ON a.uuid = c.account_id
  LEFT JOIN endpoint e ON e.account_id = a.uuid AND e.direction = 'in'
  WHERE c.problem IS NOT NULL AND a.paused_at IS NULL AND a.removed_at IS NULL
    AND NOT (e.kind = 'consent' AND EXISTS (SELECT 1 FROM consent s LEFT JOIN oauth_app o ON o.uid = s.app
      WHERE s.account_id = a.uuid AND ({WAITING} OR o.problem = c.problem)))
    AND (c.last_success_at IS NULL OR c.last_success_at <= :before OR c.last_success_at > :ahead)
    AND (c.failing_since IS NULL OR c.failing_since <= :before OR c.failing_since > :ahead)
), numbered AS (
  SELECT *, row_number() OVER (PARTITION BY host, cause ORDER BY address) AS place
  FROM failing WHERE since <= :before OR since > :ahead
)
SELECT host, cause, count(*) AS mailboxes, min(since) AS begun, problem, remedy, success, uuid,
  group_concat(address, char(10)) FILTER (WHERE place <= {EXAMPLES}),
  count(*) OVER (), sum(count(*)) OVER ()
FROM numbered GROUP BY host, cause ORDER BY mailboxes DESC, begun, host, cause LIMIT :most
"""  # noqa: S608 - text and numbers of ours


@dataclass(frozen=True)
class FailingCause:
    """Mailboxes that fail alike: how many, some of their addresses, and what is stored of one of them.

    `cause` is empty where the errors name a path of this server.
    """

    host: str
    cause: str
    count: int
    since: int | None
    problem: str | None
    remedy: str | None
    last_success_at: int | None
    uuid: str
    addresses: list[str]

    @property
    def path(self) -> str:
        """The page that shows them: of the one, or the list."""
        if self.count == 1:
            return f"/accounts/{quote(self.uuid, '')}"
        return f"/accounts?state=failing&q={quote(self.host, '')}"


@dataclass(frozen=True)
class Causes:
    """The causes of most mailboxes first, and how many others there are."""

    named: list[FailingCause]
    more: int  # other causes,
    more_mailboxes: int  # and the mailboxes that fail by them


def read(most: int, seconds: int = 0) -> Causes:
    """Why mailboxes fail that are not paused and have been failing for so long."""
    now = db.now()
    values = {"before": now - seconds, "ahead": now + SLACK, "most": most}
    rows = db.database.execute_sql(CAUSES, values).fetchall()
    causes, total = rows[0][-2:] if rows else (0, 0)
    return Causes([_cause(row) for row in rows], causes - len(rows), total - sum(row[2] for row in rows))


def _cause(row: Any) -> FailingCause:
    host, cause, count, since, problem, remedy, success, uuid, named, *_ = row
    return FailingCause(
        host=host or "",
        cause=cause or "",
        count=count,
        since=since if isinstance(since, int) else None,
        problem=problem,
        remedy=remedy,
        last_success_at=success if isinstance(success, int) else None,
        uuid=str(uuid),
        addresses=(named or "").split("\n"),
    )
