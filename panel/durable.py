"""Private files and their names, on the disk before anything counts on them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write(path: Path, data: bytes | Iterable[bytes], mode: int = 0o600) -> None:
    """Make a file of a new name; its bytes are on the disk then, its name not yet (`sync_directory`).

    `data`: all of it, or pieces that are written as they come.

    Raises OSError; nothing of the file is left then, and one that has the name already stays as it is.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            if mode != 0o600:
                os.fchmod(fd, mode)  # whatever the umask
            file.writelines((data,) if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(fd)
    except OSError:
        with suppress(OSError):  # what went wrong first is what is told
            path.unlink()
        raise


def write_new(path: Path, data: bytes) -> bool:
    """Make a file with `data` in one step; an existing one stays. Whether it was made. Raises OSError."""
    temporary = _beside(path)
    write(temporary, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    sync_directory(path.parent)
    return True


def replace(path: Path, data: bytes) -> None:
    """Put a file with `data` in the place of whatever has that name, in one step. Raises OSError."""
    temporary = _beside(path)
    write(temporary, data)
    try:
        temporary.rename(path)
    except OSError:
        temporary.unlink()
        raise
    sync_directory(path.parent)


def sync(path: Path) -> None:
    """Have the bytes of a file that somebody else wrote on the disk. Raises OSError."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Have the names in `path` on the disk. Raises OSError."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
