"""Which copy of the install the database belongs to."""

from __future__ import annotations

from peewee import BlobField

from panel.models.base import BaseModel, IntegerField
from panel.models.moment import At

ID_BYTES = 16


class ThisCopy(BaseModel):
    """One row, made at the first start; what it means, `panel.identity` says."""

    id = IntegerField(primary_key=True)
    copy_id = BlobField(null=True)  # the same as in the data directory's file; none in a backup
    backup_made_at = At(null=True)  # in a backup alone, until it is confirmed
