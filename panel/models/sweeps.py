"""What sweeps over the stored passwords leave behind: reports, and records whose key is lost."""

from __future__ import annotations

from peewee import AutoField, BlobField, ForeignKeyField

from panel.models.account import Account
from panel.models.base import BaseModel, IntegerField, TextField
from panel.models.moment import UtcTime
from panel.models.secret_fields import as_bytes


class SweepReport(BaseModel):
    """One row per sweep. Without `finished_at` the search for leftovers is still pending."""

    id = AutoField()
    kind = TextField()  # a Kind of panel.vault.reports
    begun_at = UtcTime()
    finished_at = UtcTime(null=True)
    moved = IntegerField(default=0)  # records that the sweep wrote
    opened = IntegerField(null=True)  # records that could be decrypted afterwards
    result = TextField(null=True)  # JSON: names of files and addresses, never a value


class RecordField(BlobField):
    """A sealed record, read as bytes whatever SQL put there."""

    def python_value(self, value: object) -> bytes | None:
        return None if value is None else as_bytes(value)


class ForgottenSecret(BaseModel):
    """One record that `flask encryption forget-lost-key` set aside; it is restored if its key turns up."""

    id = AutoField()
    table_name = TextField()  # of its row
    account = ForeignKeyField(Account, null=True, on_delete="CASCADE")  # None: it is an app's
    bound = TextField()  # JSON: the bound columns of its row as text, in their order
    sealed = RecordField()
    forgotten_at = UtcTime()
