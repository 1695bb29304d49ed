"""What collecting writes: how far each mailbox is, and which messages were fetched."""

from __future__ import annotations

from peewee import SQL, AutoField, BlobField, BooleanField, ForeignKeyField

from panel.models.account import Account
from panel.models.base import BaseModel, BigIntegerField, CharField, IntegerField, TextField
from panel.models.moment import FutureTime, PastTime, UtcTime

LONGEST_WAIT = 24 * 3600  # seconds between two rounds, whatever a server asks for
LEASE_SECONDS = 300  # longer than any time between two renewals of a living round
RETRY_SECONDS = 900  # until a message that the server did not hand out is tried again


class Collection(BaseModel):
    """One row per account: cursor, health and lease. Only the collector writes it."""

    account = ForeignKeyField(Account, primary_key=True, backref="collection", on_delete="CASCADE")
    # Where the next round begins: messages of this UIDVALIDITY up to last_uid are done.
    uidvalidity = BigIntegerField(null=True)
    last_uid = BigIntegerField(default=0)
    begin_below = BigIntegerField(default=0)  # UIDs below it are older than the account: 'Start with' decides
    older = IntegerField(null=True)  # messages that 'Start with: new mail only' left on the server at first
    endpoint_mark = BlobField(null=True)  # digest of the server and folder that the cursor belongs to
    # Health: how the last round went.
    last_success_at = PastTime(null=True, index=True)
    problem = TextField(null=True)
    remedy = TextField(null=True)
    permanent = BooleanField(default=False)
    failing_since = PastTime(null=True)
    failures = IntegerField(default=0)
    next_due_at = FutureTime(LONGEST_WAIT, default=0, index=True)
    # Seconds: how far ahead next_due_at was when it was set. None: a round was asked for and has not begun.
    waits = IntegerField(null=True)
    quiet_rounds = IntegerField(default=0)  # that found nothing, since the last one in the table round_log
    took = IntegerField(null=True)  # milliseconds: how long the last round was that succeeded
    # Lease: its holder collects; after a crash it expires.
    leased_by = CharField(max_length=64, null=True)
    leased_until = FutureTime(LEASE_SECONDS, default=0, index=True)
    leases = IntegerField(default=0)  # how often it was taken: by this a round sees that another came between
    # The process that holds an open session in which the server says what comes (IDLE).
    parked_by = CharField(max_length=64, null=True)


Collection.add_index(
    SQL("CREATE INDEX collection_problem ON collection (account_id) WHERE problem IS NOT NULL")
)
Collection.add_index(
    SQL("CREATE INDEX collection_parked ON collection (parked_by) WHERE parked_by IS NOT NULL")
)


class Message(BaseModel):
    """One fetched message.

    `ready`: its file is safe in tmp/ and may be moved to new/.
    `pending`: what the account wants done with it on the server is still to be done.
    """

    id = AutoField()
    account = ForeignKeyField(Account, backref="messages", on_delete="CASCADE", index=False)
    uidvalidity = BigIntegerField()
    uid = BigIntegerField()
    name = CharField(max_length=120)  # the file's name in the Maildir
    digest = BlobField()  # SHA-256 of the message as the server sent it
    ready = BooleanField(default=True)
    pending = BooleanField(default=False)

    class Meta:
        indexes = (
            (("account", "uidvalidity", "uid"), True),
            (("account", "digest"), False),
        )


Message.add_index(SQL("CREATE INDEX message_ready ON message (account_id) WHERE ready"))
Message.add_index(SQL("CREATE INDEX message_pending ON message (account_id, uidvalidity, uid) WHERE pending"))


class Skipped(BaseModel):
    """A message that was not fetched, and why. `again_at`: when it is tried again, where that may help."""

    id = AutoField()
    account = ForeignKeyField(Account, backref="skipped", on_delete="CASCADE")
    uidvalidity = BigIntegerField()
    uid = BigIntegerField()
    size = BigIntegerField()
    reason = TextField()
    at = UtcTime()
    again_at = FutureTime(RETRY_SECONDS, null=True)

    class Meta:
        indexes = ((("account", "uidvalidity", "uid"), True),)


class Uidl(BaseModel):
    """The number that Mailkeep gives to a POP3 message, which its server names by a string (UIDL).

    Numbers ascend in the order of appearance. Rows outlive their message for a while, since
    servers forget and remember; so one number may have several names, one of them listed.
    """

    id = AutoField()
    account = ForeignKeyField(Account, on_delete="CASCADE")
    number = BigIntegerField()
    uidl = TextField()
    size = BigIntegerField()  # bytes; 0: unknown
    head = BlobField(null=True)  # SHA-256 of the header if not to be fetched; empty: not available
    gone_at = UtcTime(null=True)  # since when it is not listed

    class Meta:
        indexes = ((("account", "uidl", "size"), True), (("account", "number"), False))


class SpoolCount(BaseModel):
    """How much mail lay in one account's new/ when the worker last counted it."""

    account_id: str

    account = ForeignKeyField(Account, primary_key=True, on_delete="CASCADE")
    unread = IntegerField()
    oldest_at = UtcTime(null=True)
    counted_at = UtcTime()

    class Meta:
        table_name = "waiting"


SpoolCount.add_index(SQL("CREATE INDEX waiting_unread ON waiting (unread) WHERE unread > 0"))
