"""Work on many mailboxes that takes longer than a request should."""

from peewee import AutoField

from panel.models.base import BaseModel, CharField, IntegerField, TextField
from panel.models.moment import UtcTime


class Job(BaseModel):
    """How far it is. It never holds a secret: a process that dies loses the rest, and the page says so."""

    id = AutoField()
    kind = CharField(max_length=16)  # import, or an action of panel.accounts.bulk
    who = CharField(max_length=254)
    total = IntegerField()
    done = IntegerField(default=0)
    changed = IntegerField(default=0)  # of those done: the others were as wanted, or a problem
    started_at = UtcTime()
    beat_at = UtcTime()  # of the last progress
    finished_at = UtcTime(null=True)
    problems = TextField(default="[]")  # JSON: sentences for people
