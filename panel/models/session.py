"""Who is signed in where."""

from __future__ import annotations

from peewee import AutoField, BigIntegerField, BlobField, CharField, ForeignKeyField

from panel.models.base import BaseModel
from panel.models.person import Person


class Session(BaseModel):
    """One signed-in browser. The row goes at sign-out, and the cookie is worth nothing from then on."""

    id = AutoField()
    token_hash = BlobField(unique=True)  # SHA-256 of the cookie's token
    person = ForeignKeyField(Person, backref="sessions", on_delete="CASCADE")
    created_at = BigIntegerField()
    seen_at = BigIntegerField()
    confirmed_at = BigIntegerField(null=True)  # when the password was last typed in it
    address = CharField(max_length=64)
    agent = CharField(max_length=300)
