"""Promises of the key file on the disk (panel.vault.keystore)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from panel.crypto.keyfile import KeyFile
from panel.errors import KeyFileError, Refused
from panel.vault.keystore import KeyStore

INSTANCE = b"i" * 16


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    return KeyStore(data / "encryption-key.bin", data)


def made(store: KeyStore) -> KeyFile:
    file = KeyFile.generate(INSTANCE)
    assert store.create(file)
    return file


def test_what_is_written_comes_back_private(store: KeyStore) -> None:
    file = made(store)
    assert store.read() == file
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in store.data_dir.iterdir()] == ["encryption-key.bin"]


def test_no_file_is_told_apart_from_a_bad_one(store: KeyStore) -> None:
    assert store.read() is None


def test_an_existing_file_is_never_written_over(store: KeyStore) -> None:
    file = made(store)
    assert store.create(KeyFile.generate(INSTANCE)) is False
    assert store.read() == file


def test_only_the_generation_that_was_read_is_replaced(store: KeyStore) -> None:
    file = made(store)
    newer = file.with_decrypting_flag(b"r" * 16)
    store.replace(file, newer)
    with pytest.raises(Refused, match="another process"):
        store.replace(file, file.with_decrypting_flag(b"s" * 16))
    assert store.read() == newer


def symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir(0o700)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "readable for the group": (lambda p: p.chmod(0o640), "chmod 600"),
    "readable for everybody": (lambda p: p.chmod(0o644), "chmod 600"),
    "in a directory that others can write": (lambda p: p.parent.chmod(0o777), "chmod go-w"),
    "a symbolic link": (symlink, "cp --remove-destination"),
    "a pipe": (fifo, "mv "),
    "a directory": (directory, "mv "),
    "empty": (lambda p: p.write_bytes(b""), "backup"),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "backup"),
    "one bit flipped": (lambda p: p.write_bytes(bytes([p.read_bytes()[0] ^ 1]) + p.read_bytes()[1:]), "backup"),
    "line ends converted": (lambda p: p.write_bytes(p.read_bytes().replace(b"\r\n", b"\n")), "backup"),
    "much too large": (lambda p: p.write_bytes(p.read_bytes() + bytes(4_000_000)), "backup"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "remedy"), DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_cannot_be_trusted_is_refused_with_what_to_type(
    store: KeyStore, damage: Callable[[Path], object], remedy: str
) -> None:
    made(store)
    damage(store.path)
    with pytest.raises(KeyFileError) as refused:
        store.read()
    assert remedy in refused.value.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_owner_is_refused(store: KeyStore) -> None:
    made(store)
    os.chown(store.path, 12345, 12345)
    with pytest.raises(KeyFileError, match="another user") as refused:
        store.read()
    assert "chown" in refused.value.remedy


def test_a_pipe_does_not_hold_the_reader_up(store: KeyStore) -> None:
    os.mkfifo(store.path, 0o600)
    with pytest.raises(KeyFileError):
        store.read()  # the suite's time limit is the assertion: no waiting for a writer


def test_what_a_killed_write_left_is_removed_at_start_and_nothing_else(store: KeyStore) -> None:
    made(store)
    (store.data_dir / ".encryption-key.bin.0123456789abcdef.tmp").write_bytes(b"half")
    (store.data_dir / "note.txt").write_text("keep")
    store.clean()
    assert sorted(p.name for p in store.data_dir.iterdir()) == [
        "encryption-key.bin", "encryption-key.lock", "note.txt",
    ]  # fmt: skip


def test_retiring_leaves_a_copy_without_the_flag_before_the_file_goes(store: KeyStore) -> None:
    file = made(store)
    flagged = file.with_decrypting_flag(b"r" * 16)
    store.replace(file, flagged)
    copy = store.retire(flagged)
    assert store.read() is None
    assert copy.name.startswith("encryption-key.retired-")
    kept = KeyFile.from_bytes(copy.read_bytes())
    assert (kept.keys, kept.decrypt_id) == (file.keys, None)


def test_retiring_again_after_a_crash_ends_in_the_same_place(store: KeyStore) -> None:
    file = made(store)
    copy = store.retire(file)
    store.create(file)
    assert store.retire(file) == copy


def test_the_witness_goes_only_when_a_retired_copy_holds_its_key(store: KeyStore) -> None:
    file = made(store)
    store.expect(file.primary.id)
    store.forget_expected_key()
    assert store.expected_key() == file.primary.id
    store.path.unlink()
    store.forget_expected_key()
    assert store.expected_key() == file.primary.id
    store.create(file)
    store.retire(file)
    store.forget_expected_key()
    assert store.expected_key() is None


@pytest.mark.parametrize("content", ["", "zz", "00", "00" * 9])
def test_a_witness_that_cannot_be_read_still_counts_as_one(store: KeyStore, content: str) -> None:
    (store.data_dir / "encryption-expected").write_text(content)
    assert store.expected_key() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_directory_that_takes_no_file_is_a_clear_refusal(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match="no space left"):
        store.create(KeyFile.generate(INSTANCE))
    assert list(store.data_dir.iterdir()) == []


def test_what_to_type_works_for_a_path_with_spaces(tmp_path: Path) -> None:
    data = tmp_path / "a data directory's place"
    data.mkdir(mode=0o700)
    store = KeyStore(data / "encryption key.bin", data)
    file = made(store)
    store.path.chmod(0o644)
    with pytest.raises(KeyFileError) as refused:
        store.read()
    subprocess.run(["sh", "-c", refused.value.remedy.removeprefix("Run: ")], check=True)
    assert store.read() == file
