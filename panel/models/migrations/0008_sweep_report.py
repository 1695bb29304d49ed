"""What each sweep did, and which leftovers were found after it."""

from typing import Any

from peewee import AutoField, BigIntegerField, IntegerField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    class SweepReport(Model):
        id = AutoField()
        kind = TextField()
        begun_at = BigIntegerField()
        finished_at = BigIntegerField(null=True)
        moved = IntegerField(default=0)
        opened = IntegerField(null=True)
        result = TextField(null=True)

        class Meta:
            legacy_table_names = False

    db.bind([SweepReport], bind_refs=False, bind_backrefs=False)
    db.create_tables([SweepReport], safe=False)
