"""What all tables share."""

from __future__ import annotations

from peewee import Model

from panel.db import database


class BaseModel(Model):
    """A table of Mailkeep. `save()` writes the fields that were set, never the whole row."""

    class Meta:
        database = database
        legacy_table_names = False
        only_save_dirty = True
