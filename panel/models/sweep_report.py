"""What a sweep did, and what the search for old copies after it found: for people."""

from __future__ import annotations

from peewee import AutoField

from panel.models.base import BaseModel, IntegerField, TextField
from panel.models.moment import At


class SweepReport(BaseModel):
    """One row per sweep, begun with it. Without `finished_at` the search is still owed."""

    id = AutoField()
    kind = TextField()  # a Kind of panel.vault.reports
    begun_at = At()
    finished_at = At(null=True)
    moved = IntegerField(default=0)  # records written by the sweep
    opened = IntegerField(null=True)  # records opened one by one after it
    result = TextField(null=True)  # JSON: names of files and addresses, never a value
