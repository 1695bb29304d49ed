"""How much collected mail nobody has taken away yet."""

from __future__ import annotations

from peewee import SQL, ForeignKeyField

from panel.models.account import Account
from panel.models.base import BaseModel, IntegerField
from panel.models.moment import At


class Waiting(BaseModel):
    """What lay in new/ of one account when the worker last counted it."""

    account_id: str

    account = ForeignKeyField(Account, primary_key=True, on_delete="CASCADE")
    unread = IntegerField()
    oldest_at = At(null=True)
    counted_at = At()


Waiting.add_index(SQL("CREATE INDEX waiting_unread ON waiting (unread) WHERE unread > 0"))
