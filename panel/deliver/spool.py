"""The spool as the deliverer sees it: files that a group may write, opened without following what it planted.

    SPOOL/UUID/new/            mail that waits
    SPOOL/.delivery/           beside the Maildirs, made by the panel, which alone writes
        mailboxes.json         which mailboxes there are, and the target of each
        requests/              sample messages that the panel wants sent
        state/                 what the deliverer reports of itself, and of each mailbox
        UUID/sent/  aside/     mail that was delivered; that was refused, or tried too often

The Maildirs, `.delivery` and UUID/ are writable for the panel's user alone, so no member of the group can
choose a target, or put a link in the place of a folder. In new/, sent/, aside/ and state/ members can put
whatever they like: links, FIFOs, files.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from panel import text_file
from panel.logs import escaped

FOLDER = ".delivery"
SENT, ASIDE = "sent", "aside"
ASIDE_LISTED = 20  # messages that were set aside, with the reason
LONGEST_PART = 120  # bytes before and behind the mark of a name, which has 255 at most
LARGEST_STATE, LARGEST_MAILBOXES = 2**20, 16 * 2**20  # bytes
NAME = re.compile(
    r"((\d{1,11})\.M(\d{6})P\d{1,9}Q(\d{1,18})R[0-9a-f]{8}(?:U(\d{1,20}))?)(?:A[0-9a-f]{8})?(?=\.)"
)  # panel.mail.maildir; A: delivered again
OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotOurs(Exception):
    """A file that is not a message of the collector: it is neither delivered nor removed."""


def beside(spool: Path, *parts: str) -> Path:
    """A path in the folder beside the Maildirs."""
    return spool.joinpath(FOLDER, *parts)


def is_uuid(text: str) -> bool:
    """Whether it is the name of a Maildir."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


# -- messages ----------------------------------------------------------------------------


def order(name: str) -> tuple[int, int, int, str]:
    """Sorts file names in the order in which their messages were collected."""
    if found := NAME.match(name):
        return int(found[2]), int(found[3]), int(found[4]), name
    seconds = name.partition(".")[0]
    return int(seconds) if re.fullmatch("[0-9]{1,11}", seconds) else 0, 0, 0, name


def uid(name: str) -> str:
    """The message's UID on its server; empty where the name does not tell it."""
    found = NAME.match(name)
    return (found[5] or "") if found else ""


def renamed(name: str) -> str:
    """Another name in the same place of the order: what is delivered again gets another delivery id."""
    found, mark, data = NAME.match(name), f"A{secrets.token_hex(4)}", os.fsencode(name)
    head, rest = (found[1].encode(), data[found.end() :]) if found else (data, b"")
    return f"{os.fsdecode(head[:LONGEST_PART])}{mark}{os.fsdecode(rest[:LONGEST_PART])}"


def names(path: Path) -> list[str]:
    """The messages in a folder, in order. Raises OSError.

    While a folder is read, an earlier message may come in unseen and a later one seen; so it is read twice,
    and what sorts after all of the first reading is left for the next time.
    """
    if not (first := _listed(path)):
        return []
    last = max(map(order, first))
    return sorted((name for name in _listed(path) if order(name) <= last), key=order)


def listed(path: Path) -> list[str]:
    """What lies in a folder now, in no order; nothing where it cannot be read."""
    try:
        return _listed(path)
    except OSError:
        return []


def _listed(path: Path) -> list[str]:
    return [name for name in os.listdir(path) if not name.startswith(".")]  # noqa: PTH208


@contextmanager
def folder(path: Path, owner: int) -> Iterator[int]:
    """A descriptor of a folder that `owner` made. Raises OSError, NotOurs."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | OPEN)
    try:
        if os.fstat(fd).st_uid != owner:
            raise NotOurs(f"The folder {path.name} belongs to another user than the spool.")
        yield fd
    finally:
        os.close(fd)


@contextmanager
def message(directory: int, name: str, owner: int) -> Iterator[BinaryIO]:
    """The open file of a message. Raises FileNotFoundError where it was taken, OSError, NotOurs."""
    try:
        fd = os.open(name, os.O_RDONLY | OPEN, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link, a socket
            raise NotOurs(f"{name} is not a file.") from None
        if error.errno == errno.EACCES:
            raise NotOurs(f"{name} cannot be read by this user.") from None
        if error.errno == errno.EAGAIN:
            raise NotOurs(f"{name} is held by another program.") from None  # by a lease (F_SETLEASE)
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise NotOurs(f"{name} is not a file.")
        if found.st_nlink != 1 or found.st_uid != owner:
            raise NotOurs(f"{name} has another owner or a second name, so it may not be collected mail.")
        with open(fd, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(fd)


def move(file: BinaryIO, name: str, source: int, target: int, other: str = "") -> bool:
    """Move the message to another folder, its time becoming now. False where it was taken meanwhile.

    There it is called `other`, or the same. On return the name is on the disk. Raises OSError, NotOurs.
    """
    if not _is_named(file, name, source):
        return False
    with suppress(PermissionError):  # it may be read, but not changed: then it keeps the time of its arrival
        os.utime(file.fileno())
    try:
        os.rename(name, other or name, src_dir_fd=source, dst_dir_fd=target)
    except IsADirectoryError:
        raise NotOurs(f"A folder named {name} lies where the message belongs.") from None
    os.fsync(target)
    return True


def remove_older(path: Path, owner: int, before: float) -> None:
    """Remove messages of a folder that were moved there before that time. Raises OSError, NotOurs."""
    with folder(path, owner) as directory:
        for name in _listed(path):
            with suppress(NotOurs, FileNotFoundError), message(directory, name, owner) as file:
                if os.fstat(file.fileno()).st_mtime < before and _is_named(file, name, directory):
                    os.unlink(name, dir_fd=directory)


def _is_named(file: BinaryIO, name: str, directory: int) -> bool:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(file.fileno()))


def locked(path: Path) -> int:
    """Hold the lock of the only deliverer of a spool, until the end of this process. Raises NotOurs."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | OPEN, 0o600)
    with suppress(PermissionError):
        os.fchmod(fd, 0o660)  # for a deliverer that is another user of the group
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise NotOurs("Another deliverer is at work on this spool. Stop that one first.") from None
    return fd


# -- small files that tell something -----------------------------------------------------


def write(path: Path, value: object, mode: int) -> None:
    """Replace a small file, atomically. It need not survive a power failure. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN, 0o600)
    try:
        with open(fd, "w", encoding="ascii") as file:  # noqa: PTH123
            os.fchmod(fd, mode)
            json.dump(value, file)
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def read(path: Path, largest: int = LARGEST_STATE, owner: int | None = None) -> dict[str, Any]:
    """What a small file holds; nothing where there is none, or none that we would have written.

    With `owner`, only where it is that user's.
    """
    with suppress(OSError, ValueError, RecursionError), text_file.open_regular(path) as file:
        found = os.fstat(file.fileno())
        if owner in (None, found.st_uid) and found.st_size <= largest:
            value = json.loads(file.read(largest))
            return value if isinstance(value, dict) else {}
    return {}


def text(value: object, longest: int = 400) -> str:
    """A text from such a file, fit to be shown."""
    return escaped(value[:longest]) if isinstance(value, str) else ""


def whole(value: object) -> int:
    """A number from such a file; 0 where it is none."""
    return value if type(value) is int and 0 <= value < 2**53 else 0
