"""Records of another database, such as a backup: does a key file open them? Never to log in."""

from __future__ import annotations

from collections.abc import Mapping

from panel.crypto.keyfile import KeyFile
from panel.errors import CannotOpen, PasswordNeeded
from panel.models import SecretRow
from panel.models.secret_fields import StoredRecord
from panel.secret import Secret
from panel.vault import credential


def opened(
    model: type[SecretRow], columns: Mapping[str, object], record: bytes, instance_id: bytes, file: KeyFile
) -> Secret | None:
    """What `record` holds, with the `columns` of its row of `model`; None where `file` does not open it."""
    fields = model._meta.fields
    row = model(**{name: columns.get(fields[name].column_name) for name in model.BOUND})
    row.__data__["sealed"] = StoredRecord(record)
    try:
        return credential.unseal_record(row, file, instance_id)[0]
    except (CannotOpen, PasswordNeeded):
        return None
