"""Whether somebody has set this install up."""

from __future__ import annotations

from peewee import BigIntegerField, BlobField, IntegerField

from panel.models.base import BaseModel


class SetUp(BaseModel):
    """One row. The hash of the one-time set-up token; closed for ever once the first admin exists."""

    id = IntegerField(primary_key=True)
    token_hash = BlobField(null=True)
    closed_at = BigIntegerField(null=True)
