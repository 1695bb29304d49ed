"""How far setup has come after the first administrator. An install that was set up before is closed."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    for column in ("admin_id", "encryption_later_at", "mailbox_later_at"):
        db.execute_sql(f'ALTER TABLE "set_up" ADD COLUMN "{column}" INTEGER')
