"""What happened, which alerts there are, and who receives them."""

from peewee import AutoField

from panel.models.base import BaseModel, CharField, IntegerField, TextField
from panel.models.moment import FutureTime, UtcTime


class Activity(BaseModel):
    """One event: who did what, when, from where. It never holds a secret."""

    id = AutoField()
    at = UtcTime(index=True)
    who = CharField(max_length=254, index=True)  # email address, or 'worker', or 'shell (unix user)'
    what = CharField(max_length=64, index=True)
    subject = CharField(max_length=320, index=True)
    address = CharField(max_length=64, index=True)
    detail = TextField()


DAY = 24 * 3600


class Alert(BaseModel):
    """One problem, from its detection until it is resolved; the latest stay as history.

    `topic` and `subject` identify the problem: at most one row of a pair is unresolved.
    """

    id = AutoField()
    topic = CharField(
        max_length=16
    )  # key, records, mailboxes, consents, app, app-secret, backup, worker, disk
    subject = CharField(
        max_length=36
    )  # a digest of why mailboxes fail, a mailbox's uuid, an app's uid; else empty
    condition = CharField(max_length=32)  # such as key-missing; sent to the webhook
    severity = CharField(max_length=4, default="bad")  # or warn
    mailboxes = IntegerField(default=0)  # how many it is about
    message = TextField()
    remedy = TextField()
    path = CharField(max_length=200)  # of the page to resolve it on, below the panel's root
    since = UtcTime()
    quiet_since = UtcTime(null=True)  # not detected since then; resolved only after a quiet period
    resolved_at = UtcTime(null=True, index=True)
    # Delivery. `next_at`: when the next message is due; its sender moves it first, and so is alone.
    notified_at = UtcTime(null=True)
    notified_times = IntegerField(default=0)
    notified_to = TextField(default="")  # who received the last message
    notified_mailboxes = IntegerField(default=0)  # how many it was about then
    resolution_sent_at = UtcTime(null=True)
    failures = IntegerField(default=0)  # attempts in a row that every channel refused
    next_at = FutureTime(DAY)
    muted_until = FutureTime(DAY, null=True)
    muted_by = CharField(max_length=254, default="")
    muted_mailboxes = IntegerField(default=0)  # how many it was about then

    class Meta:
        indexes = ((("topic", "subject"), False),)


class AlertChannels(BaseModel):
    """One row: the recipients, how each channel did the last time, and from when on a problem is an alert."""

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
    failing_minutes = IntegerField(default=60)  # a mailbox
    unverified_days = IntegerField(default=7)  # the backup of the key
    disk_percent = IntegerField(default=5)  # free space
    waiting_minutes = IntegerField(default=60)  # mail that is to go out
