"""Indexes to find due mailboxes by, and the length of each wait, which shows times that a wrong clock set."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql('ALTER TABLE "collection" ADD COLUMN "waits" INTEGER')
    for column in ("next_due_at", "leased_until"):
        db.execute_sql(f'CREATE INDEX "collection_{column}" ON "collection" ("{column}")')
