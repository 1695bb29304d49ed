"""Private files, durable on disk before anything depends on them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write(path: Path, data: bytes | Iterable[bytes], mode: int = 0o600) -> None:
    """Create a file; its bytes are durable then, its name only after `sync_directory`.

    `data` may be an iterable of pieces. Raises OSError, leaves nothing behind then, and never touches an
    existing file.
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
        with suppress(OSError):  # the first error is the one to report
            path.unlink()
        raise


def write_new(path: Path, data: bytes) -> bool:
    """Create a file with `data` atomically, unless it exists. Whether it was created. Raises OSError."""
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


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Create or replace a file with `data` atomically. Raises OSError."""
    temporary = _beside(path)
    write(temporary, data, mode)
    try:
        temporary.rename(path)
    except OSError:
        temporary.unlink()
        raise
    sync_directory(path.parent)


def sync(path: Path) -> None:
    """Make the bytes of an existing file durable. Raises OSError."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
