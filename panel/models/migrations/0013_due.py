"""Which mailboxes are due is found by index; and how long each wait was meant to be is kept beside its end.

By that a time is known that a wrong clock has set too far ahead.
"""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql('ALTER TABLE "collection" ADD COLUMN "waits" INTEGER')
    for column in ("next_due_at", "leased_until"):
        db.execute_sql(f'CREATE INDEX "collection_{column}" ON "collection" ("{column}")')
