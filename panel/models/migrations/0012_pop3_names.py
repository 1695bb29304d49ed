"""POP3 names with their sizes, remembered for a while after they vanish."""

from typing import Any

SET_APART = """UPDATE "TABLE" SET "uidvalidity" = -1 WHERE "uidvalidity" = 1 AND "account_id" IN
    (SELECT "account_id" FROM "endpoint" WHERE "direction" = 'in' AND "protocol" = 'pop3')"""


def up(migrator: Any, db: Any) -> None:
    for statement in (
        """ALTER TABLE "uidl" ADD COLUMN "size" INTEGER NOT NULL DEFAULT 0""",
        """ALTER TABLE "uidl" ADD COLUMN "head" BLOB""",
        """ALTER TABLE "uidl" ADD COLUMN "gone_at" INTEGER""",
        'DROP INDEX "uidl_account_id_uidl"',
        'DROP INDEX "uidl_account_id_number"',
        """CREATE UNIQUE INDEX "uidl_account_id_uidl_size" ON "uidl" ("account_id", "uidl", "size")""",
        """CREATE INDEX "uidl_account_id_number" ON "uidl" ("account_id", "number")""",
    ):
        db.execute_sql(statement)
    # The numbers are ours, and no server's UIDVALIDITY is below zero.
    for table in ("message", "skipped", "collection"):
        db.execute_sql(SET_APART.replace("TABLE", table))
