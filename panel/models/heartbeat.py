"""What the running processes note of themselves."""

from __future__ import annotations

from panel.models.base import BaseModel, BigIntegerField, CharField, IntegerField, TextField
from panel.models.moment import At


class Heartbeat(BaseModel):
    """One row, made by the worker's first beat or by the first request that came through a proxy."""

    id = IntegerField(primary_key=True)
    # The worker's last beat: the wall clock, and seconds since which boot, which no clock setting moves.
    beat_at = At(null=True)
    boot = CharField(max_length=64, null=True)
    boot_seconds = BigIntegerField(null=True)
    # The last time that the wall clock was moved between two beats, and by how many seconds.
    jumped_at = At(null=True)
    jumped_by = BigIntegerField(null=True)
    # The last request that carried headers of a proxy while none is trusted: which, and from where.
    forwarded_at = At(null=True)
    forwarded = TextField(null=True)
    # When the worker last counted the spool, and last removed old activity.
    kept_at = At(null=True)
    pruned_at = At(null=True)
    # When a web process last looked whether somebody must be told of trouble.
    noticed_at = At(null=True)
