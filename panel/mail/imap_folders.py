"""The folders of a mailbox: which there are, what is in one, and one opened read-only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from panel.errors import MailError
from panel.mail.imap_names import folder_name, folder_of, folder_word
from panel.mail.imap_protocol import Imap
from panel.mail.imap_syntax import Answer, code_of, exists_of, number, quoted, status_items, status_of
from panel.mail.refusal import RETRIES, ServerRefused, failure, recognised
from panel.wording import counted

MOST_SHOWN, MOST_NAMES = 30, 1000  # names of folders
MISSING = frozenset({"NONEXISTENT", "TRYCREATE"})
NO_ACCESS = frozenset({"NOPERM", "AUTHORIZATIONFAILED", "AUTHENTICATIONFAILED", "EXPIRED", "PRIVACYREQUIRED"})

T = TypeVar("T")


@dataclass(frozen=True)
class OpenFolder:
    """What the server reported of a folder: the numbers are 0, and `exists` is None, where it did not.

    Where UIDs are not sticky (RFC 4315, 4), they do not outlive the session: `uidvalidity` is 0.
    """

    uidvalidity: int
    uidnext: int
    exists: int | None


def open_folder(imap: Imap, folder: str, *, writable: bool = False) -> OpenFolder:
    """Open a folder, read-only unless `writable` (EXAMINE or SELECT, RFC 3501, 6.3). Raises MailError.

    What the server does not report on its own is asked for by STATUS.
    """
    command = b"SELECT " if writable else b"EXAMINE "
    try:
        numbers = named(imap, folder, lambda word: _opened(imap, command + word))
        if b"UIDVALIDITY" not in numbers or b"MESSAGES" not in numbers:
            numbers = named(imap, folder, lambda word: _asked(imap, word)) | numbers
    except ServerRefused as refused:
        raise _refused(imap, folder, refused, "To list the folders, use “Test connection”.") from None
    exists, uidnext = numbers.get(b"MESSAGES"), numbers.get(b"UIDNEXT", 0)
    if uidnext <= (exists or 0):  # so many messages have at least as many numbers
        uidnext = 0
    sticky = b"UIDNOTSTICKY" not in numbers
    return OpenFolder(numbers.get(b"UIDVALIDITY", 0) if sticky else 0, uidnext, exists)


def _opened(imap: Imap, command: bytes) -> dict[bytes, int]:
    """What opening reports: response codes by their names, and EXISTS as MESSAGES, as STATUS names it."""
    numbers: dict[bytes, int] = {}
    statuses: list[bytes] = []
    for answer in imap.command(command):
        if (exists := exists_of(answer)) is not None:
            numbers[b"MESSAGES"] = exists
        if status := status_of(answer[0]):
            statuses.append(status[1])
    for name, argument, _ in map(code_of, [*statuses, imap.completed]):
        if name == b"UIDNOTSTICKY":
            numbers[name] = 1
        elif name in (b"UIDVALIDITY", b"UIDNEXT") and (value := number(argument)):
            numbers[name] = value
    return numbers


def _asked(imap: Imap, word: bytes) -> dict[bytes, int]:
    """What STATUS reports. A server need not answer it for an open folder."""
    with suppress(ServerRefused):
        return _status(imap.command(b"STATUS " + word + b" (MESSAGES UIDNEXT UIDVALIDITY)"))
    return {}


def _status(answers: Iterable[Answer]) -> dict[bytes, int]:
    numbers: dict[bytes, int] = {}
    for answer in answers:
        numbers |= status_items(answer)
    return numbers


def describe(imap: Imap, folder: str) -> tuple[str, int]:
    """What a folder holds, without opening it, and which others there are, for a person; and the number.

    Raises MailError; names of folders, which the server made, are in it: nothing of it is to be stored.
    """
    command = b" (MESSAGES UNSEEN)"
    try:
        numbers = named(imap, folder, lambda word: _status(imap.command(b"STATUS " + word + command)))
    except ServerRefused as refused:
        names = _names(imap)
        remedy = f"Choose one of these: {_listed(names)}." if names else "Check the name of the folder."
        raise _refused(imap, folder, refused, remedy) from None
    messages = numbers.get(b"MESSAGES")
    if messages is None:
        messages = open_folder(imap, folder).exists
    if messages is None:
        raise imap.unreadable("how many messages the folder holds")
    holds = f"“{folder}” holds {counted(messages, 'message')}"
    if (unseen := numbers.get(b"UNSEEN")) is not None:
        holds += f", {unseen} of them unread"
    return f"{holds}. Folders: {_listed(_names(imap))}.", messages


def named(imap: Imap, folder: str, run: Callable[[bytes], T]) -> T:
    """Run a command that names `folder`: as IMAP writes it, else as the server itself does in its list.

    Where the server first requires ID, it is sent. Raises ServerRefused, MailError.
    """
    try:
        return run(folder_word(folder))
    except ServerRefused as refused:
        word = _other_word(imap, folder, refused)
        if word is None:
            raise
    return run(word)


def _other_word(imap: Imap, folder: str, refused: ServerRefused) -> bytes | None:
    """What to call the folder instead, or once more; None where that cannot help."""
    if refused.transient:
        return None
    if imap.identify():
        return folder_word(folder)
    if folder.upper() == "INBOX" or recognised(refused):
        return None
    folders = _folders(imap)
    raw = folders.get(folder)
    if raw is None:  # a form takes blanks off both ends
        raw = next((raw for name, raw in folders.items() if name.strip() == folder.strip()), None)
    return None if raw is None or quoted(raw) == folder_word(folder) else quoted(raw)


def _refused(imap: Imap, folder: str, refused: ServerRefused, remedy: str) -> MailError:
    host, permanent = imap.wire.host, True
    if recognised(refused) or refused.transient:
        message, remedy, permanent = f"{host} cannot open the folder “{folder}” now.", RETRIES, False
    elif refused.code in MISSING or _is_missing(imap, folder):
        message = f"There is no folder “{folder}” in this mailbox."
    elif refused.code in NO_ACCESS:
        message = f"{host} does not let this user open the folder “{folder}”."
        remedy = "Check the username and the folder."
    else:
        message = f"The folder “{folder}” cannot be opened on {host}."
        remedy, permanent = RETRIES, refused.code == "CANNOT"
    return failure(refused, imap.wire, message, remedy, permanent=permanent)


def _is_missing(imap: Imap, folder: str) -> bool:
    """Whether the server lists its folders, and this one is not among them. INBOX is always there."""
    folders = _folders(imap)
    return bool(folders) and folder.upper() != "INBOX" and folder not in folders


def _folders(imap: Imap) -> dict[str, bytes]:
    """The folders that can be opened: how people read them, and how the server writes them."""
    if imap.folders is None:
        imap.folders = {}
        try:
            for answer in imap.command(b'LIST "" "*"'):
                _add(imap.folders, answer)
        except ServerRefused:
            imap.folders = {}
    return imap.folders


def _add(folders: dict[str, bytes], answer: Answer) -> None:
    raw = folder_of(answer)
    if raw is None or len(folders) >= MOST_NAMES:
        return
    name = folder_name(raw)
    if name not in folders or folder_word(name) == quoted(raw):  # of two that read alike, the regular one
        folders[name] = raw


def _names(imap: Imap) -> list[str]:
    """How people read the folders that can be opened, INBOX first."""
    return sorted(_folders(imap), key=lambda name: (name.upper() != "INBOX", name.casefold()))


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_SHOWN
    shown = ", ".join(names[:MOST_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
