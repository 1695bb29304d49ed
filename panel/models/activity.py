"""Who did what, when, from where."""

from __future__ import annotations

from peewee import AutoField

from panel.models.base import BaseModel, CharField, TextField
from panel.models.moment import At


class Activity(BaseModel):
    """One event. Never a value: a change of a password says that it changed."""

    id = AutoField()
    at = At(index=True)
    who = CharField(max_length=254)  # e-mail address, or 'worker', or 'shell (unix user)'
    what = CharField(max_length=64, index=True)
    subject = CharField(max_length=320)
    address = CharField(max_length=64)
    detail = TextField()
