"""Sealed records whose key is lost, set aside with the server they were sealed for."""

from __future__ import annotations

from peewee import AutoField, BigIntegerField, BlobField, ForeignKeyField, IntegerField, TextField

from panel.models.account import Account
from panel.models.base import BaseModel


class ForgottenSecret(BaseModel):
    """One record as `flask encryption forget-lost-key` found it; it goes back if its key turns up."""

    account_id: str

    id = AutoField()
    account = ForeignKeyField(Account, on_delete="CASCADE")
    direction = TextField()
    protocol = TextField()
    host = TextField()
    port = IntegerField()
    security = TextField()
    username = TextField()
    auth_method = TextField()
    token_url = TextField()
    sealed = BlobField()
    forgotten_at = BigIntegerField()
