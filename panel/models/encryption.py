"""The state row: which of the key file's keys is in use, and what is still pending.

It *chooses* among what the key file permits; nothing written here can make a
secret be stored in clear text or be disclosed (docs/encryption.md, 'Every state and its remedy').
"""

from __future__ import annotations

import secrets

from peewee import BlobField

from panel.models.base import BaseModel, IntegerField
from panel.models.moment import PastTime, UtcTime

ID_BYTES = 16


class Proof(UtcTime):
    """When a backup was verified: authentic by the tag beside it, not by the clock. No time reads as none."""

    def python_value(self, value: object) -> int | None:
        return value if isinstance(value, int) and value >= 0 else None


class Encryption(BaseModel):
    """Exactly one row.

    The lock of the state row: every transaction that stores a secret, and every
    step that changes this row or then the key file, begins with `transaction()`
    and reads the row first. On SQLite that transaction is BEGIN IMMEDIATE: one
    writer at a time, which is shared and exclusive lock in one.
    """

    id = IntegerField(primary_key=True)
    instance_id = BlobField()
    active_key_id = BlobField(null=True)
    decrypt_id = BlobField(null=True, column_name="release_id")
    scrub_pending = BlobField(null=True, column_name="scrub_owed")
    # For people only; nothing is decided by these.
    key_created_at = PastTime(null=True)
    enabled_at = PastTime(null=True)
    verified_at = PastTime(null=True)
    backup_proved_at = Proof(null=True)
    backup_tag = BlobField(null=True)  # authenticates the time above (`vault.reading.backup_tag`)
    trouble_since = PastTime(null=True)

    @classmethod
    def begin(cls) -> None:
        """Write the one row of a new install, with a fresh instance id."""
        cls.insert(id=1, instance_id=secrets.token_bytes(ID_BYTES)).on_conflict_ignore().execute()

    @classmethod
    def only(cls) -> Encryption | None:
        """The row, or None where there is not exactly one."""
        rows = list(cls.select().limit(2))
        return rows[0] if len(rows) == 1 else None
