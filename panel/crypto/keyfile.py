"""The key file's bytes: which keys there are, what each may do, whose file it is.

Layout, version 1, integers big-endian (`docs/encryption.md` has it as a table):

    magic 8 ‖ version u8 ‖ flags u8 ‖ count u16 ‖ decrypt id 16 ‖ instance id 16 ‖ generation u64
    ‖ count × (state u8, kind u8, 6 zero bytes, key id 8, key 32) ‖ SHA-256 of all before

The magic catches text-mode damage as PNG's does, the sum catches truncation.
Reading and writing the file on the disk is `panel.vault.keystore`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

MAGIC = b"\x89MKY\r\n\x1a\n"
VERSION = 1
DECRYPTING = 1
PLAIN = 1
STATES: dict[int, Literal["usable", "retired"]] = {1: "usable", 2: "retired"}
STATE_BYTES = {name: byte for byte, name in STATES.items()}
KEY_BYTES = 32
KEY_ID_BYTES = 8
ID_BYTES = 16
NO_DECRYPT_ID = bytes(ID_BYTES)
HEADER = struct.Struct(f">8sBBH{ID_BYTES}s{ID_BYTES}sQ")
COUNT = slice(10, 12)  # where the header has the number of keys
ENTRY = struct.Struct(f">BB6s{KEY_ID_BYTES}s{KEY_BYTES}s")
SUM_BYTES = 32
HASH = SHA256()
MOST_KEYS = 0xFFFF
LARGEST = HEADER.size + MOST_KEYS * ENTRY.size + SUM_BYTES


class NotAKeyFile(ValueError):
    """The bytes are no intact key file; the text says in a few words what is wrong with them."""


def length_of(begin: bytes) -> int | None:
    """How long the key file is that begins with `begin`; None where that is no key file's, or too short."""
    if not begin.startswith(MAGIC) or len(begin) < COUNT.stop:
        return None
    return HEADER.size + int.from_bytes(begin[COUNT]) * ENTRY.size + SUM_BYTES


@dataclass(frozen=True)
class Key:
    """One key of the file. Usable keys seal and open, retired ones only open."""

    material: bytes = field(repr=False)
    state: Literal["usable", "retired"] = "usable"

    @classmethod
    def generate(cls) -> Key:
        return cls(secrets.token_bytes(KEY_BYTES))

    @cached_property
    def id(self) -> bytes:
        """Eight bytes that name the key and reveal nothing of it."""
        return self.derive(b"mailkeep/key-id", KEY_ID_BYTES)

    def derive(self, info: bytes, length: int) -> bytes:
        """`length` bytes for the purpose that `info` names, by HKDF-Expand (RFC 5869, 2.3).

        HKDF-Extract is left out: the key is uniformly random already.
        """
        return HKDFExpand(HASH, length, info).derive(self.material)


