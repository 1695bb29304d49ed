"""What the running processes note of themselves."""

from __future__ import annotations

from panel.models.base import BaseModel, BigIntegerField, CharField, IntegerField, TextField


class Vitals(BaseModel):
    """One row, made by the worker's first beat or by the first request that came through a proxy."""

    id = IntegerField(primary_key=True)
    # The worker's last beat: the wall clock, and seconds since which boot, which no clock setting moves.
    beat_at = BigIntegerField(null=True)
    boot = CharField(max_length=64, null=True)
    boot_seconds = BigIntegerField(null=True)
    # The last time that the wall clock was moved between two beats, and by how many seconds.
    jumped_at = BigIntegerField(null=True)
    jumped_by = BigIntegerField(null=True)
    # The last request that carried headers of a proxy while none is trusted: which, and from where.
    forwarded_at = BigIntegerField(null=True)
    forwarded = TextField(null=True)
    # When the worker last counted the spool, and last removed old activity.
    kept_at = BigIntegerField(null=True)
    pruned_at = BigIntegerField(null=True)
    # When a web process last looked whether somebody must be told of trouble.
    noticed_at = BigIntegerField(null=True)
