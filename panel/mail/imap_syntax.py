"""How IMAP writes strings and sets of UIDs, and where an answer holds what was asked for.

Servers differ in blanks, case, order and the width of numbers: what an answer means is
read from its tokens, in one pass over it, never from a pattern of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby

Answer = list[bytes]  # text, then literal and text in turn
Token = tuple[bool, bytes]  # whether it is a string (quoted, or a literal), and its text
Items = dict[bytes, list[Token]]  # of an answer to FETCH, by name in upper case

LARGEST = 2**63 - 2  # that the database holds, and one more
MOST_UIDS = 1_000_000  # in one answer to SEARCH
LONGEST_DATE = 40

TOKEN = re.compile(rb'[()]|"(?:[^"\\]|\\.)*"?|[^ \t()"]+', re.DOTALL)
ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
FETCH = re.compile(rb"\*[ \t]+[0-9]+[ \t]+FETCH(?=[ \t(]|\Z)", re.IGNORECASE)
EXISTS = re.compile(rb"\*[ \t]+([0-9]+)[ \t]+EXISTS\b", re.IGNORECASE)
EXPUNGE = re.compile(rb"\*[ \t]+[0-9]+[ \t]+EXPUNGE\b", re.IGNORECASE)
ONLY_UID = re.compile(rb"[ \t]*\([ \t]*UID[ \t]+([0-9]+)[ \t]*\)\Z", re.IGNORECASE)  # of a listing: thousands
SEARCH = re.compile(rb"\*[ \t]+(E?)SEARCH(?=[ \t(]|\Z)", re.IGNORECASE)
QUOTE = ord('"')
STATUSES = frozenset({b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"})
WHOLE = frozenset({b"BODY[]", b"BODY.PEEK[]", b"BODY[]<0>", b"RFC822"})  # names for a message as a whole


# -- tokens ---------------------------------------------------------------------------


def number(text: bytes) -> int | None:
    """A number, with leading zeros or without; None for what is none, or wider than the database holds."""
    digits = text.lstrip(b"0")
    if not text.isdigit() or len(digits) > 19:
        return None
    value = int(digits or b"0")
    return value if value <= LARGEST else None


def tokens(answer: Answer) -> Iterator[Token]:
    """The tokens of an answer in their order; brackets are tokens of their own."""
    for place, part in enumerate(answer):
        if place % 2:
            yield True, part
            continue
        for token in TOKEN.findall(part):
            if token[0] == QUOTE:
                yield True, unquoted(token)
            else:
                yield False, token


def status_of(line: bytes) -> tuple[bytes, bytes] | None:
    """`* OK …` and its like (RFC 3501, 7.1): the token in upper case, and what follows; None for others."""
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


def is_expunge(answer: Answer) -> bool:
    """Whether one message was removed: `* 3 EXPUNGE`."""
    return EXPUNGE.match(answer[0]) is not None


def fetched(answer: Answer) -> Items | None:
    """The items of an answer to FETCH, in whatever order they come; None for other answers."""
    match = FETCH.match(answer[0])
    if match is None:
        return None
    if only := ONLY_UID.match(answer[0], match.end()):
        return {b"UID": [(False, only[1])]}
    items: Items = {}
    name, depth = b"", 0
    for is_string, token in tokens([answer[0][match.end() :], *answer[1:]]):
        if not is_string and token == b"(":
            depth += 1
        elif not is_string and token == b")":
            depth -= 1
            name = name if depth > 1 else b""
        elif not name and depth < 2:
            name = token.upper()
            items.setdefault(name, [])
        else:
            items.setdefault(name, []).append((is_string, token))
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
        for is_string, token in items[name]:
            if is_string:
                return token
    return None


def is_seen(items: Items) -> bool:
    return any(token.upper() == b"\\SEEN" for _, token in items.get(b"FLAGS", []))


def date_of(items: Items) -> int | None:
    """The INTERNALDATE of a message in UTC seconds; None if there is none that can be read."""
    for _, token in items.get(b"INTERNALDATE", []):
        try:
            text = token[:LONGEST_DATE].decode("ascii").strip()
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
    found = [token for _, token in tokens([answer[0][match.end() :], *answer[1:]])]
    if match[1]:
        names = [token.upper() for token in found]
        return _expanded(b"".join(found[names.index(b"ALL") + 1 :][:1])) if b"ALL" in names else set()
    end = found.index(b"(") if b"(" in found else len(found)  # (MODSEQ 5), RFC 7162
    return {_uid(token) for token in found[:end]}


def status_items(answer: Answer) -> dict[bytes, int]:
    """The numbers in an answer to STATUS, by name in upper case; empty for other answers."""
    found = list(tokens(answer))
    if [token.upper() for _, token in found[:2]] != [b"*", b"STATUS"] or (False, b"(") not in found:
        return {}
    begin = len(found) - found[::-1].index((False, b"("))
    values = [token for _, token in found[begin:]]
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


# -- strings ------------------------------------------------------------------------------


def quoted(text: bytes) -> bytes:
    """A quoted string. The caller has made sure that no CR, LF or NUL is in it."""
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def unquoted(token: bytes) -> bytes:
    """What a quoted string, which may lack its end, stands for."""
    inside = token[1:-1] if len(token) > 1 and token.endswith(b'"') else token[1:]
    return ESCAPED.sub(rb"\1", inside) if b"\\" in inside else inside
