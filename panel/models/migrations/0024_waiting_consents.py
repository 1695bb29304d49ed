"""Mailboxes whose consent is missing or has ended, found by index."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(
        "CREATE INDEX consent_waiting ON consent (account_id)"
        " WHERE connected_at IS NULL OR ended_at IS NOT NULL"
    )
