"""Where sealed records whose key is lost are set aside."""

from typing import Any

from peewee import (
    AutoField,
    BigIntegerField,
    BlobField,
    CharField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)  # fmt: skip


def up(migrator: Any, db: Any) -> None:
    class Account(Model):
        uuid = CharField(max_length=36, primary_key=True)

    class ForgottenSecret(Model):
        id = AutoField()
        account = ForeignKeyField(Account, on_delete="CASCADE")
        direction = TextField()
        protocol = TextField()
        host = TextField()
        port = IntegerField()
        security = TextField()
        username = TextField()
        auth_method = TextField()
        token_url = TextField()
        sealed = BlobField()
        forgotten_at = BigIntegerField()

        class Meta:
            legacy_table_names = False

    db.bind([Account, ForgottenSecret], bind_refs=False, bind_backrefs=False)
    db.create_tables([ForgottenSecret], safe=False)
