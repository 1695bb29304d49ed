"""Alerts by cause, with severity, muting and thresholds; what Activity is searched for is found by index.

An open alert of one mailbox gives way to the one of its cause, without a message that it was resolved.
"""

from typing import Any

STEPS = (
    "ALTER TABLE alert ADD COLUMN severity VARCHAR(4) NOT NULL DEFAULT 'bad'",
    "ALTER TABLE alert ADD COLUMN mailboxes INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE alert ADD COLUMN notified_to TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE alert ADD COLUMN notified_mailboxes INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE alert ADD COLUMN muted_until INTEGER",
    "ALTER TABLE alert ADD COLUMN muted_by VARCHAR(254) NOT NULL DEFAULT ''",
    "ALTER TABLE alert ADD COLUMN muted_mailboxes INTEGER NOT NULL DEFAULT 0",
    "DELETE FROM alert WHERE topic = 'account' AND resolved_at IS NULL",
    "ALTER TABLE alert_channels ADD COLUMN failing_minutes INTEGER NOT NULL DEFAULT 60",
    "ALTER TABLE alert_channels ADD COLUMN unverified_days INTEGER NOT NULL DEFAULT 7",
    "ALTER TABLE alert_channels ADD COLUMN disk_percent INTEGER NOT NULL DEFAULT 5",
    'CREATE INDEX "activity_who" ON "activity" ("who")',
    'CREATE INDEX "activity_subject" ON "activity" ("subject")',
    'CREATE INDEX "activity_address" ON "activity" ("address")',
)


def up(migrator: Any, db: Any) -> None:
    for step in STEPS:
        db.execute_sql(step)
