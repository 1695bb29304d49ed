"""What was fetched, so that each message is delivered once."""

from __future__ import annotations

from peewee import AutoField, BlobField, BooleanField, ForeignKeyField

from panel.models.account import Account
from panel.models.base import BaseModel, BigIntegerField, CharField, TextField
from panel.models.moment import At, Next


class Message(BaseModel):
    """One fetched message.

    `ready`: its file is safe on disk in tmp/ and may be moved to new/. `pending`: it
    is delivered, and what the account wants done with it on the server is not done.
    """

    id = AutoField()
    account = ForeignKeyField(Account, backref="messages", on_delete="CASCADE")
    uidvalidity = BigIntegerField()
    uid = BigIntegerField()
    name = CharField(max_length=120)  # the file's name in the Maildir
    digest = BlobField()  # SHA-256 of the message as the server sent it
    ready = BooleanField(default=True)
    pending = BooleanField(default=False)

    class Meta:
        indexes = (
            (("account", "uidvalidity", "uid"), True),
            (("account", "digest"), False),
            (("account", "ready"), False),
            (("account", "pending"), False),
        )


class Skipped(BaseModel):
    """A message that was not fetched, and why, so that nobody has to guess.

    `again_at`: when it is tried again, where that may help.
    """

    id = AutoField()
    account = ForeignKeyField(Account, backref="skipped", on_delete="CASCADE")
    uidvalidity = BigIntegerField()
    uid = BigIntegerField()
    size = BigIntegerField()
    reason = TextField()
    at = At()
    again_at = Next(900, null=True)

    class Meta:
        indexes = ((("account", "uidvalidity", "uid"), True),)


class Uidl(BaseModel):
    """A message that POP3 names by a string, and the number it goes by here: ascending as they appeared.

    Kept for a while after it has vanished, since servers forget and remember; so
    one number may have several names, of which one is listed.
    """

    id = AutoField()
    account = ForeignKeyField(Account, on_delete="CASCADE")
    number = BigIntegerField()
    uidl = TextField()
    size = BigIntegerField()  # 0: the server does not say
    head = BlobField(null=True)  # SHA-256 of the header, of what is never fetched; empty: not to be had
    gone_at = At(null=True)  # since when it is not listed

    class Meta:
        indexes = ((("account", "uidl", "size"), True), (("account", "number"), False))
