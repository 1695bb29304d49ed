"""Looking through a backup, in a process that has no database open (see `panel.backup.check`).

Closing a file that this process had open as a database would drop the locks of
that database, and the path may well be where the live one lies. Reads {"path",
"data_dir", "key_file", "database", "room"} from standard input and prints what
was found as JSON: names, fingerprints and counts, never a key or a password.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from panel import process
from panel.backup import archives, content, database
from panel.backup.content import Blob, FoundKey
from panel.backup.database import FoundDatabase
from panel.crypto.keyfile import KeyFile
from panel.errors import KeyFileError
from panel.vault.keystore import KeyStore

MOST_MEMORY = 3 << 30  # bytes of address space: a bomb ends this process and nothing else
MOST_FILES = 2_000_000
LARGEST_DATABASE = 16 << 30  # bytes, of one in an archive: it is copied to be looked into


@dataclass
class Found:
    """All that was found. `unseen` could not be looked into, `broken` could not be read to its end."""

    files: int = 0
    databases: list[FoundDatabase] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)  # names of what holds a database in some other form
    keys: list[FoundKey] = field(default_factory=list)
    secret_keys: list[str] = field(default_factory=list)
    unseen: list[tuple[str, str]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    leads_out: list[str] = field(default_factory=list)


class Looking:
    """Goes through one path and gathers in `found`."""

    def __init__(self, data_dir: Path, key_file: Path, live: Path, room: Path) -> None:
        """`live`: the database of the running server; `room`: a private, empty directory."""
        self.found = Found()
        self._key = _key(KeyStore(key_file, data_dir))
        self._secret_key = _secret_key(data_dir)
        self._live = _identity(live)
        self._room = room

    def through(self, path: Path) -> None:
        """Look at a file, or at every file below a directory; links are not followed."""
        if not path.is_dir():
            self._file(path, path.name)
            return
        for number, (file, name) in enumerate(self._files(path)):
            if number >= MOST_FILES:
                self.found.broken.append((str(path), f"it holds more than {MOST_FILES} files"))
                return
            self._file(file, name)

    def _files(self, root: Path) -> Iterator[tuple[Path, str]]:
        for directory, folders, names in os.walk(root, onerror=self._closed):
            folders.sort()
            for name in sorted(names):
                path = Path(directory, name)
                yield path, str(path.relative_to(root))

    def _closed(self, error: OSError) -> None:
        self.found.unseen.append((_shown(str(error.filename)), _why(error)))

    # -- a file --------------------------------------------------------------------

    def _file(self, path: Path, name: str) -> None:
        name = _shown(name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # gone meanwhile
        except OSError as error:
            if not path.is_symlink() and not stat.S_ISSOCK(path.lstat().st_mode):
                self.found.unseen.append((name, _why(error)))
            return
        with os.fdopen(fd, "rb") as stream:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return  # a pipe or a device
            self.found.files += 1
            try:
                blob = content.look(name, stream, self._secret_key)
            except OSError as error:
                self.found.broken.append((name, _why(error)))
                return
        self._note(blob)
        if blob.kind == "sqlite":
            self._database(path, name)
        elif blob.kind in archives.READABLE:
            self._archive(path, name, blob.kind)
        elif blob.kind != "other":
            self.found.unseen.append((name, f"it is packed in a way that is not read here ({blob.kind})"))

    def _note(self, blob: Blob) -> None:
        self.found.keys += blob.keys
        if blob.schema_inside:
            self.found.inside.append(blob.name)
        if blob.secret_key:
            self.found.secret_keys.append(blob.name)

    def _database(self, path: Path, name: str) -> None:
        """A live one is asked as a database; one with a log beside it is read as a copy of both."""
        path = path.resolve()
        log = path.with_name(f"{path.name}-wal")
        if _identity(path) == self._live:
            self._keep(database.read(path, name, self._key, live=True))
        elif log.is_file() and log.stat().st_size:
            copy = self._room / "copy.db"
            shutil.copyfile(path, copy)
            shutil.copyfile(log, copy.with_name("copy.db-wal"))
            self._copied(copy, name)
        else:
            self._keep(database.read(path, name, self._key))

    def _copied(self, copy: Path, name: str) -> None:
        """A database that lies in `room`, and is ours to open as we like."""
        self._keep(database.read(copy, name, self._key, live=copy.with_name(f"{copy.name}-wal").exists()))
        for path in self._room.iterdir():
            path.unlink()

    def _keep(self, found: FoundDatabase | None) -> None:
        if found is not None:
            self.found.databases.append(found)

    # -- an archive ------------------------------------------------------------------

    def _archive(self, path: Path, name: str, kind: str) -> None:
        try:
            for member in archives.members(path, kind):
                self._member(name, member)
        except (archives.TooMuch, *archives.BROKEN) as error:
            why = _why(error) if isinstance(error, OSError) and error.strerror else str(error)
            self.found.broken.append((name, _shown(why) or "it is damaged or cut short"))
        finally:
            (self._room / "member.db").unlink(missing_ok=True)

    def _member(self, archive: str, member: archives.Member) -> None:
        name = f"{archive}: {_shown(member.name)}"
        if member.leads_out:
            self.found.leads_out.append(name)
        self.found.files += 1
        copy = self._room / "member.db"
        with copy.open("wb") as file:
            blob = content.look(name, member.stream, self._secret_key, partial(_add, file))
        self._note(blob)
        if blob.kind == "sqlite":
            self._copied(copy, name)
        elif blob.kind != "other":
            self.found.unseen.append((name, "it is an archive inside an archive"))


def _add(file: IO[bytes], chunk: bytes) -> None:
    if file.tell() + len(chunk) > LARGEST_DATABASE:
        raise archives.TooMuch(f"a database in it is larger than {LARGEST_DATABASE >> 30} GiB")
    file.write(chunk)


def _key(vault: KeyStore) -> KeyFile | None:
    with suppress(KeyFileError):
        return vault.read()
    return None


def _secret_key(data_dir: Path) -> bytes | None:
    try:
        text = (data_dir / "secret-key").read_bytes().strip()
    except OSError:
        return None
    return text if len(text) >= 32 else None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _shown(text: str) -> str:
    """A name from somewhere else, as it may be printed on a terminal."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)[:300]


def _why(error: OSError) -> str:
    return (error.strerror or str(error) or "unknown reason").lower()


def main() -> None:
    """Answer one request."""
    process.harden()
    process.die_with(os.getppid())
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    request = json.load(sys.stdin)
    looking = Looking(*(Path(request[name]) for name in ("data_dir", "key_file", "database", "room")))
    looking.through(Path(request["path"]))
    json.dump(asdict(looking.found), sys.stdout)


if __name__ == "__main__":
    main()
