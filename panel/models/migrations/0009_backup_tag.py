"""What vouches for the time at which a copy of the key file was proved; a time without it counts no more."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql('ALTER TABLE "encryption" ADD COLUMN "backup_tag" BLOB')
