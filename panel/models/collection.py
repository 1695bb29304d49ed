"""How far collecting has come, and whether it goes well."""

from __future__ import annotations

from peewee import BlobField, BooleanField, ForeignKeyField

from panel.models.account import Account
from panel.models.base import BaseModel, BigIntegerField, CharField, IntegerField, TextField


class Collection(BaseModel):
    """One row an account: cursor, health and lease. Only the collector writes it."""

    account = ForeignKeyField(Account, primary_key=True, backref="collection", on_delete="CASCADE")
    # Where the next round begins: messages of this UIDVALIDITY up to last_uid are done.
    uidvalidity = BigIntegerField(null=True)
    last_uid = BigIntegerField(default=0)
    begin_below = BigIntegerField(default=0)  # UIDs below it were there before us: 'Begin with' decides
    endpoint_mark = BlobField(null=True)  # digest of host, port, username, folder the cursor belongs to
    # Health: what the last real round did.
    last_success_at = BigIntegerField(null=True)
    problem = TextField(null=True)
    hint = TextField(null=True)
    permanent = BooleanField(default=False)
    failing_since = BigIntegerField(null=True)
    failures = IntegerField(default=0)
    next_due_at = BigIntegerField(default=0)
    # Lease: whoever holds it collects; it runs out by itself after a crash.
    leased_by = CharField(max_length=64, null=True)
    leased_until = BigIntegerField(default=0)
