"""What came in, for people: the message log, counts of messages, and the rounds of each mailbox.

Nothing is decided by these. Sender and subject are kept for PANEL_MESSAGE_LOG_DAYS and removed by
`panel.messages.retention`.
"""

from __future__ import annotations

from peewee import SQL, AutoField, BooleanField, CompositeKey, ForeignKeyField

from panel.models.account import Account
from panel.models.base import BaseModel, BigIntegerField, IntegerField, TextField
from panel.models.collection import Message
from panel.models.moment import UtcTime


class LoggedMessage(BaseModel):
    """One message that was delivered, with what its header says, or one that was skipped, and why.

    Ids ascend in the order of appearance, whatever the clock did.
    """

    account_id: str

    id = AutoField()
    account = ForeignKeyField(Account, on_delete="CASCADE")
    at = UtcTime(index=True)
    size = BigIntegerField()
    sender = TextField(default="")  # the address; empty where there is none
    sender_name = TextField(default="")
    subject = TextField(default="")
    message_id = TextField(default="")
    # Delivered: the row that knows its file, and whether that was in new/ when the worker looked last.
    fetched = ForeignKeyField(Message, null=True, on_delete="CASCADE")
    waiting = BooleanField(default=True)
    # Skipped: why, and which one on the server.
    reason = TextField(null=True)
    uidvalidity = BigIntegerField(null=True)
    uid = BigIntegerField(null=True)

    class Meta:
        table_name = "message_log"


LoggedMessage.add_index(SQL("CREATE INDEX message_log_waiting ON message_log (id) WHERE waiting"))
LoggedMessage.add_index(
    SQL(
        "CREATE INDEX message_log_skipped ON message_log (account_id, uidvalidity, uid)"
        " WHERE reason IS NOT NULL"
    )
)


class MailCount(BaseModel):
    """How many messages one mailbox was delivered in the hour that begins at `at`.

    After 60 days there is one row for each day, at its noon in the time zone of the install: whoever
    looks from a zone up to eleven hours away still sees it on the same day.
    """

    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    at = UtcTime()
    delivered = IntegerField()

    class Meta:
        table_name = "mail_count"
        primary_key = CompositeKey("account", "at")
        without_rowid = True


class MailTotal(BaseModel):
    """The same of all mailboxes together, those that were removed since included."""

    at = UtcTime(primary_key=True)
    delivered = IntegerField()

    class Meta:
        table_name = "mail_total"
        without_rowid = True


class RoundLog(BaseModel):
    """One round that brought something, or failed. Failures in a row with the same error share a row.

    Rounds without news are counted by the Collection row alone: most find nothing, and write no more.
    """

    account_id: str

    id = AutoField()
    account = ForeignKeyField(Account, on_delete="CASCADE")
    started_at = UtcTime()
    took = IntegerField()  # milliseconds
    found = IntegerField()  # messages that were wanted from the server
    delivered = IntegerField()
    skipped = IntegerField()
    error = TextField(null=True)
    times = IntegerField(default=1)  # how many failures in a row this is,
    first_at = UtcTime()  # and when the first of them was
    quiet = IntegerField(default=0)  # rounds without news between the one before and this one

    class Meta:
        table_name = "round_log"