@dataclass(frozen=True)
class KeyFile:
    """A key file's content. Every change makes a new value with the next generation."""

    instance_id: bytes
    keys: tuple[Key, ...]
    generation: int = 1
    decrypt_id: bytes | None = None  # set: encryption is being turned off, secrets are written in clear text

    @classmethod
    def generate(cls, instance_id: bytes) -> KeyFile:
        """A new file with one usable key, for the install that `instance_id` (16 bytes) names."""
        return cls(instance_id, (Key.generate(),))

    @property
    def usable(self) -> tuple[Key, ...]:
        """The keys that may seal, in the order in which they were added."""
        return tuple(key for key in self.keys if key.state == "usable")

    @property
    def primary(self) -> Key:
        """The key that every record belongs under: the last usable one."""
        return self.usable[-1]

    def find(self, key_id: bytes | None) -> Key | None:
        return None if key_id is None else self._by_id.get(key_id)

    @cached_property
    def _by_id(self) -> dict[bytes, Key]:
        return {key.id: key for key in self.keys}

    def _next(self, **changes: Any) -> KeyFile:
        return replace(self, generation=self.generation + 1, **changes)

    def with_primary(self, key: Key) -> KeyFile:
        return self._next(keys=(*self.keys, key))

    def retire_others(self) -> KeyFile:
        """The same keys with the primary one as the only usable one; the others are retired, in place."""
        keys = tuple(key if key == self.primary else replace(key, state="retired") for key in self.keys)
        return self._next(keys=keys)

    def with_retired(self, others: Iterable[Key]) -> KeyFile:
        """The same keys and `others`, which only open records."""
        return self._next(keys=(*self.keys, *(replace(key, state="retired") for key in others)))

    def without(self, others: Collection[Key]) -> KeyFile:
        gone = {key.id for key in others}
        return self._next(keys=tuple(key for key in self.keys if key.id not in gone))

    def with_decrypting_flag(self, decrypt_id: bytes) -> KeyFile:
        """The same keys, flagged: a sweep may write secrets in clear text under this decrypt id."""
        return self._next(decrypt_id=decrypt_id)

    def without_decrypting_flag(self) -> KeyFile:
        return self._next(decrypt_id=None)

    def to_bytes(self) -> bytes:
        flags = DECRYPTING if self.decrypt_id else 0
        body = HEADER.pack(
            MAGIC,
            VERSION,
            flags,
            len(self.keys),
            self.decrypt_id or NO_DECRYPT_ID,
            self.instance_id,
            self.generation,
        )
        body += b"".join(
            ENTRY.pack(STATE_BYTES[key.state], PLAIN, bytes(6), key.id, key.material) for key in self.keys
        )
        return body + hashlib.sha256(body).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> KeyFile:
        """Read a key file. Raises NotAKeyFile for anything but an intact one of version 1."""
        if len(data) < HEADER.size + SUM_BYTES or not data.startswith(MAGIC):
            raise NotAKeyFile(_looks_like(data))
        body, checksum = data[:-SUM_BYTES], data[-SUM_BYTES:]
        if not hmac.compare_digest(hashlib.sha256(body).digest(), checksum):
            raise NotAKeyFile("its checksum does not match: it is damaged or cut short")
        _, version, flags, count, decrypt_id, instance_id, generation = HEADER.unpack_from(body)
        if version != VERSION:
            raise NotAKeyFile(f"it is of version {version}; this Mailkeep reads version {VERSION}")
        if len(body) != HEADER.size + count * ENTRY.size:
            raise NotAKeyFile("its length does not fit the number of its keys")
        if flags & ~DECRYPTING or bool(flags) != (decrypt_id != NO_DECRYPT_ID):
            raise NotAKeyFile("its flags are not of version 1")
        keys = tuple(_entry(ENTRY.unpack_from(body, HEADER.size + i * ENTRY.size)) for i in range(count))
        if len({key.id for key in keys}) != count:
            raise NotAKeyFile("it holds the same key twice")
        if not any(key.state == "usable" for key in keys):
            raise NotAKeyFile("it holds no usable key")
        return cls(instance_id, keys, generation, decrypt_id if flags else None)


def _entry(fields: tuple[int, int, bytes, bytes, bytes]) -> Key:
    state, kind, zeros, key_id, material = fields
    if state not in STATES or kind != PLAIN or zeros != bytes(6):
        raise NotAKeyFile("it holds a key of a kind that this Mailkeep does not know")
    key = Key(material, STATES[state])
    if key.id != key_id:
        raise NotAKeyFile("a key in it does not match its key id")
    return key


def _looks_like(data: bytes) -> str:
    if not data:
        return "it is empty"
    if data.startswith((b"\x89MKY\n\x1a\n", b"\x89MKY\r\n\x1a\r\n")):
        return "its line ends were converted: copy it again in binary mode"
    return "it is cut short" if data.startswith(MAGIC[: len(data)]) else "it does not begin like a key file"


def fingerprint(key_id: bytes) -> str:
    """How a key id is shown to people: 9f3c-41d2-07aa-e5b1."""
    text = key_id.hex()
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))
