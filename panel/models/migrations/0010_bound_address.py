"""The mailbox's address and the kind of secret, which sealed records of version 2 are bound to."""

from typing import Any

from panel.errors import DatabaseError

SEALED = (
    "SELECT EXISTS (SELECT 1 FROM endpoint WHERE sealed IS NOT NULL)"
    " OR EXISTS (SELECT 1 FROM forgotten_secret WHERE sealed IS NOT NULL)"
)
ADDED = (
    """ALTER TABLE "endpoint" ADD COLUMN "address" TEXT NOT NULL DEFAULT ''""",
    """ALTER TABLE "endpoint" ADD COLUMN "kind" TEXT NOT NULL DEFAULT 'password'""",
    """ALTER TABLE "forgotten_secret" ADD COLUMN "address" TEXT NOT NULL DEFAULT ''""",
    """ALTER TABLE "forgotten_secret" ADD COLUMN "kind" TEXT NOT NULL DEFAULT 'password'""",
    "UPDATE endpoint SET address = coalesce("
    "(SELECT account.address FROM account WHERE account.uuid = endpoint.account_id), '')",
)


def up(migrator: Any, db: Any) -> None:
    if db.execute_sql(SEALED).fetchone()[0]:
        raise DatabaseError(
            "The passwords in this database were encrypted by a Mailkeep that was never released.",
            "Turn encryption off with that version, then start this one.",
        )
    for statement in ADDED:
        db.execute_sql(statement)
