"""Whether somebody has set this install up."""

from __future__ import annotations

from peewee import BlobField

from panel.models.base import BaseModel, IntegerField
from panel.models.moment import At


class SetUp(BaseModel):
    """One row. The hash of the one-time token, until the first admin is made; then how far that one is.

    Closed for ever once `closed_at` is set.
    """

    id = IntegerField(primary_key=True)
    token_hash = BlobField(null=True)
    closed_at = At(null=True)
    admin_id = IntegerField(null=True)  # whom the later steps belong to
    encryption_later_at = At(null=True)  # when that one put these off
    mailbox_later_at = At(null=True)
