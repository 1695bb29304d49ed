"""The state of the install itself, one row each: its setup, its identity, its running processes."""

from peewee import BlobField

from panel.models.base import BaseModel, BigIntegerField, CharField, IntegerField, TextField
from panel.models.moment import UtcTime

ID_BYTES = 16  # of a copy's id


class SetupState(BaseModel):
    """One row: the one-time token's hash until the first admin exists, then that admin's progress.

    Closed for good once `closed_at` is set.
    """

    id = IntegerField(primary_key=True)
    token_hash = BlobField(null=True)
    closed_at = UtcTime(null=True)
    admin_id = IntegerField(null=True)  # the first admin, who alone may take the later steps
    encryption_later_at = UtcTime(null=True)  # when the admin postponed the step
    mailbox_later_at = UtcTime(null=True)

    class Meta:
        table_name = "set_up"


class InstallCopy(BaseModel):
    """One row, made at the first start: which copy of the install this database is (`panel.identity`)."""

    id = IntegerField(primary_key=True)
    copy_id = BlobField(null=True)  # equals the file in the data directory; null in a backup
    backup_made_at = UtcTime(null=True)  # set in a backup, until a person confirms it

    class Meta:
        table_name = "this_copy"


class Heartbeat(BaseModel):
    """One row: what the running processes last reported."""

    id = IntegerField(primary_key=True)
    # The worker's last beat by the wall clock, and by the monotonic clock of which boot.
    beat_at = UtcTime(null=True)
    boot = CharField(max_length=64, null=True)
    boot_seconds = BigIntegerField(null=True)
    # When the wall clock last jumped between two beats, and by how many seconds.
    jumped_at = UtcTime(null=True)
    jumped_by = BigIntegerField(null=True)
    # The last request with proxy headers while no proxy is trusted: which headers, from where.
    forwarded_at = UtcTime(null=True)
    forwarded = TextField(null=True)
    # When the worker last counted the spool, and last deleted old activity.
    counted_at = UtcTime(null=True, column_name="kept_at")
    pruned_at = UtcTime(null=True)
    # When a web process last checked for alerts.
    noticed_at = UtcTime(null=True)
