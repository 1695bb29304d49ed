"""Fetched messages, of which there are millions in time, are found by fewer and smaller indexes."""

from typing import Any

INDEXES = (
    'DROP INDEX "message_account_id"',  # begins message_account_id_uidvalidity_uid
    'DROP INDEX "message_account_id_ready"',
    'DROP INDEX "message_account_id_pending"',
    "CREATE INDEX message_ready ON message (account_id) WHERE ready",
    "CREATE INDEX message_pending ON message (account_id, uidvalidity, uid) WHERE pending",
)


def up(migrator: Any, db: Any) -> None:
    for index in INDEXES:
        db.execute_sql(index)
