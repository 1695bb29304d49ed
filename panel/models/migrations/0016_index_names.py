"""Indexes by the names of their renamed tables and columns (0014)."""

from typing import Any

INDEXES = (
    ("notice_over_at", "alert_over_at", "alert", ("over_at",)),
    ("notice_topic_subject", "alert_topic_subject", "alert", ("topic", "subject")),
    ("message_account_id_owed", "message_account_id_pending", "message", ("account_id", "pending")),
)


def up(migrator: Any, db: Any) -> None:
    for old, new, table, columns in INDEXES:
        db.execute_sql(f'DROP INDEX "{old}"')
        names = ", ".join(f'"{column}"' for column in columns)
        db.execute_sql(f'CREATE INDEX "{new}" ON "{table}" ({names})')
