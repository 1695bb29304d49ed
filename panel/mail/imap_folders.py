"""The folders of a mailbox: which there are, what is in one, and one opened read-only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from panel.errors import MailError
from panel.mail.imap_protocol import Imap
from panel.mail.imap_words import folder_of, folder_word, number_of
from panel.mail.refusal import ServerRefused

SHOWN, KEPT = 30, 1000  # names of folders

EXISTS = re.compile(rb"\* ([0-9]{1,10}) EXISTS", re.IGNORECASE)
UIDVALIDITY = re.compile(rb"\[UIDVALIDITY ([0-9]{1,10})\]", re.IGNORECASE)
UIDNEXT = re.compile(rb"\[UIDNEXT ([0-9]{1,10})\]", re.IGNORECASE)
MESSAGES = re.compile(rb"\bMESSAGES ([0-9]{1,10})\b", re.IGNORECASE)
UNSEEN = re.compile(rb"\bUNSEEN ([0-9]{1,10})\b", re.IGNORECASE)


@dataclass(frozen=True)
class OpenFolder:
    """What the server said of a folder when it was opened; `uidnext` is 0 if it did not tell."""

    uidvalidity: int
    uidnext: int
    exists: int


def open_folder(imap: Imap, folder: str, *, writable: bool = False) -> OpenFolder:
    """Open a folder, read-only unless `writable` (EXAMINE or SELECT, RFC 3501, 6.3). Raises MailError."""
    uidvalidity = uidnext = exists = 0
    command = b"SELECT " if writable else b"EXAMINE "
    try:
        for answer in imap.command(command + folder_word(folder)):
            exists = number_of(EXISTS, answer[0]) or exists
            uidvalidity = number_of(UIDVALIDITY, answer[0]) or uidvalidity
            uidnext = number_of(UIDNEXT, answer[0]) or uidnext
    except ServerRefused as refused:
        _refuse(imap, folder, refused)
    if uidvalidity == 0:
        raise imap.nonsense()
    return OpenFolder(uidvalidity, uidnext, exists)


def describe(imap: Imap, folder: str) -> str:
    """How many messages a folder holds, without opening it, and which others there are. Raises MailError."""
    messages = unseen = 0
    try:
        for answer in imap.command(b"STATUS " + folder_word(folder) + b" (MESSAGES UNSEEN)"):
            if answer[0].upper().startswith(b"* STATUS"):
                messages = number_of(MESSAGES, answer[-1])
                unseen = number_of(UNSEEN, answer[-1])
    except ServerRefused as refused:
        _refuse(imap, folder, refused)
    word = "message" if messages == 1 else "messages"
    others = _listed(imap, _names(imap))
    return f"“{folder}” holds {messages} {word}, {unseen} of them unread. Folders: {others}."


def _refuse(imap: Imap, folder: str, refused: ServerRefused) -> NoReturn:
    names = _names(imap)
    if folder in names:
        message = f"The folder “{folder}” cannot be opened. The server says: {refused.text}"
    else:
        message = f"There is no folder “{folder}” in this mailbox."
    hint = f"Choose one of these: {_listed(imap, names)}." if names else "Check the name of the folder."
    raise MailError("folder", message, hint, permanent=True) from None


def _names(imap: Imap) -> list[str]:
    """The folders that can be opened, INBOX first, as many as anybody has."""
    names: list[str] = []
    try:
        for answer in imap.command(b'LIST "" "*"'):
            name = folder_of(answer)
            if name is not None and len(names) < KEPT:
                names.append(name)
    except ServerRefused:
        return []
    return sorted(names, key=lambda name: (name.upper() != "INBOX", name.casefold()))


def _listed(imap: Imap, names: list[str]) -> str:
    more = len(names) - SHOWN
    shown = ", ".join(imap.shown(name) for name in names[:SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
