"""Copies of the key file in each form that they are kept in: the file, an age file, a recovery sheet."""

from __future__ import annotations

from panel.crypto import keyfile
from panel.encryption.exports import age, sheet
from panel.errors import Refused
from panel.secret import Secret

LARGEST = 2 * keyfile.LARGEST  # bytes: an age file in its text form is a third longer than what is in it


def read(copy: bytes, passphrase: Secret | None) -> bytes:
    """The key file's bytes in `copy`, whatever its form; a copy of no known form comes back as it is.

    Raises BadCopy for a sheet with a wrong line or an age file that cannot be decrypted, Refused for an
    age file without a passphrase.
    """
    if copy.startswith(keyfile.MAGIC[:4]):
        return copy
    if age.is_age(copy):
        if passphrase is None:
            raise Refused("The copy is protected by a passphrase.", "Add: --passphrase-file FILE")
        return age.unseal(copy, passphrase)
    text = _text(copy)
    return sheet.read(text) if text is not None and sheet.is_sheet(text) else copy


def _text(copy: bytes) -> str | None:
    """A sheet may come from any editor: UTF-8, or UTF-16 with its mark."""
    encoding = "utf-16" if copy.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return copy.decode(encoding)
    except UnicodeDecodeError:
        return None
