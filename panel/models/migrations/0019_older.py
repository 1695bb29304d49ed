"""How many messages 'Start with: new mail only' left on the server when a mailbox was collected first."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql('ALTER TABLE "collection" ADD COLUMN "older" INTEGER')
