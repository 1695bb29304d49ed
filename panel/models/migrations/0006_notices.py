"""Alerts and their channels, and when alerts were last checked."""

from typing import Any

from peewee import AutoField, BigIntegerField, CharField, IntegerField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    class Notice(Model):
        id = AutoField()
        topic = CharField(max_length=16)
        subject = CharField(max_length=36)
        condition = CharField(max_length=32)
        says = TextField()
        mend = TextField()
        path = CharField(max_length=200)
        since = BigIntegerField()
        well_since = BigIntegerField(null=True)
        over_at = BigIntegerField(null=True, index=True)
        told_at = BigIntegerField(null=True)
        told_times = IntegerField()
        well_told_at = BigIntegerField(null=True)
        failures = IntegerField()
        next_at = BigIntegerField()

        class Meta:
            legacy_table_names = False
            indexes = ((("topic", "subject"), False),)

    class NoticeChannels(Model):
        id = IntegerField(primary_key=True)
        recipients = TextField()
        through = CharField(max_length=36)
        webhook = TextField()
        mail_worked_at = BigIntegerField(null=True)
        mail_failed_at = BigIntegerField(null=True)
        mail_problem = TextField(null=True)
        webhook_worked_at = BigIntegerField(null=True)
        webhook_failed_at = BigIntegerField(null=True)
        webhook_problem = TextField(null=True)

        class Meta:
            legacy_table_names = False

    db.bind([Notice, NoticeChannels], bind_refs=False, bind_backrefs=False)
    db.create_tables([Notice, NoticeChannels], safe=False)
    db.execute_sql("""ALTER TABLE "vitals" ADD COLUMN "noticed_at" INTEGER""")
