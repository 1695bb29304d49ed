"""Private files on the disk, read and written with the care that a key takes.

Errors name the file, the reason and the remedy.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from panel import durable
from panel.errors import DamagedKeyFile, KeyFileError, OutOfFiles, Refused
from panel.program import owner_of
from panel.wording import reason

PIECE = 16384  # bytes read at once: a key file with a few keys


@contextmanager
def flocked(path: Path) -> Iterator[None]:
    """Hold the lock that `path` stands for, made where it is not there; one process at a time has it."""
    with explained(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with explained(path):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError into a Refused that says why `path` cannot be used, moved or removed."""
    try:
        yield
    except OSError as error:
        raise Refused(
            f"The file {path} cannot be used ({reason(error)}).",
            "Make room or correct the permissions of its directory, then try again.",
        ) from error


def require_open_files(error: OSError) -> None:
    """Raise OutOfFiles where `error` says nothing about the file: there was no room to open any."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        raise OutOfFiles(
            "Mailkeep has as many files open as the system allows.",
            "Raise that limit (LimitNOFILE in the unit file), or lower PANEL_IDLE_CONNECTIONS.",
        ) from None


def remove(path: Path) -> None:
    """Remove `path`, durably."""
    with explained(path):
        path.unlink(missing_ok=True)
        durable.sync_directory(path.parent)


@contextmanager
def durable_beside(path: Path, data: bytes | Iterable[bytes]) -> Iterator[Path]:
    """A private, durable file with `data` in the directory of `path`; gone at the end unless renamed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        durable.write(temporary, data)
        yield temporary
    except OSError as error:
        raise Refused(
            f"The directory {path.parent} does not take the file {path.name} ({reason(error)}).",
            "Make room or correct its permissions, then try again.",
        ) from error
    finally:
        with suppress(OSError):  # a read-only disk raises also where nothing is; `clean` does the rest
            temporary.unlink()


def typed(path: Path) -> str:
    """`path` as it is typed in a shell, spaces and all."""
    return shlex.quote(str(path))


def read_private(path: Path, limit: int, data_dir: Path) -> bytes | None:
    """At most `limit` + 1 bytes of a file; None where there is none.

    Raises KeyFileError, with what to type against it, for one that is damaged, or that another than the owner
    of `data_dir` could have read or put there.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        require_open_files(error)
        raise _unopenable(path, error, data_dir) from None
    try:
        _require_private(path, os.fstat(fd), data_dir)
        return at_most(fd, limit + 1)
    except OSError as error:
        raise _unopenable(path, error, data_dir) from None
    finally:
        os.close(fd)


def _unopenable(path: Path, error: OSError, data_dir: Path) -> KeyFileError:
    if error.errno == errno.ELOOP:
        here = typed(path)
        remedy = f'Put the file itself there: cp --remove-destination "$(readlink -f {here})" {here}'
        return KeyFileError(f"The file {path} is a symbolic link.", remedy)
    if error.errno == errno.EACCES:
        remedy = f"Run: sudo chown {owner_of(data_dir)} {typed(path)}"
        return KeyFileError(f"The file {path} may not be read.", remedy)
    return DamagedKeyFile(
        f"The file {path} cannot be read ({reason(error)}).", "Put it back from its backup."
    )


def _require_private(path: Path, found: os.stat_result, data_dir: Path) -> None:
    """Refuse what others could have put there or could read (see `docs/encryption.md`)."""
    if not stat.S_ISREG(found.st_mode):
        raise DamagedKeyFile(
            f"{path} is not a regular file.",
            f"Move it away (mv {typed(path)} {typed(path)}.away), then put the file back.",
        )
    if found.st_uid != data_dir.stat().st_uid:
        raise KeyFileError(
            f"The file {path} belongs to another user than the data directory.",
            f"Run: sudo chown {owner_of(data_dir)} {typed(path)}",
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise KeyFileError(
            f"The file {path} can be read or written by other users (mode {mode:04o}).",
            f"Run: chmod 600 {typed(path)}",
        )
    if stat.S_IMODE(path.parent.stat().st_mode) & 0o022:
        raise KeyFileError(
            f"The directory {path.parent} can be written by other users.",
            f"Run: chmod go-w {typed(path.parent)}",
        )


def content_if_any(path: Path, limit: int) -> bytes:
    """As `_content`; no bytes for what is not there or is open in this process already.

    Closing a file that this process has open as a database would drop its locks.
    """
    try:
        return b"" if _is_open_here(path) else _content(path, limit)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EISDIR):
            return b""
        raise Refused(
            f"The file {path} cannot be read ({reason(error)}), and it may be the key.",
            "Make it readable, or move it to another directory if you know that it is not the key.",
        ) from None


def _is_open_here(path: Path) -> bool:
    found = path.stat()
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them is closed by now
            if os.path.samestat(found, os.fstat(int(fd.name))):
                return True
    return False


def _content(path: Path, limit: int) -> bytes:
    """A regular file's bytes, links followed; no bytes where it is none, at most `limit` of them."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return at_most(fd, limit) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def at_most(fd: int, limit: int) -> bytes:
    """At most `limit` bytes of an open file. In pieces: room for the largest would be made at each save."""
    pieces: list[bytes] = []
    while limit > 0 and (piece := os.read(fd, min(limit, PIECE))):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)
