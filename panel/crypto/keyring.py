"""Choosing the key: a record names its key, the key file has it or not."""

from __future__ import annotations

from panel.crypto import record
from panel.crypto.keyfile import KeyFile, fingerprint
from panel.errors import UnknownKey


def unseal(file: KeyFile, sealed: bytes, binding: record.Binding) -> bytes:
    """The secret in `sealed`, opened by whichever key of `file` it names.

    Raises UnknownKey where no key of the file has that id, else as `record.unseal`.
    """
    key_id = record.key_id_of(sealed)
    key = file.find(key_id)
    if key is None:
        raise UnknownKey(
            f"The stored password is encrypted with key {fingerprint(key_id)}, which is not in the key file.",
            "Put the key file with that key back, or enter the password again.",
        )
    return record.unseal(key, sealed, binding)
