"""Disks of one's own that can be full or read-only: a tmpfs, which takes root to mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of `size` (as mount writes it, '16k') at `place`, private."""
    place.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", place], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting takes root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def spoil(place: Path, trouble: str) -> None:
    """Make it a 'full disk' or a 'read-only disk'."""
    if trouble == "read-only disk":
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        return
    filler = os.open(place / "filler", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while os.write(filler, bytes(4096)):
            pass
    os.close(filler)


def remedy(place: Path) -> None:
    """Have it take writes again."""
    subprocess.run(["mount", "-o", "remount,rw", place], check=True)
    (place / "filler").unlink(missing_ok=True)
