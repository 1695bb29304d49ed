"""The tag that authenticates the time of a verified key backup; a time without one is void."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql('ALTER TABLE "encryption" ADD COLUMN "backup_tag" BLOB')
