"""What lies in a backup, read by a process of its own (see `panel.backup.check`).

That process has no database open: closing a file drops the locks that its process holds on it, and the path
may be where the live database lies. It reads a request from standard input and prints a CheckReport as JSON:
names, fingerprints and counts, never a key or a password.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import resource
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import IO, Any

from panel import process
from panel.backup import database
from panel.backup.database import FoundDatabase
from panel.crypto.keyfile import HEADER, LARGEST, MAGIC, KeyFile, NotAKeyFile, fingerprint, length_of
from panel.encryption.leftovers.search import ARCHIVES, open_regular
from panel.errors import KeyFileError
from panel.vault.keystore import KeyStore

CHUNK = LARGEST  # bytes read at once, so that the first ones hold a whole key file
OVERLAP = 8192  # bytes kept from one chunk to the next: what is searched for may lie across their border
UNPACKED, RATIO = 64 << 20, 250  # bytes that any archive may unpack to, and times its size beyond that
MEMORY = 3 << 30  # bytes that the process may take
COPY = 16 << 30  # bytes of a database in an archive
SQLITE = b"SQLite format 3\0"
TAR = slice(257, 262)
OPENERS: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "tar": open}
# The beginning of a key file whose line ends were converted, or that was taken for Latin-1.
CONVERTED = (
    MAGIC.replace(b"\r\n", b"\n"),
    MAGIC.replace(b"\n", b"\r\n"),
    MAGIC[:-1].replace(b"\x1a", b"\x1a\r\n"),
    MAGIC.decode("latin-1").encode(),
)
# Put together here, so that neither this file nor what Python makes of it is taken for a dump.
SCHEMA = tuple(b" TABLE ".join((b"CREATE", end)) for end in (b'"endpoint"', b'IF NOT EXISTS "endpoint"'))


@dataclass(frozen=True)
class FoundKey:
    """A key file, or one inside another file. `state`: intact, damaged or converted."""

    name: str
    state: str
    fingerprints: Sequence[str] = ()


@dataclass
class CheckReport:
    """What was found, and what it means. `problems` make the exit status 1; `warnings` do not."""

    path: str
    files: int = 0
    databases: list[FoundDatabase] = field(default_factory=list)
    dumps: list[str] = field(default_factory=list)  # names of what holds a database in another form
    keys: list[FoundKey] = field(default_factory=list)
    not_checked: dict[str, str] = field(default_factory=dict)  # name, reason
    unreadable: dict[str, str] = field(default_factory=dict)  # name, reason
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: bytes) -> CheckReport:
        """What the process printed."""
        found = json.loads(text)
        found["databases"] = [FoundDatabase(**each) for each in found["databases"]]
        found["keys"] = [FoundKey(**each) for each in found["keys"]]
        return cls(**found)


class _Reader:
    """Goes through one path and gathers in `report`."""

    _key: KeyFile | None = None
    _left = sys.maxsize  # bytes that the archive at hand may still unpack to

    def __init__(self, path: Path, data_dir: Path, key_file: Path, live: Path, room: Path) -> None:
        """`live`: the database of the running server; `room`: a private, empty directory."""
        self.report = CheckReport(str(path))
        self._path, self._live, self._room = path, live, room
        with suppress(KeyFileError):
            self._key = KeyStore(key_file, data_dir).read()

    def read(self) -> None:
        """Read the file, or every file below the directory. Links, pipes and devices are left out."""
        if not self._path.is_dir():
            self._file(self._path, self._path.name)
            return
        for directory, folders, names in os.walk(self._path, onerror=self._not_listed):
            folders.sort()
            for path in (Path(directory, name) for name in sorted(names)):
                if path.is_file() and not path.is_symlink():
                    self._file(path, str(path.relative_to(self._path)))

    def _not_listed(self, error: OSError) -> None:
        self.report.not_checked[str(error.filename)] = _reason(error)

    def _file(self, path: Path, name: str) -> None:
        try:
            stream = open_regular(str(path))
        except OSError as error:
            self.report.not_checked[name] = _reason(error)
            return
        self._left = sys.maxsize
        try:
            with stream:
                kind = self._stream(name, stream)
            if kind == "sqlite":
                self._database(path, name)
            elif kind == "zip" or kind in OPENERS:
                self._archive(path, name, kind)
            elif kind:
                self.report.not_checked[name] = f"it is packed or encrypted ({kind})"
        except Exception as error:  # noqa: BLE001 - damaged archives raise a dozen kinds; all are reported
            self.report.unreadable[name] = _reason(error)

    def _archive(self, path: Path, archive: str, kind: str) -> None:
        copy = self._room / "member.db"
        self._left = max(UNPACKED, path.stat().st_size * RATIO)
        for member, stream in _zip(path) if kind == "zip" else self._packed(path, kind):
            name = f"{archive}: {member}"
            with copy.open("wb") as file:
                inner = self._stream(name, stream, file)
            if inner == "sqlite":
                self._database(copy, name)
            elif inner:
                self.report.not_checked[name] = "it is an archive inside an archive"

    def _packed(self, path: Path, kind: str) -> Iterator[tuple[str, IO[bytes]]]:
        """The members of a tar, or the one file that is packed. Read each before asking for the next."""
        with OPENERS[kind](path, "rb") as unpacked:
            is_tar = unpacked.read(TAR.stop)[TAR] == b"ustar"
            unpacked.seek(0)
            if not is_tar:
                yield path.name, unpacked
                return
            with tarfile.open(fileobj=unpacked, mode="r|") as archive:
                for entry in archive:
                    content = archive.extractfile(entry) if entry.isreg() else None
                    if content is not None:
                        yield entry.name, content
            for _ in self._chunks(
                unpacked
            ):  # what comes behind the end: a packed file's sum is checked there
                pass

    def _chunks(self, stream: IO[bytes]) -> Iterator[bytes]:
        while chunk := stream.read(CHUNK):
            self._left -= len(chunk)
            if self._left < 0:
                raise ValueError(f"it unpacks to more than {RATIO} times its size")
            yield chunk

    def _stream(self, name: str, stream: IO[bytes], copy: IO[bytes] | None = None) -> str:
        """Read `stream` to its end, note what is in it, and write a database to `copy`; its kind."""
        self.report.files += 1
        head = block = b""
        keys: set[FoundKey] = set()
        dump = False
        for chunk in self._chunks(stream):
            head = head or chunk
            block = block[-OVERLAP:] + chunk
            keys.update(_keys(name, block))
            dump = dump or any(text in block for text in SCHEMA)
            if copy is not None and head.startswith(SQLITE):
                copy.write(chunk)
        if head.startswith((MAGIC, *CONVERTED)) and not keys:
            keys.add(FoundKey(name, "damaged" if head.startswith(MAGIC) else "converted"))
        self.report.keys += sorted(keys, key=astuple)
        if dump and not head.startswith(SQLITE):
            self.report.dumps.append(name)
        return _kind(head)

    def _database(self, path: Path, name: str) -> None:
        """The live one is asked as a database; one with a log beside it is read as a copy of both."""
        log = path.with_name(f"{path.name}-wal")
        live = self._live.exists() and path.samefile(self._live)
        logged = not live and log.is_file() and log.stat().st_size > 0
        if logged:
            path = Path(shutil.copyfile(path, self._room / "copy.db"))
            shutil.copyfile(log, self._room / "copy.db-wal")
        found = database.read(path, name, self._key, live=live, logged=logged)
        if found is not None:
            self.report.databases.append(found)
        for copied in self._room.iterdir():
            copied.unlink()


# -- what a file is --------------------------------------------------------------------


def _kind(head: bytes) -> str:
    """sqlite, tar, the name of another kind of archive, or nothing."""
    if head.startswith(SQLITE):
        return "sqlite"
    if head[TAR] == b"ustar":
        return "tar"
    return next((kind for magic, kind in ARCHIVES.items() if head.startswith(magic)), "")


def _keys(name: str, block: bytes) -> Iterator[FoundKey]:
    """The key files in `block`, wherever they begin."""
    at = block.find(MAGIC)
    while at >= 0:
        with suppress(NotAKeyFile):
            file = KeyFile.from_bytes(block[at : at + (length_of(block[at : at + HEADER.size]) or 0)])
            yield FoundKey(name, "intact", tuple(fingerprint(key.id) for key in file.keys))
        at = block.find(MAGIC, at + 1)


def _zip(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for entry in (entry for entry in archive.infolist() if not entry.is_dir()):
            with archive.open(entry) as stream:
                yield entry.filename, stream


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or "it is damaged or cut short").lower()


def main() -> None:
    """Answer one request: what `check` starts as a process."""
    process.harden()
    process.die_with(os.getppid())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (COPY, COPY))
    reader = _Reader(**{name: Path(value) for name, value in json.load(sys.stdin).items()})
    reader.read()
    json.dump(asdict(reader.report), sys.stdout)
