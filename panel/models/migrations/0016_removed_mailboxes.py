"""A removed mailbox is kept for some minutes, so that it can be restored; long work has a row that shows it.

Its address can be added again at once: addresses are unique among the mailboxes that were not removed.
"""

from typing import Any

STATEMENTS = (
    'ALTER TABLE "account" ADD COLUMN "removed_at" INTEGER',
    'DROP INDEX "account_address"',
    "CREATE UNIQUE INDEX account_address ON account (address) WHERE removed_at IS NULL",
    'DROP INDEX "account_paused"',
    "CREATE INDEX account_paused ON account (address) WHERE paused_at IS NOT NULL AND removed_at IS NULL",
    "CREATE INDEX account_removed ON account (removed_at) WHERE removed_at IS NOT NULL",
    "CREATE INDEX endpoint_server ON endpoint (host, address) WHERE direction = 'in'",
    """CREATE TABLE "job" ("id" INTEGER NOT NULL PRIMARY KEY, "kind" VARCHAR(16) NOT NULL,
      "who" VARCHAR(254) NOT NULL, "total" INTEGER NOT NULL, "done" INTEGER NOT NULL,
      "changed" INTEGER NOT NULL, "started_at" INTEGER NOT NULL, "beat_at" INTEGER NOT NULL,
      "finished_at" INTEGER, "problems" TEXT NOT NULL)""",
)


def up(migrator: Any, db: Any) -> None:
    for statement in STATEMENTS:
        db.execute_sql(statement)
