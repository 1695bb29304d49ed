"""The first tables. Frozen, unlike the models."""

from typing import Any

from peewee import (
    AutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    CharField,
    Check,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)  # fmt: skip


def up(migrator: Any, db: Any) -> None:
    class Frozen(Model):
        class Meta:
            legacy_table_names = False

    class Encryption(Frozen):
        id = IntegerField(primary_key=True)
        instance_id = BlobField()
        active_key_id = BlobField(null=True)
        release_id = BlobField(null=True)
        scrub_owed = BlobField(null=True)
        key_created_at = BigIntegerField(null=True)
        enabled_at = BigIntegerField(null=True)
        verified_at = BigIntegerField(null=True)
        backup_proved_at = BigIntegerField(null=True)
        trouble_since = BigIntegerField(null=True)

    class Person(Frozen):
        id = AutoField()
        email = CharField(max_length=254, unique=True)
        name = CharField(max_length=200)
        role = CharField(max_length=8, constraints=[Check("role IN ('admin', 'agent', 'user')")])
        login_hash = TextField()
        created_at = BigIntegerField()
        disabled_at = BigIntegerField(null=True)

    class Session(Frozen):
        id = AutoField()
        token_hash = BlobField(unique=True)
        person = ForeignKeyField(Person, on_delete="CASCADE")
        created_at = BigIntegerField()
        seen_at = BigIntegerField()
        confirmed_at = BigIntegerField(null=True)
        address = CharField(max_length=64)
        agent = CharField(max_length=300)

    class SignInTry(Frozen):
        id = AutoField()
        who = CharField(max_length=300)
        at = BigIntegerField()

        class Meta:
            indexes = ((("who", "at"), False),)

    class SetUp(Frozen):
        id = IntegerField(primary_key=True)
        token_hash = BlobField(null=True)
        closed_at = BigIntegerField(null=True)

    class Account(Frozen):
        uuid = CharField(max_length=36, primary_key=True)
        address = CharField(max_length=254, unique=True)
        folder = CharField(max_length=255)
        begin = CharField(max_length=8)
        interval = IntegerField()
        paused_at = BigIntegerField(null=True)
        created_at = BigIntegerField()

    class Endpoint(Frozen):
        id = AutoField()
        clear = TextField(null=True)
        sealed = BlobField(null=True)
        rev = IntegerField()
        account = ForeignKeyField(Account, on_delete="CASCADE")
        direction = TextField()
        protocol = TextField()
        host = TextField()
        port = IntegerField()
        security = TextField()
        username = TextField()
        auth_method = TextField()
        token_url = TextField()
        secret_set_at = BigIntegerField(null=True)
        failed_rev = IntegerField(null=True)
        failed_generation = BigIntegerField(null=True)
        failure = TextField(null=True)

        class Meta:
            constraints = [Check("clear IS NULL OR sealed IS NULL")]
            indexes = ((("account", "direction"), True),)

    class Collection(Frozen):
        account = ForeignKeyField(Account, primary_key=True, on_delete="CASCADE")
        uidvalidity = BigIntegerField(null=True)
        last_uid = BigIntegerField()
        begin_below = BigIntegerField()
        endpoint_mark = BlobField(null=True)
        last_success_at = BigIntegerField(null=True)
        problem = TextField(null=True)
        hint = TextField(null=True)
        permanent = BooleanField()
        failing_since = BigIntegerField(null=True)
        failures = IntegerField()
        next_due_at = BigIntegerField()
        leased_by = CharField(max_length=64, null=True)
        leased_until = BigIntegerField()

    class Message(Frozen):
        id = AutoField()
        account = ForeignKeyField(Account, on_delete="CASCADE")
        uidvalidity = BigIntegerField()
        uid = BigIntegerField()
        name = CharField(max_length=120)
        digest = BlobField()
        ready = BooleanField()

        class Meta:
            indexes = (
                (("account", "uidvalidity", "uid"), True),
                (("account", "digest"), False),
                (("account", "ready"), False),
            )

    class Skipped(Frozen):
        id = AutoField()
        account = ForeignKeyField(Account, on_delete="CASCADE")
        uidvalidity = BigIntegerField()
        uid = BigIntegerField()
        size = BigIntegerField()
        reason = TextField()
        at = BigIntegerField()

        class Meta:
            indexes = ((("account", "uidvalidity", "uid"), True),)

    class Activity(Frozen):
        id = AutoField()
        at = BigIntegerField(index=True)
        who = CharField(max_length=254)
        what = CharField(max_length=64, index=True)
        subject = CharField(max_length=320)
        address = CharField(max_length=64)
        detail = TextField()

    tables = [
        Encryption, Person, Session, SignInTry, SetUp, Account, Endpoint, Collection, Message, Skipped,
        Activity,
    ]  # fmt: skip
    db.bind(tables, bind_refs=False, bind_backrefs=False)
    db.create_tables(tables, safe=False)
