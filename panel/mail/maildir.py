"""One Maildir (https://cr.yp.to/proto/maildir.html). No crash leaves half a message in `new/`."""

from __future__ import annotations

import grp
import itertools
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from panel import durable
from panel.errors import SpoolError

FOLDERS = ("tmp", "new", "cur")


class Maildir:
    """Messages are written into `tmp/`, where no reader looks, and later renamed into `new/`.

    With a Unix `group` its members may take the mail away: `new/` and `cur/` are
    2770, files 0660. The Maildir itself is 2750 and `tmp/` is ours alone, or a member
    could put a link to elsewhere into their place. Without a group all is 0700 and
    0600. Every method raises SpoolError when the disk refuses.
    """

    def __init__(self, path: Path, group: str | None = None) -> None:
        self.path = path
        self._group = group
        self._file_mode = 0o660 if group else 0o600
        self._numbers = itertools.count(1)
        self._host = socket.gethostname().replace("/", "\\057").replace(":", "\\072")

    def create(self) -> None:
        """Make the three folders where they are missing, and set their modes. All of it is then on the disk.

        The spool around the Maildir is made too if it is missing, and open to the group; one that
        exists keeps its mode.
        """
        with self._named("made"):
            spool = self.path.parent
            make_spool(spool, self._group)
            make_folder(self.path, 0o2750, self._group)
            for name in FOLDERS:
                make_folder(self.path / name, 0o2700 if name == "tmp" else 0o2770, self._group)
            for path in (self.path, spool, spool.parent):
                durable.sync_directory(path)

    def unique_name(self, size: int, uid: int) -> str:
        """A file name that no other delivery uses. It ends with the size in bytes, for who reads it.

        Names tell the order of messages, and each its UID on the server (`panel.deliver.spool`).
        """
        now = time.time_ns()
        return (
            f"{now // 10**9}.M{now // 1000 % 10**6:06d}P{os.getpid()}Q{next(self._numbers)}"
            f"R{os.urandom(4).hex()}U{uid}.{self._host},S={size}"
        )

    def write(self, name: str, data: bytes) -> None:
        """Write one message into `tmp/`; on return its bytes are on the disk (its name: `sync_tmp`)."""
        with self._named("written"):
            durable.write(self.path / "tmp" / name, data, self._file_mode)

    def sync_tmp(self) -> None:
        """On return the names in `tmp/` are on the disk."""
        with self._named("written"):
            durable.sync_directory(self.path / "tmp")

    def publish(self, names: Iterable[str]) -> None:
        """Rename from `tmp/` into `new/`. One that is not in `tmp/` was published before: nothing to do."""
        with self._named("written"):
            for name in names:
                try:
                    (self.path / "tmp" / name).rename(self.path / "new" / name)
                except FileNotFoundError:
                    (self.path / "new").stat()  # the folder itself must be there

    def sync_new(self) -> None:
        """On return the names in `new/` are on the disk."""
        with self._named("written"):
            durable.sync_directory(self.path / "new")

    def discard(self, names: Iterable[str]) -> None:
        """Remove from `tmp/` messages that are not to be published after all."""
        with self._named("cleaned"):
            for name in names:
                (self.path / "tmp" / name).unlink(missing_ok=True)

    def is_clean(self) -> bool:
        with self._named("read"), os.scandir(self.path / "tmp") as entries:
            return not any(entry.is_file(follow_symlinks=False) for entry in entries)

    def clean(self, keep: set[str]) -> None:
        """Remove from `tmp/` what is not in `keep`: left behind by a crash. Only its owner writes there."""
        with self._named("cleaned"), os.scandir(self.path / "tmp") as entries:
            for entry in entries:
                if entry.name not in keep and entry.is_file(follow_symlinks=False):
                    Path(entry.path).unlink(missing_ok=True)

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SpoolError(
                f"The mail folder {self.path} cannot be {what}: {error.strerror or error}.",
                "Check free space, owner and mode there. Mail stays on its server until then.",
            ) from error


def make_spool(path: Path, group: str | None) -> None:
    """Make the folder around the Maildirs, open to the group. One that exists keeps its mode."""
    with suppress(FileExistsError):  # the first rounds of a new install all make it at once
        path.mkdir(parents=True, mode=0o700)
        _permit(path, 0o2750, group)


def make_folder(path: Path, mode: int, group: str | None) -> None:
    """Make a folder unless it is there, and set its mode: `mode` with a Unix `group`, 0700 without one.

    2000 in the mode: files made there are the group's. Raises OSError, and SpoolError for no such group.
    """
    path.mkdir(exist_ok=True, mode=0o700)
    _permit(path, mode, group)


def _permit(path: Path, mode: int, group: str | None) -> None:
    """Set group and mode of the directory itself: of nothing that a link in its place leads to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if group:
            os.fchown(descriptor, -1, _gid(group))
        os.fchmod(descriptor, mode if group else 0o700)
    finally:
        os.close(descriptor)


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise SpoolError(
            f"There is no Unix group {group} on this machine.",
            "Make it (groupadd), or change PANEL_MAIL_GROUP.",
        ) from None
