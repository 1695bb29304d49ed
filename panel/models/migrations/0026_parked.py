"""Sessions that stay open between two rounds (IDLE), and leases that are taken only to write."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql('ALTER TABLE "collection" ADD COLUMN "leases" INTEGER NOT NULL DEFAULT 0')
    db.execute_sql('ALTER TABLE "collection" ADD COLUMN "parked_by" VARCHAR(64)')
    db.execute_sql("CREATE INDEX collection_parked ON collection (parked_by) WHERE parked_by IS NOT NULL")
