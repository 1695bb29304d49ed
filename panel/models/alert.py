"""What is wrong and who was told of it; and whom to tell."""

from __future__ import annotations

from peewee import AutoField

from panel.models.base import BaseModel, CharField, IntegerField, TextField
from panel.models.moment import At, Next


class Alert(BaseModel):
    """One trouble, from when it was noticed until it was over. The last ones are kept to be looked up.

    `topic` and `subject` say which trouble it is: of two rows with the same, one at most is not over.
    """

    id = AutoField()
    topic = CharField(max_length=16)  # key, records, account, backup, worker
    subject = CharField(max_length=36)  # the account's uuid, else empty
    condition = CharField(max_length=32)  # such as key-missing: what the webhook is told
    message = TextField()
    remedy = TextField()
    path = CharField(max_length=200)  # of the page that mends it, below the panel's root
    since = At()
    quiet_since = At(null=True)  # it has not been seen from then on; over only after a while
    over_at = At(null=True, index=True)
    # Telling. `next_at`: when the next word is due. Who takes it on moves it, so that nobody else does.
    notified_at = At(null=True)
    notified_times = IntegerField(default=0)
    resolution_sent_at = At(null=True)
    failures = IntegerField(default=0)  # tries in a row that no channel took
    next_at = Next(24 * 3600)

    class Meta:
        indexes = ((("topic", "subject"), False),)


class AlertChannels(BaseModel):
    """One row, made when somebody first says whom to tell; and how each way went the last time."""

    id = IntegerField(primary_key=True)
    recipients = TextField(default="")  # addresses, one a line
    through = CharField(max_length=36, default="")  # uuid of the account to try first, else empty
    webhook = TextField(default="")
    mail_worked_at = At(null=True)
    mail_failed_at = At(null=True)
    mail_problem = TextField(null=True)
    webhook_worked_at = At(null=True)
    webhook_failed_at = At(null=True)
    webhook_problem = TextField(null=True)
