"""How IMAP writes strings, folder names and sets of UIDs, and where an answer holds what was asked for.

Servers differ in blanks, case, order and the width of numbers: what an answer means is
read from its words, in one pass over it, never from a pattern of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby

from imapclient import imap_utf7

from panel.errors import MailError

Answer = list[bytes]  # text, then literal and text in turn
Word = tuple[bool, bytes]  # whether it is a string (quoted, or a literal), and what it says
Items = dict[bytes, list[Word]]  # of an answer to FETCH, by name in upper case

LARGEST = 2**63 - 2  # that the database holds, and one more
MOST_UIDS = 1_000_000  # in one answer to SEARCH
LONGEST_NAME = 1000  # bytes of a folder's name
LONGEST_DATE = 40

WORD = re.compile(rb'[()]|"(?:[^"\\]|\\.)*"?|[^ \t()"]+', re.DOTALL)
ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
FETCH = re.compile(rb"\*[ \t]+[0-9]+[ \t]+FETCH(?=[ \t(]|\Z)", re.IGNORECASE)
EXISTS = re.compile(rb"\*[ \t]+([0-9]+)[ \t]+EXISTS\b", re.IGNORECASE)
ONLY_UID = re.compile(rb"[ \t]*\([ \t]*UID[ \t]+([0-9]+)[ \t]*\)\Z", re.IGNORECASE)  # of a listing: thousands
SEARCH = re.compile(rb"\*[ \t]+(E?)SEARCH(?=[ \t(]|\Z)", re.IGNORECASE)
LIST = re.compile(
    rb'\*[ \t]+X?LIST[ \t]*\(([^)]*)\)[ \t]*(?:NIL|"(?:[^"\\]|\\.)*")', re.IGNORECASE | re.DOTALL
)
QUOTE = ord('"')
STATUSES = frozenset({b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"})
WHOLE = frozenset({b"BODY[]", b"BODY.PEEK[]", b"BODY[]<0>", b"RFC822"})  # names for a message as a whole


# -- words ----------------------------------------------------------------------------


def number(text: bytes) -> int | None:
    """A number, with leading zeros or without; None for what is none, or wider than the database holds."""
    digits = text.lstrip(b"0")
    if not text.isdigit() or len(digits) > 19:
        return None
    value = int(digits or b"0")
    return value if value <= LARGEST else None


def words(answer: Answer) -> Iterator[Word]:
    """The words of an answer in their order; brackets are words of their own."""
    for place, part in enumerate(answer):
        if place % 2:
            yield True, part
            continue
        for word in WORD.findall(part):
            if word[0] == QUOTE:
                yield True, _unquoted(word)
            else:
                yield False, word


def status_of(line: bytes) -> tuple[bytes, bytes] | None:
    """`* OK …` and its like (RFC 3501, 7.1): the word in upper case, and what follows; None for others."""
    parts = line.split(None, 2)
    if len(parts) < 2 or parts[0] != b"*" or parts[1].upper() not in STATUSES:
        return None
    return parts[1].upper(), parts[2] if len(parts) > 2 else b""


def code_of(text: bytes) -> tuple[bytes, bytes, bytes]:
    """The response code that a status begins with: its name in upper case, its argument, what follows it."""
    text = text.lstrip(b" \t")
    inside, closed, rest = text[1:].partition(b"]")
    if not text.startswith(b"[") or not closed:
        return b"", b"", text
    name, _, argument = inside.strip().replace(b"\t", b" ").partition(b" ")
    return name.upper(), argument.strip(), rest.strip()


# -- what was asked for -----------------------------------------------------------------


def exists_of(answer: Answer) -> int | None:
    """How many messages there are, in `* 3 EXISTS`; None for other answers and beyond all measure."""
    match = EXISTS.match(answer[0])
    return number(match[1]) if match else None


def fetched(answer: Answer) -> Items | None:
    """The items of an answer to FETCH, in whatever order they come; None for other answers."""
    match = FETCH.match(answer[0])
    if match is None:
        return None
    if only := ONLY_UID.match(answer[0], match.end()):
        return {b"UID": [(False, only[1])]}
    items: Items = {}
    name, depth = b"", 0
    for is_string, word in words([answer[0][match.end() :], *answer[1:]]):
        if not is_string and word == b"(":
            depth += 1
        elif not is_string and word == b")":
            depth -= 1
            name = name if depth > 1 else b""
        elif not name and depth < 2:
            name = word.upper()
            items.setdefault(name, [])
        else:
            items.setdefault(name, []).append((is_string, word))
            name = name if depth > 1 else b""
    return items


def uid_of(items: Items) -> int | None:
    """The UID of a message; None where there is none that can be read."""
    return _number_in(items, b"UID") or None


def size_of(items: Items) -> int | None:
    """The size of a message; None where there is none that can be read."""
    return _number_in(items, b"RFC822.SIZE")


def body_of(items: Items) -> bytes | None:
    """The message itself; None if there is none, or NIL instead of it."""
    for name in WHOLE.intersection(items):
        for is_string, word in items[name]:
            if is_string:
                return word
    return None


def is_seen(items: Items) -> bool:
    """Whether the flag \\Seen is told."""
    return any(word.upper() == b"\\SEEN" for _, word in items.get(b"FLAGS", []))


def date_of(items: Items) -> int | None:
    """The INTERNALDATE of a message in UTC seconds; None if there is none that can be read."""
    for _, word in items.get(b"INTERNALDATE", []):
        try:
            text = word[:LONGEST_DATE].decode("ascii").strip()
            return int(datetime.strptime(text, "%d-%b-%Y %H:%M:%S %z").timestamp())
        except (ValueError, OverflowError):
            return None
    return None


def announces_body(text: bytes) -> bool:
    """Whether the literal that follows `text` is a message."""
    last = text[-32:].rstrip(b" \t").upper()
    return any(last.endswith(name) for name in WHOLE)


def found_by(answer: Answer) -> set[int] | None:
    """The UIDs in an answer to UID SEARCH (or ESEARCH, RFC 4731); None for other answers.

    Raises ValueError for what cannot be read as one.
    """
    match = SEARCH.match(answer[0])
    if match is None:
        return None
    told = [word for _, word in words([answer[0][match.end() :], *answer[1:]])]
    if match[1]:
        names = [word.upper() for word in told]
        return _expanded(b"".join(told[names.index(b"ALL") + 1 :][:1])) if b"ALL" in names else set()
    end = told.index(b"(") if b"(" in told else len(told)  # (MODSEQ 5), RFC 7162
    return {_uid(word) for word in told[:end]}


def status_items(answer: Answer) -> dict[bytes, int]:
    """The numbers in an answer to STATUS, by name in upper case; empty for other answers."""
    told = list(words(answer))
    if [word.upper() for _, word in told[:2]] != [b"*", b"STATUS"] or (False, b"(") not in told:
        return {}
    begin = len(told) - told[::-1].index((False, b"("))
    values = [word for _, word in told[begin:]]
    pairs = zip(values[::2], values[1::2], strict=False)
    return {name.upper(): value for name, text in pairs if (value := number(text)) is not None}


# -- sets of UIDs -------------------------------------------------------------------------


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


def _expanded(uid_set: bytes) -> set[int]:
    uids: set[int] = set()
    for part in uid_set.split(b","):
        first, _, last = part.partition(b":")
        low, high = sorted((_uid(first), _uid(last or first)))
        if high - low + len(uids) > MOST_UIDS:
            raise ValueError
        uids.update(range(low, high + 1))
    return uids


def _uid(text: bytes) -> int:
    uid = number(text)
    if not uid:
        raise ValueError
    return uid


def _number_in(items: Items, name: bytes) -> int | None:
    values = items.get(name)
    return number(values[0][1]) if values else None


# -- folders --------------------------------------------------------------------------------


def quoted(text: bytes) -> bytes:
    """A quoted string of IMAP. The caller has made sure that no CR, LF or NUL is in it."""
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def folder_word(folder: str) -> bytes:
    """A folder's name as IMAP writes it: modified UTF-7 (RFC 3501, 5.1.3), quoted. Raises MailError."""
    try:
        if folder and not any(c in folder for c in "\r\n\0"):
            return quoted(imap_utf7.encode(folder))
    except ValueError:  # half a character, which SQL may have put there
        pass
    raise MailError("folder", "The name of the folder cannot be used.", "Type it again.", permanent=True)


