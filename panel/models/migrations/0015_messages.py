"""The message log, counts of messages by hour and mailbox, and the rounds of each mailbox."""

from typing import Any

TABLES = (
    """CREATE TABLE "message_log" ("id" INTEGER NOT NULL PRIMARY KEY, "account_id" VARCHAR(36) NOT NULL,
    "at" INTEGER NOT NULL, "size" INTEGER NOT NULL, "sender" TEXT NOT NULL, "sender_name" TEXT NOT NULL,
    "subject" TEXT NOT NULL, "message_id" TEXT NOT NULL, "fetched_id" INTEGER, "waiting" INTEGER NOT NULL,
    "reason" TEXT, "uidvalidity" INTEGER, "uid" INTEGER,
    FOREIGN KEY ("account_id") REFERENCES "account" ("uuid") ON DELETE CASCADE,
    FOREIGN KEY ("fetched_id") REFERENCES "message" ("id") ON DELETE CASCADE)""",
    'CREATE INDEX "message_log_account_id" ON "message_log" ("account_id")',
    'CREATE INDEX "message_log_at" ON "message_log" ("at")',
    'CREATE INDEX "message_log_fetched_id" ON "message_log" ("fetched_id")',
    "CREATE INDEX message_log_waiting ON message_log (id) WHERE waiting",
    "CREATE INDEX message_log_skipped ON message_log (account_id, uidvalidity, uid) WHERE reason IS NOT NULL",
    """CREATE TABLE "mail_count" ("account_id" VARCHAR(36) NOT NULL, "at" INTEGER NOT NULL,
    "delivered" INTEGER NOT NULL, PRIMARY KEY ("account_id", "at"),
    FOREIGN KEY ("account_id") REFERENCES "account" ("uuid") ON DELETE CASCADE) WITHOUT ROWID""",
    """CREATE TABLE "mail_total" ("at" INTEGER NOT NULL PRIMARY KEY, "delivered" INTEGER NOT NULL)
    WITHOUT ROWID""",
    """CREATE TABLE "round_log" ("id" INTEGER NOT NULL PRIMARY KEY, "account_id" VARCHAR(36) NOT NULL,
    "started_at" INTEGER NOT NULL, "took" INTEGER NOT NULL, "found" INTEGER NOT NULL,
    "delivered" INTEGER NOT NULL, "skipped" INTEGER NOT NULL, "error" TEXT, "times" INTEGER NOT NULL,
    "first_at" INTEGER NOT NULL, "quiet" INTEGER NOT NULL,
    FOREIGN KEY ("account_id") REFERENCES "account" ("uuid") ON DELETE CASCADE)""",
    'CREATE INDEX "round_log_account_id" ON "round_log" ("account_id")',
    'ALTER TABLE "collection" ADD COLUMN "quiet_rounds" INTEGER NOT NULL DEFAULT 0',
    'ALTER TABLE "collection" ADD COLUMN "took" INTEGER',
)


def up(migrator: Any, db: Any) -> None:
    for statement in TABLES:
        db.execute_sql(statement)
