"""Alerts, open and resolved, and the channels that they are sent through."""

from __future__ import annotations

from peewee import AutoField

from panel.models.base import BaseModel, CharField, IntegerField, TextField
from panel.models.moment import At, Next


class Alert(BaseModel):
    """One problem, from when it was first seen until it was resolved; then kept as history.

    `topic` and `subject` identify the problem: of the rows that share them, at most one is open.
    """

    id = AutoField()
    topic = CharField(max_length=16)  # key, records, account, backup, worker
    subject = CharField(max_length=36)  # the account's uuid, else empty
    condition = CharField(max_length=32)  # such as key-missing: what the webhook receives
    message = TextField()
    remedy = TextField()
    path = CharField(max_length=200)  # of the page that solves it, below the panel's root
    since = At()
    quiet_since = At(null=True)  # not seen from then on; resolved only after a while
    resolved_at = At(null=True, index=True)
    # Sending. `next_at`: when the next message may go out. The process that claims it moves it.
    notified_at = At(null=True)
    notified_times = IntegerField(default=0)
    resolution_sent_at = At(null=True)
    failures = IntegerField(default=0)  # attempts in a row that no channel accepted
    next_at = Next(24 * 3600)

    class Meta:
        indexes = ((("topic", "subject"), False),)


class AlertChannels(BaseModel):
    """One row: who receives alerts, and how each channel last worked."""

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
