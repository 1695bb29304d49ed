"""Who may sign in."""

from __future__ import annotations

from peewee import AutoField, Check

from panel.models.base import BaseModel, CharField, TextField
from panel.models.moment import At

ROLES = ("admin", "agent", "user")  # from much to little


class Person(BaseModel):
    """An admin, agent or user of the helpdesk. The login password is a one-way hash (PHC string)."""

    id = AutoField()
    email = CharField(max_length=254, unique=True)
    name = CharField(max_length=200)
    role = CharField(max_length=8, constraints=[Check("role IN ('admin', 'agent', 'user')")])
    login_hash = TextField()
    created_at = At()
    disabled_at = At(null=True)
