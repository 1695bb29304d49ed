"""Where each mailbox's mail goes out to (empty: the default), and how long it may wait without an alert."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql('ALTER TABLE "account" ADD COLUMN "deliver_to" VARCHAR(32) NOT NULL DEFAULT \'\'')
    db.execute_sql("ALTER TABLE alert_channels ADD COLUMN waiting_minutes INTEGER NOT NULL DEFAULT 60")
