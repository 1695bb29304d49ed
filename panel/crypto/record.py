"""The sealed record: one secret, sealed under one key for one place.

Layout, version 2, integers big-endian:

    version u8 ‖ suite u8 ‖ key id 8 ‖ salt 24 ‖ commitment 32
    ‖ AES-256-GCM(u16 length ‖ secret ‖ zeros up to a size step) with its 16-byte tag

The salt makes each message key single-use, so the fixed nonce is safe. The
commitment tells 'another key' from 'something was changed'; the pattern is that
of the AWS Encryption SDK's committing suites. What the record is bound to
(`Binding`) is authenticated with it: in any other place it does not open.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from bisect import bisect_left
from functools import cache, lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from panel.crypto.keyfile import KEY_ID_BYTES, Key
from panel.errors import Malformed, Tampered, UnknownKey, WrongKey

VERSION, SUITE = 2, 1
SALT_BYTES, COMMITMENT_BYTES, TAG_BYTES = 24, 32, 16
HEADER = struct.Struct(f">BB{KEY_ID_BYTES}s{SALT_BYTES}s{COMMITMENT_BYTES}s")
LENGTH = struct.Struct(">H")
FIELD_LENGTH = struct.Struct(">I")
SIZES = (64, 256, 1024, 4096, 16384)
RECORD_SIZES = {HEADER.size + size + TAG_BYTES for size in SIZES}
LONGEST_SECRET = SIZES[-1] - LENGTH.size
# Single-use keys need no varying nonce (see above).
NONCE = bytes(12)
_REMEDY = "Open the mailbox and enter its server and password again."


class Binding(NamedTuple):
    """Whose secret it is and where it may be shown. The order of the fields is part of the format.

    The label names what kind of row it is, and so what the fields mean.
    """

    label: str  # mailkeep/mail or mailkeep/oauth
    instance_id: bytes
    fields: tuple[str, ...]

    @property
    def encoded(self) -> bytes:
        """Each field as u32 length ‖ bytes; text in UTF-8. No separator can be forged."""
        length = FIELD_LENGTH.pack(len(self.instance_id))
        return b"".join((_framed(self.label), length, self.instance_id, *map(_framed, self.fields)))


@lru_cache(maxsize=256)  # most fields are the same in row after row; framing them was a quarter of sealing
def _framed(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return FIELD_LENGTH.pack(len(data)) + data


def seal(key: Key, secret: bytes, binding: Binding) -> bytes:
    """The record of `secret` (at most LONGEST_SECRET bytes) under `key`, openable only with `binding`."""
    salt = secrets.token_bytes(SALT_BYTES)
    message_key, commitment = _derive(key, binding.label, salt)
    header = HEADER.pack(VERSION, SUITE, key.id, salt, commitment)
    return header + AESGCM(message_key).encrypt(NONCE, _pad(secret), header + binding.encoded)


def unseal(key: Key, record: bytes, binding: Binding) -> bytes:
    """The secret in `record`.

    Raises Malformed for bytes that are no record of version 2, UnknownKey where
    the record names another key than `key`, WrongKey where it names `key` but
    was made with another, Tampered where the record or its place was changed.
    """
    if key_id_of(record) != key.id:
        raise UnknownKey("The stored password is encrypted with another key than the one given.")
    header, sealed = record[: HEADER.size], record[HEADER.size :]
    _, _, _, salt, commitment = HEADER.unpack(header)
    message_key, expected = _derive(key, binding.label, salt)
    if not hmac.compare_digest(commitment, expected):
        raise WrongKey("The stored password is encrypted with a key that is not the one it names.", _REMEDY)
    try:
        padded = AESGCM(message_key).decrypt(NONCE, sealed, header + binding.encoded)
    except InvalidTag:
        raise Tampered(
            "The stored password, or the server settings it was stored for, were changed outside Mailkeep.",
            _REMEDY,
        ) from None
    return _unpad(padded)


def key_id_of(record: bytes) -> bytes:
    """The id of the key that `record` names. Raises Malformed for what is no record of version 2."""
    if len(record) not in RECORD_SIZES or record[0] != VERSION or record[1] != SUITE:
        raise Malformed("The stored password is not encrypted in a form that this Mailkeep knows.", _REMEDY)
    return record[2 : 2 + KEY_ID_BYTES]


def _derive(key: Key, purpose: str, salt: bytes) -> tuple[bytes, bytes]:
    okm = key.derive(_info(purpose) + salt, 64)
    return okm[:32], okm[32:]


@cache  # of the few labels that there are
def _info(purpose: str) -> bytes:
    name = purpose.encode("ascii")
    return b"mailkeep/seal/1" + bytes([len(name)]) + name


def _pad(secret: bytes) -> bytes:
    if len(secret) > LONGEST_SECRET:
        raise ValueError(f"a secret has at most {LONGEST_SECRET} bytes")
    framed = LENGTH.pack(len(secret)) + secret
    return framed.ljust(SIZES[bisect_left(SIZES, len(framed))], b"\0")


def _unpad(padded: bytes) -> bytes:
    (length,) = LENGTH.unpack_from(padded)
    secret = padded[LENGTH.size : LENGTH.size + length]
    # Authentic, so only a faulty writer gets here; still never a wrong password in silence.
    if len(secret) != length or padded != _pad(secret):
        raise Malformed("The stored password is padded in a way that this Mailkeep does not know.", _REMEDY)
    return secret
