"""Which clear values may be sealed as entered here: those that were listed before anything changed.

Turning on lists what it finds in clear text before the key file gets its name; turning off lists what opens
before the key file is flagged, in case it is cancelled. The sweep seals a clear value under the ordinary
label only where the list has that very row, unchanged; any other under a label that is not authentic.
No list, no trust: a restored database comes without one (docs/decisions/0030-licence.md).

Layout, integers big-endian: magic 8 ‖ key id 8 ‖ random id 16, then in the order of the ids, as often
as there are rows: id i64 ‖ tag 32. tag = HMAC-SHA256(k, id i64 ‖ rev i64 ‖ `Binding.encoded` ‖ secret),
k = HKDF-Expand(primary key, "mailkeep/licence" ‖ random id, 32). Who does not have the key can neither add a
row nor try out passwords on it.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from panel import durable
from panel.crypto.keyfile import KEY_ID_BYTES, Key, KeyFile
from panel.crypto.record import LONGEST_SECRET
from panel.errors import Refused
from panel.models import Endpoint
from panel.models.secret_fields import StoredClear
from panel.vault import rows
from panel.vault.files import durable_beside, explained, remove
from panel.vault.keystore import KeyStore
from panel.vault.rows import AnyRow

ATTESTATION = "encryption-attestation"
UNATTESTED = (  # said of a clear value beside a key file
    "Nothing shows that a person entered it here, so its server may have been changed too."
    " Enter the server and the password again."
)
MAGIC = b"\x89MKL\r\n\x1a\n"
ID_BYTES, TAG_BYTES = 16, 32
HEADER = struct.Struct(f">8s{KEY_ID_BYTES}s{ID_BYTES}s")
ENTRY = struct.Struct(f">q{TAG_BYTES}s")
PLACE = struct.Struct(">qq")
Tags = dict[int, bytes]  # by the ids of rows
MOST = 2**20  # rows: 40 MiB, ten times what was measured


def write(keystore: KeyStore, file: KeyFile, found: Iterable[tuple[AnyRow, bytes]]) -> None:
    """List `found`, rows by id with the secret of each, durably, in the place of any other list.

    Call it under `keystore.locked()`, before anything else is changed. Raises
    Refused, nothing being changed, where the disk does not take it or there are more than MOST.
    """
    path = keystore.data_dir / ATTESTATION
    with durable_beside(path, _content(file, found)) as temporary:
        temporary.rename(path)
        durable.sync_directory(path.parent)


def in_clear() -> Iterator[tuple[AnyRow, bytes]]:
    """Every password that stands in clear text: its row, in the order of the ids, and itself."""
    for row in rows.each(Endpoint, Endpoint.clear.is_null(False)):
        if row.clear is not None and row.may_be_clear:
            yield row, _text(row.clear)


def of(keystore: KeyStore, file: KeyFile) -> Attestation | None:
    """The stored list; one that was made for another key than the primary one of `file` permits nothing.

    Raises Refused where it is there and cannot be read: it is no reason to distrust every row.
    """
    path = keystore.data_dir / ATTESTATION
    with _opened(path) as fd:
        if fd is None:
            return None
        header = os.pread(fd, HEADER.size, 0)
    good = len(header) == HEADER.size and header.startswith(MAGIC + file.primary.id)
    mac = _mac(file.primary, header[-ID_BYTES:]) if good else None
    return Attestation(header, path, mac, file.instance_id)


def permits(keystore: KeyStore, file: KeyFile, row: AnyRow) -> bool:
    """Whether `row`, which stands in clear text, is listed and unchanged. Raises Refused as `of` does."""
    listed = of(keystore, file)
    return listed is not None and listed.has(row, listed.tags([row]))


def is_there(keystore: KeyStore) -> bool:
    """Whether a list lies there, whatever it says."""
    return os.path.lexists(keystore.data_dir / ATTESTATION)


def remove_if(keystore: KeyStore, header: bytes | None = None) -> None:
    """Take the list away, durably; with `header` only where it is still that one. Under `locked()`."""
    path = keystore.data_dir / ATTESTATION
    with _opened(path) as fd:
        gone = fd is None or (header is not None and os.pread(fd, HEADER.size, 0) != header)
    if not gone:
        remove(path)


@dataclass(frozen=True)
class Attestation:
    """A list on the disk. Two are equal where they are the same one."""

    header: bytes
    path: Path = field(compare=False)
    mac: HMAC | None = field(repr=False, compare=False)  # None: of another key, so it permits nothing
    instance_id: bytes = field(compare=False)

    def tags(self, found: Sequence[AnyRow]) -> Tags:
        """What is listed of the rows `found`, which come in the order of their ids."""
        with _opened(self.path) as fd:
            if self.mac is None or fd is None or not found:
                return {}
            return _between(fd, found[0].id, found[-1].id)

    def has(self, row: AnyRow, tags: Tags) -> bool:
        """Whether `row`, which stands in clear text, is listed in `tags` and unchanged."""
        listed = tags.get(row.id)
        if self.mac is None or listed is None or row.clear is None:
            return False
        found = _tag(self.mac, row, self.instance_id, _text(row.clear))
        return found is not None and hmac.compare_digest(found, listed)


def _between(fd: int, first: int, last: int) -> Tags:
    """The tags of the ids from `first` to `last`. Nothing else of the file is read."""
    count = (os.fstat(fd).st_size - HEADER.size) // ENTRY.size
    begin = bisect_left(range(count), first, key=lambda at: _id(fd, at))
    end = bisect_right(range(count), last, lo=begin, key=lambda at: _id(fd, at))
    data = os.pread(fd, (end - begin) * ENTRY.size, HEADER.size + begin * ENTRY.size)
    return dict(ENTRY.iter_unpack(data))


def _id(fd: int, at: int) -> int:
    return int.from_bytes(os.pread(fd, 8, HEADER.size + at * ENTRY.size), "big", signed=True)


def _content(file: KeyFile, found: Iterable[tuple[AnyRow, bytes]]) -> Iterator[bytes]:
    attestation_id = secrets.token_bytes(ID_BYTES)
    yield HEADER.pack(MAGIC, file.primary.id, attestation_id)
    mac, count = _mac(file.primary, attestation_id), 0
    for row, secret in found:
        tag = _tag(mac, row, file.instance_id, secret)
        if tag is None:
            continue
        count += 1
        if count > MOST:
            raise Refused(f"There are more than {MOST} passwords; nothing was changed.", "Remove mailboxes.")
        yield ENTRY.pack(row.id, tag)


def _mac(key: Key, attestation_id: bytes) -> HMAC:
    return HMAC(key.derive(b"mailkeep/licence" + attestation_id, TAG_BYTES), SHA256())


def _tag(mac: HMAC, row: AnyRow, instance_id: bytes, secret: bytes) -> bytes | None:
    """What stands for `row` with `secret`; None where SQL gave it a revision or a value that cannot be."""
    if type(row.rev) is not int or len(secret) > LONGEST_SECRET:
        return None
    one = mac.copy()
    one.update(PLACE.pack(row.id, row.rev) + row.binding(instance_id).encoded + secret)
    return one.finalize()


def _text(clear: StoredClear) -> bytes:
    return clear.text.encode("utf-8", "surrogatepass")


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """The file open for reading; None where there is none. What it says is believed by its tags alone."""
    with explained(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            yield fd if stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)
