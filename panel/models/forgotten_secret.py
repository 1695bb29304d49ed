"""Sealed records whose key is lost, set aside with the server they were sealed for."""

from __future__ import annotations

from peewee import AutoField, BlobField, ForeignKeyField

from panel.models.account import Account
from panel.models.base import BaseModel, IntegerField, TextField
from panel.models.moment import At
from panel.models.secret_row import as_bytes


class RecordField(BlobField):
    """A sealed record, read leniently: what SQL forced in opens with no key, and breaks nothing else."""

    def python_value(self, value: object) -> bytes | None:
        """The record's bytes."""
        return None if value is None else as_bytes(value)


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
    address = TextField()
    kind = TextField()
    sealed = RecordField()
    forgotten_at = At()
