"""Promises of panel.durable: private, never over what is there, and nothing left where it fails."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from panel import durable


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_a_file_has_its_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        durable.write(tmp_path / "ours", b"data")
        durable.write(tmp_path / "group's", b"data", 0o660)
    finally:
        os.umask(old)
    assert (mode(tmp_path / "ours"), mode(tmp_path / "group's")) == (0o600, 0o660)


def test_what_has_the_name_already_stays_as_it_is_also_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("there", "link"):
        with pytest.raises(FileExistsError):
            durable.write(tmp_path / name, b"other")
        assert not durable.write_new(tmp_path / name, b"other")
    assert (tmp_path / "there").read_bytes() == b"mine"
    assert sorted(os.listdir(tmp_path)) == ["link", "there"]


def test_replace_takes_the_place_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"old")
    durable.replace(tmp_path / "there", b"new")
    assert ((tmp_path / "there").read_bytes(), os.listdir(tmp_path)) == (b"new", ["there"])


WRITES: list[Callable[[Path, bytes], object]] = [durable.write, durable.write_new, durable.replace]


@pytest.mark.parametrize("write", WRITES)
def test_a_disk_that_takes_only_a_part_leaves_nothing(
    tmp_path: Path, write: Callable[[Path, bytes], object]
) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path / "file", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("write", WRITES)
def test_bytes_that_do_not_reach_the_disk_are_told_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], object]
) -> None:
    def fails(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path / "file", b"data")
    assert os.listdir(tmp_path) == []
