"""Records of another database, such as a backup: does a key file open them? Never to log in."""

from __future__ import annotations

from collections.abc import Mapping

from panel.crypto.keyfile import KeyFile
from panel.errors import CannotOpen, PasswordNeeded
from panel.models import Endpoint
from panel.models.secret_row import StoredRecord
from panel.secret import Secret
from panel.vault import credential


def opened(columns: Mapping[str, object], record: bytes, instance_id: bytes, file: KeyFile) -> Secret | None:
    """The secret in `record`, read with the `columns` of its row; None: it does not open with `file`."""
    bound = {name: columns.get(name) for name in Endpoint.BOUND if name != "account"}
    row = Endpoint(account=columns.get("account_id"), **bound)
    row.__data__["sealed"] = StoredRecord(record)
    try:
        return credential.unseal_record(row, file, instance_id)[0]
    except (CannotOpen, PasswordNeeded):
        return None
