"""Sessions get a form token of their own, the role they were authenticated in, and a mark for a new token.

Those of before had their form tokens in the cookie: they end, and people sign in once more.
"""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql('DELETE FROM "session"')
    db.execute_sql('ALTER TABLE "session" ADD COLUMN "form_token" VARCHAR(64) NOT NULL DEFAULT \'\'')
    db.execute_sql(
        'ALTER TABLE "session" ADD COLUMN "role" VARCHAR(8) NOT NULL DEFAULT \'user\''
        " CHECK (role IN ('admin', 'agent', 'user'))"
    )
    db.execute_sql('ALTER TABLE "session" ADD COLUMN "renewal_due" INTEGER NOT NULL DEFAULT 0')
