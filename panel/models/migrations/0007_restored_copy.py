"""Which copy of the install the database belongs to. The next start creates the row."""

from typing import Any

from peewee import BigIntegerField, BlobField, IntegerField, Model


def up(migrator: Any, db: Any) -> None:
    class ThisCopy(Model):
        id = IntegerField(primary_key=True)
        copy_id = BlobField(null=True)
        backup_made_at = BigIntegerField(null=True)

        class Meta:
            legacy_table_names = False

    db.bind([ThisCopy], bind_refs=False, bind_backrefs=False)
    db.create_tables([ThisCopy], safe=False)
