"""Who is signed in where."""

from __future__ import annotations

from peewee import AutoField, BlobField, BooleanField, Check, ForeignKeyField

from panel.models.base import BaseModel, BigIntegerField, CharField
from panel.models.moment import At
from panel.models.person import Person


class Session(BaseModel):
    """One signed-in browser. The row goes at sign-out, and the cookie is worth nothing from then on."""

    id = AutoField()
    token_hash = BlobField(unique=True)  # SHA-256 of the cookie's token
    person = ForeignKeyField(Person, backref="sessions", on_delete="CASCADE")
    created_at = BigIntegerField()
    seen_at = At()
    confirmed_at = BigIntegerField(null=True)  # when the password was last typed in it
    address = CharField(max_length=64)
    agent = CharField(max_length=300)
    form_token = CharField(max_length=64)  # random; what the forms of this session carry, signed
    # What the person might do when the password was last typed; the session may never do more than that.
    role = CharField(max_length=8, constraints=[Check("role IN ('admin', 'agent', 'user')")])
    renewal_due = BooleanField(default=False)  # the next request of the person's own browser gets a new token
