"""What a file is, told by its bytes and never by its name: key files, databases, archives.

`look` reads a stream once, whatever its size, and keeps little of it in memory.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from panel.crypto.keyfile import ENTRY, HEADER, LARGEST, MAGIC, Key, KeyFile, NotAKeyFile, fingerprint

CHUNK = 1 << 20
WINDOW = 8192  # bytes kept from one chunk to the next: what is looked for may lie across their border
# The magic bytes of a key file, also with its line ends converted: whole, DOS to Unix, Unix to DOS.
STARTS = (b"MKY\r\n\x1a\n", b"MKY\n\x1a\n", b"MKY\r\n\x1a\r\n", b"MKY\r\r\n\x1a\r\n")
# Both are put together here, so that this file is not taken for what it looks for.
BASE64 = base64.b64encode(MAGIC)[:10]  # what base64 of a key file begins with
# The schema of our database, in a dump of it, in a log of it, or in an archive inside an archive.
SCHEMA = tuple(b" TABLE ".join((b"CREATE", end)) for end in (b'"endpoint"', b'IF NOT EXISTS "endpoint"'))
SQLITE = b"SQLite format 3\0"
SECRET_KEY = re.compile(rb"[0-9a-f]{64}\n?\Z")
ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"age-encryption.org/": "age",
}
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257


class Stream(Protocol):
    """What can be read piece by piece."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


@dataclass(frozen=True)
class FoundKey:
    """Something of a key file. `state`: intact, damaged, converted, inside, base64."""

    name: str
    state: str
    why: str = ""
    fingerprints: tuple[str, ...] = ()
    instance: str | None = None  # hexadecimal
    digest: str | None = None  # SHA-256 of an intact one


@dataclass
class Blob:
    """What one stream turned out to be. `kind`: sqlite, an archive's name, or other."""

    name: str
    kind: str
    size: int = 0
    keys: list[FoundKey] = field(default_factory=list)
    schema_inside: bool = False
    secret_key: bool = False


def look(
    name: str, stream: Stream, secret_key: bytes | None, keep: Callable[[bytes], object] | None = None
) -> Blob:
    """Read `stream` to its end. An SQLite database's bytes go to `keep`, if given."""
    head = _read_full(stream, CHUNK)
    blob = Blob(name, _kind(head))
    if _begins_like_a_key(head):
        head += _read_full(stream, LARGEST + 1 - len(head))
        _whole_key(blob, head)
    keep = keep if blob.kind == "sqlite" else None
    inside: set[str] = set()
    for chunk, end in _overlapping(head, stream, blob, keep):
        _scan(blob, chunk, end, inside, secret_key)
    if blob.size <= 65 and SECRET_KEY.match(head):
        blob.secret_key = True
    if inside:
        blob.keys.append(FoundKey(name, "inside", fingerprints=tuple(sorted(inside))))
    return blob


def _overlapping(
    head: bytes, stream: Stream, blob: Blob, keep: Callable[[bytes], object] | None
) -> Iterator[tuple[bytes, bool]]:
    """The stream in pieces, each with the last bytes of the one before; whether it is the last."""
    tail, chunk = b"", head
    while True:
        if keep and chunk:
            keep(chunk)
        blob.size += len(chunk)
        following = stream.read(CHUNK) if chunk else b""
        yield tail + chunk, not following
        if not following:
            return
        tail, chunk = (tail + chunk)[-WINDOW:], following


def _scan(blob: Blob, chunk: bytes, end: bool, inside: set[str], secret_key: bytes | None) -> None:
    at = chunk.find(MAGIC, 1)
    while at >= 0:
        inside |= _entries(chunk, at)
        at = chunk.find(MAGIC, at + 1)
    if BASE64 in chunk and not any(key.state == "base64" for key in blob.keys):
        blob.keys.append(FoundKey(blob.name, "base64", "it is written as base64"))
    if blob.kind != "sqlite" and any(text in chunk for text in SCHEMA):
        blob.schema_inside = True
    if secret_key and secret_key in chunk:
        blob.secret_key = True


def _entries(data: bytes, at: int) -> set[str]:
    """Fingerprints of the keys in a key file that begins at `at`: only what is a key counts as one."""
    found = set()
    for begin in range(at + HEADER.size, len(data) - ENTRY.size + 1, ENTRY.size):
        *_, key_id, material = ENTRY.unpack_from(data, begin)
        if Key(material).id != key_id:
            break
        found.add(fingerprint(key_id))
    return found


def _begins_like_a_key(head: bytes) -> bool:
    return any(0 <= head[:16].find(start) <= 4 for start in STARTS)


def _whole_key(blob: Blob, data: bytes) -> None:
    try:
        file = KeyFile.from_bytes(data)
    except NotAKeyFile as error:
        state = "damaged" if data.startswith(MAGIC) else "converted"
        why = str(error) if state == "damaged" else "its line ends were converted"
        blob.keys.append(FoundKey(blob.name, state, why, tuple(sorted(_entries(data, 0)))))
        return
    prints = tuple(fingerprint(key.id) for key in file.keys)
    digest = hashlib.sha256(data).hexdigest()
    blob.keys.append(FoundKey(blob.name, "intact", "", prints, file.instance_id.hex(), digest))


def _kind(head: bytes) -> str:
    if head.startswith(SQLITE):
        return "sqlite"
    if head[TAR_MAGIC_AT : TAR_MAGIC_AT + len(TAR_MAGIC)] == TAR_MAGIC:
        return "tar"
    return next((kind for magic, kind in ARCHIVES.items() if head.startswith(magic)), "other")


def _read_full(stream: Stream, size: int) -> bytes:
    """`size` bytes, fewer only at the end: pipes and decompressors hand out less at a time."""
    parts, left = [], size
    while left > 0 and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
