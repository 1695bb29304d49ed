"""Folder names: how people read them, and how IMAP writes them (modified UTF-7, RFC 3501, 5.1.3)."""

from __future__ import annotations

import base64
import re
from contextlib import suppress

from panel.errors import MailError
from panel.mail.imap_syntax import Answer, quoted, unquoted

LONGEST_NAME = 1000  # bytes
LIST = re.compile(
    rb'\*[ \t]+X?LIST[ \t]*\(([^)]*)\)[ \t]*(?:NIL|"(?:[^"\\]|\\.)*")', re.IGNORECASE | re.DOTALL
)
UTF7 = re.compile(rb"&([^&-]*)(-?)")
BEYOND = re.compile(r"[^\x20-\x7e]+")  # what modified UTF-7 writes in base64


def utf7(name: str) -> bytes:
    """`name` in modified UTF-7. Raises ValueError for half a character (a lone surrogate)."""

    def shifted(match: re.Match[str]) -> str:
        coded = base64.b64encode(match[0].encode("utf-16-be"), b"+,").rstrip(b"=")
        return f"&{coded.decode()}-"

    return BEYOND.sub(shifted, name.replace("&", "&-")).encode("ascii")


def from_utf7(raw: bytes) -> str:
    """The name that `utf7` writes as `raw`. Raises ValueError for what it never writes."""

    def unshifted(match: re.Match[bytes]) -> bytes:
        coded, end = match.groups()
        if not end:
            raise ValueError("a shift without an end")
        padded = coded + b"=" * (-len(coded) % 4)
        return base64.b64decode(padded, b"+,", validate=True).decode("utf-16-be").encode() or b"&"

    name = UTF7.sub(unshifted, raw).decode()
    if utf7(name) != raw:
        raise ValueError("not in the one spelling")
    return name


def folder_word(folder: str) -> bytes:
    """A folder's name as IMAP writes it: modified UTF-7 (RFC 3501, 5.1.3), quoted. Raises MailError."""
    try:
        if folder and not any(c in folder for c in "\r\n\0"):
            return quoted(utf7(folder))
    except ValueError:  # half a character, which SQL may have put there
        pass
    raise MailError("folder", "The name of the folder cannot be used.", "Enter it again.", permanent=True)


def folder_of(answer: Answer) -> bytes | None:
    """The name in an answer to LIST, as the server writes it.

    None for other answers, for folders that hold no messages, and for names that no command can carry.
    """
    match = LIST.match(answer[0])
    if match is None or any(flag in match[1].lower() for flag in (b"\\noselect", b"\\nonexistent")):
        return None
    raw = answer[1] if len(answer) > 1 else answer[0][match.end() :].strip(b" \t")
    if len(answer) == 1 and raw.startswith(b'"'):
        raw = unquoted(raw)
    return raw if 0 < len(raw) <= LONGEST_NAME and not any(c in raw for c in b"\r\n\0") else None


def folder_name(raw: bytes) -> str:
    """How people read and type a folder that the server writes as `raw`.

    Modified UTF-7 where it is that for sure, else as it stands, in UTF-8; what cannot be printed, escaped.
    """
    name = raw.decode("utf-8", "backslashreplace")
    with suppress(ValueError):
        name = from_utf7(raw)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
