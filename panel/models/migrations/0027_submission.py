"""Local passwords by which helpdesks send as a mailbox, and answers that they may not have read."""

from typing import Any

STEPS = (
    'CREATE TABLE "submission_password" ("id" INTEGER NOT NULL PRIMARY KEY, "clear" TEXT, "sealed" BLOB,'
    ' "rev" INTEGER NOT NULL, "failed_rev" INTEGER, "failed_generation" INTEGER, "failure" TEXT,'
    ' "uid" TEXT NOT NULL, "account_id" VARCHAR(36) NOT NULL, "aliases" TEXT NOT NULL,'
    ' "kind" TEXT NOT NULL, "created_at" INTEGER NOT NULL, "sent" INTEGER NOT NULL, "sent_at" INTEGER,'
    ' "problem" TEXT, "remedy" TEXT,'
    ' FOREIGN KEY ("account_id") REFERENCES "account" ("uuid") ON DELETE CASCADE, CHECK (clear IS NULL))',
    'CREATE UNIQUE INDEX "submission_password_uid" ON "submission_password" ("uid")',
    'CREATE UNIQUE INDEX "submission_password_account_id" ON "submission_password" ("account_id")',
    'CREATE INDEX "submission_password_failed_rev" ON "submission_password" ("failed_rev")',
    "CREATE INDEX submission_password_key ON submission_password (substr(sealed, 3, 8))"
    " WHERE sealed IS NOT NULL",
    "CREATE INDEX submission_password_unsealed ON submission_password (failed_rev) WHERE sealed IS NULL",
    "CREATE INDEX submission_password_planted ON submission_password (id) WHERE clear IS NOT NULL",
    'CREATE TABLE "submission_answer" ("digest" VARCHAR(64) NOT NULL PRIMARY KEY,'
    ' "reply" VARCHAR(1000) NOT NULL, "at" INTEGER NOT NULL)',
    'CREATE INDEX "submission_answer_at" ON "submission_answer" ("at")',
)


def up(migrator: Any, db: Any) -> None:
    for step in STEPS:
        db.execute_sql(step)
