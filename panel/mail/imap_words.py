"""How IMAP writes strings, folder names and sets of UIDs, and where an answer holds what was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby

from imapclient import imap_utf7

from panel.errors import MailError

Answer = list[bytes]  # text, then literal and text in turn

UID = re.compile(rb"\bUID ([0-9]{1,10})\b", re.IGNORECASE)
BODY = re.compile(rb"\bBODY\[\] \Z", re.IGNORECASE)
QUOTED_BODY = re.compile(rb'\bBODY\[\] "((?:[^"\\]|\\.)*)"', re.IGNORECASE)
FLAGS = re.compile(rb"FLAGS \([^)]*\)", re.IGNORECASE)
QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
DATE = re.compile(rb'\bINTERNALDATE " ?([0-9A-Za-z :+-]{20,26})"', re.IGNORECASE)
LIST = re.compile(rb'\* LIST \(([^)]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (.*)\Z', re.IGNORECASE | re.DOTALL)


def quoted(text: bytes) -> bytes:
    """A quoted string of IMAP. The caller has made sure that no CR, LF or NUL is in it."""
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def folder_word(folder: str) -> bytes:
    """A folder's name as IMAP writes it: modified UTF-7 (RFC 3501, 5.1.3), quoted. Raises MailError."""
    if not folder or any(c in folder for c in "\r\n\0"):
        raise MailError("folder", "The name of the folder cannot be used.", "Type it again.", permanent=True)
    return quoted(imap_utf7.encode(folder))


def folder_of(answer: Answer) -> str | None:
    """The name in an answer to LIST; None for other answers and for folders that hold no messages."""
    match = LIST.match(answer[0])
    if match is None or b"\\noselect" in match[1].lower() or b"\\nonexistent" in match[1].lower():
        return None
    word = answer[1] if len(answer) > 1 else match[2].strip()
    if word.startswith(b'"') and len(answer) == 1:
        word = _unquoted(word[1:-1])
    try:
        return str(imap_utf7.decode(word))
    except (ValueError, LookupError):
        return word.decode("ascii", "replace")


def uid_of(answer: Answer) -> int | None:
    """The UID in an answer to FETCH, wherever it stands; not one inside a flag or a string."""
    for text in answer[::2]:
        if match := UID.search(QUOTED.sub(b"", FLAGS.sub(b"", text))):
            return int(match[1])
    return None


def body_of(answer: Answer) -> bytes | None:
    """The message in an answer to FETCH; None if there is none in it."""
    for text, literal in zip(answer[::2], answer[1::2], strict=False):
        if BODY.search(text):
            return literal
    match = QUOTED_BODY.search(answer[0])
    return _unquoted(match[1]) if match else None


def date_of(answer: Answer) -> int | None:
    """The INTERNALDATE in an answer to FETCH, in UTC seconds; None if there is none that can be read."""
    match = DATE.search(answer[0])
    try:
        return (
            int(datetime.strptime(match[1].decode(), "%d-%b-%Y %H:%M:%S %z").timestamp()) if match else None
        )
    except (ValueError, OverflowError):
        return None


def number_of(pattern: re.Pattern[bytes], text: bytes) -> int:
    """The number that the first group of `pattern` finds, else 0."""
    match = pattern.search(text)
    return int(match[1]) if match else 0


def uid_sets(uids: Iterable[int], at_once: int) -> Iterator[bytes]:
    """UIDs as sets of IMAP (`1:3,7`), at most `at_once` in each."""
    ordered = sorted(set(uids))
    for begin in range(0, len(ordered), at_once):
        batch = ordered[begin : begin + at_once]
        # Neighbours keep the same distance to their place in the list.
        runs = groupby(enumerate(batch), key=lambda pair: pair[1] - pair[0])
        yield b",".join(_run([uid for _, uid in run]) for _, run in runs)


def _run(uids: list[int]) -> bytes:
    return b"%d" % uids[0] if len(uids) == 1 else b"%d:%d" % (uids[0], uids[-1])


def _unquoted(text: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", text, flags=re.DOTALL)
