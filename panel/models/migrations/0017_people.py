"""Forms that wait until the password has been entered again."""

from typing import Any

from peewee import AutoField, BigIntegerField, BlobField, CharField, ForeignKeyField, Model


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
