"""What happened, which alerts there are, and who receives them."""

from __future__ import annotations

from peewee import AutoField

from panel.models.base import BaseModel, CharField, IntegerField, TextField
from panel.models.moment import FutureTime, UtcTime


class Activity(BaseModel):
    """One event: who did what, when, from where. It never holds a secret."""

    id = AutoField()
    at = UtcTime(index=True)
    who = CharField(max_length=254)  # e-mail address, or 'worker', or 'shell (unix user)'
    what = CharField(max_length=64, index=True)
    subject = CharField(max_length=320)
    address = CharField(max_length=64)
    detail = TextField()


class Alert(BaseModel):
    """One problem, from its detection until it is resolved; the latest stay as history.

    `topic` and `subject` identify the problem: at most one row of a pair is unresolved.
    """

    id = AutoField()
    topic = CharField(max_length=16)  # key, records, account, backup, worker
    subject = CharField(max_length=36)  # the account's uuid, else empty
    condition = CharField(max_length=32)  # such as key-missing; sent to the webhook
    message = TextField()
    remedy = TextField()
    path = CharField(max_length=200)  # of the page to resolve it on, below the panel's root
    since = UtcTime()
    quiet_since = UtcTime(null=True)  # not detected since then; resolved only after a quiet period
    resolved_at = UtcTime(null=True, index=True)
    # Delivery. `next_at`: when the next message is due; its sender moves it first, and so is alone.
    notified_at = UtcTime(null=True)
    notified_times = IntegerField(default=0)
    resolution_sent_at = UtcTime(null=True)
    failures = IntegerField(default=0)  # attempts in a row that every channel refused
    next_at = FutureTime(24 * 3600)

    class Meta:
        indexes = ((("topic", "subject"), False),)


class AlertChannels(BaseModel):
    """One row: the recipients, and how each channel did the last time."""

    id = IntegerField(primary_key=True)
    recipients = TextField(default="")  # addresses, one per line
    through = CharField(max_length=36, default="")  # uuid of the mailbox to send through first, or empty
    webhook = TextField(default="")
    mail_worked_at = UtcTime(null=True)
    mail_failed_at = UtcTime(null=True)
    mail_problem = TextField(null=True)
    webhook_worked_at = UtcTime(null=True)
    webhook_failed_at = UtcTime(null=True)
    webhook_problem = TextField(null=True)
