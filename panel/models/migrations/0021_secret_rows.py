"""Apps, consents and flows under way; nothing but a password may stand in clear text."""

from typing import Any

# SQLite adds no CHECK to a table: it is made anew. What stands in clear text beside another kind was put
# there by hand; it was never a password, and does not come along.
COLUMNS = (
    "id, clear, sealed, rev, account_id, direction, protocol, host, port, security, username, auth_method,"
    " token_url, address, kind, secret_set_at, failed_rev, failed_generation, failure"
)
ONLY_PASSWORDS = COLUMNS.replace("clear", "CASE kind WHEN 'password' THEN clear END", 1)
ENDPOINT = (
    'CREATE TABLE "new_endpoint" ("id" INTEGER NOT NULL PRIMARY KEY, "clear" TEXT, "sealed" BLOB,'
    ' "rev" INTEGER NOT NULL, "account_id" VARCHAR(36) NOT NULL, "direction" TEXT NOT NULL,'
    ' "protocol" TEXT NOT NULL, "host" TEXT NOT NULL, "port" INTEGER NOT NULL, "security" TEXT NOT NULL,'
    ' "username" TEXT NOT NULL, "auth_method" TEXT NOT NULL, "token_url" TEXT NOT NULL,'
    ' "address" TEXT NOT NULL, "kind" TEXT NOT NULL, "secret_set_at" INTEGER, "failed_rev" INTEGER,'
    ' "failed_generation" INTEGER, "failure" TEXT,'
    ' FOREIGN KEY ("account_id") REFERENCES "account" ("uuid") ON DELETE CASCADE,'
    " CHECK (clear IS NULL OR sealed IS NULL), CHECK (clear IS NULL OR kind = 'password'))",
    f'INSERT INTO "new_endpoint" ({COLUMNS}) SELECT {ONLY_PASSWORDS} FROM "endpoint"',  # noqa: S608
    'DROP TABLE "endpoint"',
    'ALTER TABLE "new_endpoint" RENAME TO "endpoint"',
    'CREATE INDEX "endpoint_account_id" ON "endpoint" ("account_id")',
    'CREATE UNIQUE INDEX "endpoint_account_id_direction" ON "endpoint" ("account_id", "direction")',
    "CREATE INDEX endpoint_failed_rev ON endpoint (failed_rev)",
    "CREATE INDEX endpoint_secret_set_at ON endpoint (secret_set_at)",
    "CREATE INDEX endpoint_key ON endpoint (substr(sealed, 3, 8)) WHERE sealed IS NOT NULL",
    "CREATE INDEX endpoint_unsealed ON endpoint (failed_rev) WHERE sealed IS NULL",
    "CREATE INDEX endpoint_clear ON endpoint (account_id) WHERE clear IS NOT NULL",
    "CREATE INDEX endpoint_empty ON endpoint (account_id) WHERE sealed IS NULL AND clear IS NULL",
    "CREATE INDEX endpoint_sending ON endpoint (direction) WHERE direction <> 'in'",
    "CREATE INDEX endpoint_server ON endpoint (host, address) WHERE direction = 'in'",
    "CREATE INDEX endpoint_other ON endpoint (sealed IS NULL) WHERE kind <> 'password'",
    "CREATE INDEX endpoint_planted ON endpoint (id) WHERE clear IS NOT NULL AND kind <> 'password'",
)
# What was set aside may be of any of these tables: its bound columns are a list, as text.
BOUND = (
    "account_id, direction, protocol, host, port, security, username, auth_method, token_url, address, kind"
)
AS_TEXT = ", ".join(f"CAST({name} AS TEXT)" for name in BOUND.split(", "))
FORGOTTEN = (
    'CREATE TABLE "new_forgotten_secret" ("id" INTEGER NOT NULL PRIMARY KEY, "table_name" TEXT NOT NULL,'
    ' "account_id" VARCHAR(36), "bound" TEXT NOT NULL, "sealed" BLOB NOT NULL,'
    ' "forgotten_at" INTEGER NOT NULL,'
    ' FOREIGN KEY ("account_id") REFERENCES "account" ("uuid") ON DELETE CASCADE)',
    f"INSERT INTO new_forgotten_secret SELECT id, 'endpoint', account_id, json_array({AS_TEXT}),"  # noqa: S608
    " sealed, forgotten_at FROM forgotten_secret",
    'DROP TABLE "forgotten_secret"',
    'ALTER TABLE "new_forgotten_secret" RENAME TO "forgotten_secret"',
    'CREATE INDEX "forgotten_secret_account_id" ON "forgotten_secret" ("account_id")',
)
ANY = '"id" INTEGER NOT NULL PRIMARY KEY, "clear" TEXT, "sealed" BLOB, "rev" INTEGER NOT NULL'
FAILED = '"failed_rev" INTEGER, "failed_generation" INTEGER, "failure" TEXT'
TABLES = {
    "oauth_app": '"uid" TEXT NOT NULL, "name" TEXT NOT NULL, "provider" TEXT NOT NULL,'
    ' "tenant" TEXT NOT NULL, "issuer" TEXT NOT NULL, "client_id" TEXT NOT NULL,'
    ' "scopes" TEXT NOT NULL, "access" TEXT NOT NULL,'
    ' "kind" TEXT NOT NULL, "secret_expires_at" INTEGER, "created_at" INTEGER NOT NULL, "problem" TEXT,'
    ' "problem_remedy" TEXT, "problem_at" INTEGER',
    "consent": '"uid" TEXT NOT NULL, "app" TEXT NOT NULL, "account_id" VARCHAR(36) NOT NULL,'
    ' "signs_in_as" TEXT NOT NULL, "subject" TEXT NOT NULL, "kind" TEXT NOT NULL, "connected_at" INTEGER,'
    ' "ended_at" INTEGER, "ended_code" TEXT, "lease_owner" TEXT, "lease_until" INTEGER,'
    ' "created_at" INTEGER NOT NULL',
    "pending": '"uid" TEXT NOT NULL, "kind" TEXT NOT NULL, "created_at" INTEGER NOT NULL',
}
ACCOUNT = {"consent": ', FOREIGN KEY ("account_id") REFERENCES "account" ("uuid") ON DELETE CASCADE'}
INDEXES = (
    'UNIQUE INDEX "oauth_app_name" ON "oauth_app" ("name")',
    'INDEX "consent_app" ON "consent" ("app")',
    'INDEX "consent_account_id" ON "consent" ("account_id")',
    'INDEX "pending_created_at" ON "pending" ("created_at")',
)


def up(migrator: Any, db: Any) -> None:
    for statement in (*ENDPOINT, *FORGOTTEN):
        db.execute_sql(statement)
    for table, columns in TABLES.items():
        made = f"{ANY}, {columns}, {FAILED}{ACCOUNT.get(table, '')}, CHECK (clear IS NULL)"
        db.execute_sql(f'CREATE TABLE "{table}" ({made})')
        db.execute_sql(f'CREATE UNIQUE INDEX "{table}_uid" ON "{table}" ("uid")')
        db.execute_sql(f'CREATE INDEX "{table}_failed_rev" ON "{table}" ("failed_rev")')
        db.execute_sql(f"CREATE INDEX {table}_key ON {table} (substr(sealed, 3, 8)) WHERE sealed IS NOT NULL")
        db.execute_sql(f"CREATE INDEX {table}_unsealed ON {table} (failed_rev) WHERE sealed IS NULL")
        db.execute_sql(f"CREATE INDEX {table}_planted ON {table} (id) WHERE clear IS NOT NULL")
    for index in INDEXES:
        db.execute_sql(f"CREATE {index}")