def folder_of(answer: Answer) -> bytes | None:
    """The name in an answer to LIST, as the server writes it.

    None for other answers, for folders that hold no messages, and for names that no command can carry.
    """
    match = LIST.match(answer[0])
    if match is None or any(flag in match[1].lower() for flag in (b"\\noselect", b"\\nonexistent")):
        return None
    raw = answer[1] if len(answer) > 1 else answer[0][match.end() :].strip(b" \t")
    if len(answer) == 1 and raw.startswith(b'"'):
        raw = _unquoted(raw)
    return raw if 0 < len(raw) <= LONGEST_NAME and not any(c in raw for c in b"\r\n\0") else None


def folder_name(raw: bytes) -> str:
    """How people read and type a folder that the server writes as `raw`.

    Modified UTF-7 where it is that for sure, else as it stands, in UTF-8; what cannot be printed, escaped.
    """
    name = raw.decode("utf-8", "backslashreplace")
    try:
        decoded = str(imap_utf7.decode(raw)) if raw.isascii() else name
        if imap_utf7.encode(decoded) == raw:
            name = decoded
    except (ValueError, LookupError):
        pass
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _unquoted(word: bytes) -> bytes:
    inside = word[1:-1] if len(word) > 1 and word.endswith(b'"') else word[1:]
    return ESCAPED.sub(rb"\1", inside) if b"\\" in inside else inside
