"""Looking into archives without unpacking them: members are read one by one, never written by their name.

What unpacks to far more than it is, is a bomb: reading ends there with TooMuch.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import IO, Any, cast

from panel.backup.content import TAR_MAGIC, TAR_MAGIC_AT, Stream

ROOM = 64 << 20  # bytes that any archive may unpack to,
RATIO = 250  # and beyond that so many times its size: text of databases comes to 20
MEMBERS = 2_000_000
OPENERS: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
READABLE = {*OPENERS, "tar", "zip"}
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    MemoryError,
    NotImplementedError,  # a way of packing that the library does not know
    RuntimeError,  # an encrypted zip
    ValueError,
    OverflowError,
)


class TooMuch(Exception):
    """The archive unpacks to more than is looked at; the text says which limit."""


@dataclass(frozen=True)
class Member:
    """One file in an archive. `leads_out`: its name is absolute or climbs with '..'."""

    name: str
    stream: Stream
    leads_out: bool = False


class _Counted:
    """A stream that may hand out so much and no more, together with the others of its archive."""

    def __init__(self, stream: Stream, budget: _Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size if size >= 0 else ROOM)
        self._budget.spend(len(data))
        return data


class _Budget:
    def __init__(self, packed: int) -> None:
        self._left = max(ROOM, packed * RATIO)

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooMuch(f"it unpacks to more than {RATIO} times its size")


def members(path: Path, kind: str) -> Iterator[Member]:
    """The files in the archive `path`. Read each before asking for the next.

    Raises TooMuch, or one of BROKEN where it cannot be read to its end.
    """
    budget = _Budget(path.stat().st_size)
    found = _zip(path, budget) if kind == "zip" else _packed(path, kind, budget)
    for number, member in enumerate(found):
        if number >= MEMBERS:
            raise TooMuch(f"it has more than {MEMBERS} members")
        yield member


def _zip(path: Path, budget: _Budget) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if info.is_dir() or (mode and not S_ISREG(mode) and mode >> 12):
                continue  # folders and links hold nothing
            with archive.open(info) as stream:
                yield Member(info.filename, _Counted(stream, budget), _leads_out(info.filename))


def _packed(path: Path, kind: str, budget: _Budget) -> Iterator[Member]:
    """A tar, packed or not, or a single packed file."""
    with _unpacked(path, kind) as stream:
        if not _is_tar(stream):
            yield Member(path.name, _Counted(stream, budget))
            return
        with tarfile.open(fileobj=cast(IO[bytes], _Counted(stream, budget)), mode="r|") as archive:
            for info in archive:
                content = archive.extractfile(info) if info.isreg() else None
                if content is not None:
                    yield Member(info.name, _Counted(content, budget), _leads_out(info.name))
        while stream.read(1 << 20):  # what comes behind the end: a packed file's sum is checked there
            budget.spend(1 << 20)


@contextmanager
def _unpacked(path: Path, kind: str) -> Iterator[Any]:
    with OPENERS.get(kind, open)(path, "rb") as stream:
        yield stream


def _is_tar(stream: Any) -> bool:
    head = stream.read(512)
    stream.seek(0)
    return bool(head[TAR_MAGIC_AT : TAR_MAGIC_AT + len(TAR_MAGIC)] == TAR_MAGIC)


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in PurePosixPath(name).parts
