"""Tables and columns by the words that pages and code use: alerts, heartbeat, remedy, pending."""

from typing import Any

RENAMED = (
    "ALTER TABLE notice RENAME TO alert",
    "ALTER TABLE alert RENAME COLUMN says TO message",
    "ALTER TABLE alert RENAME COLUMN mend TO remedy",
    "ALTER TABLE alert RENAME COLUMN well_since TO quiet_since",
    "ALTER TABLE alert RENAME COLUMN over_at TO resolved_at",
    "ALTER TABLE alert RENAME COLUMN told_at TO notified_at",
    "ALTER TABLE alert RENAME COLUMN told_times TO notified_times",
    "ALTER TABLE alert RENAME COLUMN well_told_at TO resolution_sent_at",
    "ALTER TABLE notice_channels RENAME TO alert_channels",
    "ALTER TABLE vitals RENAME TO heartbeat",
    "ALTER TABLE collection RENAME COLUMN hint TO remedy",
    "ALTER TABLE message RENAME COLUMN owed TO pending",
    # SQLite keeps the names of indexes.
    'DROP INDEX "notice_over_at"',
    'DROP INDEX "notice_topic_subject"',
    'DROP INDEX "message_account_id_owed"',
    'CREATE INDEX "alert_resolved_at" ON "alert" ("resolved_at")',
    'CREATE INDEX "alert_topic_subject" ON "alert" ("topic", "subject")',
    'CREATE INDEX "message_account_id_pending" ON "message" ("account_id", "pending")',
)


def up(migrator: Any, db: Any) -> None:
    for statement in RENAMED:
        db.execute_sql(statement)
