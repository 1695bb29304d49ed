"""The heartbeat of the running processes, and how much mail waits in the spool."""

from typing import Any

from peewee import BigIntegerField, CharField, ForeignKeyField, IntegerField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    class Account(Model):
        uuid = CharField(max_length=36, primary_key=True)

    class Vitals(Model):
        id = IntegerField(primary_key=True)
        beat_at = BigIntegerField(null=True)
        boot = CharField(max_length=64, null=True)
        boot_seconds = BigIntegerField(null=True)
        jumped_at = BigIntegerField(null=True)
        jumped_by = BigIntegerField(null=True)
        forwarded_at = BigIntegerField(null=True)
        forwarded = TextField(null=True)
        kept_at = BigIntegerField(null=True)
        pruned_at = BigIntegerField(null=True)

        class Meta:
            legacy_table_names = False

    class Waiting(Model):
        account = ForeignKeyField(Account, primary_key=True, on_delete="CASCADE")
        unread = IntegerField()
        oldest_at = BigIntegerField(null=True)
        counted_at = BigIntegerField()

        class Meta:
            legacy_table_names = False

    db.bind([Account, Vitals, Waiting], bind_refs=False, bind_backrefs=False)
    db.create_tables([Vitals, Waiting], safe=False)
