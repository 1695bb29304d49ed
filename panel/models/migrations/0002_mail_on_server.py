"""What to do with mail on its server after collecting, and the names of POP3 messages."""

from typing import Any

from peewee import AutoField, BigIntegerField, CharField, ForeignKeyField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    # Plain ADD COLUMN: Peewee's add_column would rebuild the table, and dropping the old one would
    # cascade to all that belongs to an account.
    for statement in (
        """ALTER TABLE "account" ADD COLUMN "on_server" VARCHAR(8) NOT NULL DEFAULT 'keep'""",
        """ALTER TABLE "account" ADD COLUMN "move_to" VARCHAR(255) NOT NULL DEFAULT ''""",
        """ALTER TABLE "message" ADD COLUMN "owed" INTEGER NOT NULL DEFAULT 0""",
        """ALTER TABLE "skipped" ADD COLUMN "again_at" INTEGER""",
        """CREATE INDEX "message_account_id_owed" ON "message" ("account_id", "owed")""",
    ):
        db.execute_sql(statement)

    class Account(Model):
        uuid = CharField(max_length=36, primary_key=True)

    class Uidl(Model):
        id = AutoField()
        account = ForeignKeyField(Account, on_delete="CASCADE")
        number = BigIntegerField()
        uidl = TextField()

        class Meta:
            legacy_table_names = False
            indexes = ((("account", "uidl"), True), (("account", "number"), True))

    db.bind([Account, Uidl], bind_refs=False, bind_backrefs=False)
    db.create_tables([Uidl], safe=False)
