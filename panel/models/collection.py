"""How far collecting has come, and whether it goes well."""

from __future__ import annotations

from peewee import SQL, BlobField, BooleanField, ForeignKeyField

from panel.models.account import Account
from panel.models.base import BaseModel, BigIntegerField, CharField, IntegerField, TextField
from panel.models.moment import Next, Past


class Collection(BaseModel):
    """One row an account: cursor, health and lease. Only the collector writes it."""

    account = ForeignKeyField(Account, primary_key=True, backref="collection", on_delete="CASCADE")
    # Where the next round begins: messages of this UIDVALIDITY up to last_uid are done.
    uidvalidity = BigIntegerField(null=True)
    last_uid = BigIntegerField(default=0)
    begin_below = BigIntegerField(default=0)  # UIDs below it were there before us: 'Begin with' decides
    endpoint_mark = BlobField(null=True)  # digest of host, port, username, folder the cursor belongs to
    # Health: what the last real round did.
    last_success_at = Past(null=True, index=True)
    problem = TextField(null=True)
    remedy = TextField(null=True)
    permanent = BooleanField(default=False)
    failing_since = Past(null=True)
    failures = IntegerField(default=0)
    next_due_at = Next(24 * 3600, default=0, index=True)
    waits = IntegerField(null=True)  # seconds from when it was set to `next_due_at`
    # Lease: whoever holds it collects; it runs out by itself after a crash.
    leased_by = CharField(max_length=64, null=True)
    leased_until = Next(300, default=0, index=True)


Collection.add_index(
    SQL("CREATE INDEX collection_problem ON collection (account_id) WHERE problem IS NOT NULL")
)
