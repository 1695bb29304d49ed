"""Forms that wait for the password; last sign-in, time zone, appearance and invitation of people."""

from typing import Any

from peewee import AutoField, BigIntegerField, BlobField, CharField, ForeignKeyField, Model

ADDED = (
    'ALTER TABLE "person" ADD COLUMN "last_sign_in_at" INTEGER',
    'ALTER TABLE "person" ADD COLUMN "timezone" VARCHAR(64) NOT NULL DEFAULT \'\'',
    'ALTER TABLE "person" ADD COLUMN "theme" VARCHAR(8) NOT NULL DEFAULT \'\'',
    'ALTER TABLE "person" ADD COLUMN "invitation_hash" BLOB',
    'ALTER TABLE "person" ADD COLUMN "invited_until" INTEGER',
    'CREATE UNIQUE INDEX "person_invitation_hash" ON "person" ("invitation_hash")',
)


def up(migrator: Any, db: Any) -> None:
    class Session(Model):
        id = AutoField()

    class PendingForm(Model):
        id = CharField(max_length=32, primary_key=True)
        session = ForeignKeyField(Session, on_delete="CASCADE")
        created_at = BigIntegerField()
        sealed = BlobField()

        class Meta:
            legacy_table_names = False

    db.bind([Session, PendingForm], bind_refs=False, bind_backrefs=False)
    db.create_tables([PendingForm], safe=False)
    for statement in ADDED:
        db.execute_sql(statement)
