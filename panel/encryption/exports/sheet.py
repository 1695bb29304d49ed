"""The key file as lines that a person can type: what the recovery sheet holds. Bytes in, text out, and back.

    1: 24ZB JP6Q … 0000 K7

A number, up to 32 characters of Crockford's base32 (no I, L, O, U) in groups of four, and two check
characters. These are a weighted sum, so that *every* single wrong character, every two characters that
changed places and every line under another number is found, and named by its line. What they let
through by chance (two errors in one line, 1 in 1021) the key file's own SHA-256 catches.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping

from panel.crypto.keyfile import length_of
from panel.errors import BadCopy, Refused

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RFC_4648 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
LINE_BYTES = 20
GROUP = 4
CHECK = 2
MOST_LINES = 999
PRIME = 1021  # the largest that two characters hold
NUMBER_WEIGHT = 64
MOST_NAMED = 10  # wrong lines that one error names

BEGIN, END = "BEGIN MAILKEEP KEY", "END MAILKEEP KEY"
VALUES = {character: value for value, character in enumerate(ALPHABET)}
LOOK_ALIKES = str.maketrans("OIL", "011")
PRINTED = re.compile(r"<pre id=\"?key\"?>", re.IGNORECASE)
TAG = re.compile(r"<[^<>]*>")
# At the begin of a written line a number will do; inside one it needs its colon, and to be the next number.
NUMBER = re.compile(
    r"^[ \t]*(?P<begins>[0-9OIL]{1,3})(?:[ \t]*[:;.,)]|[ \t]+(?=\S))"
    r"|(?<=\s)(?P<inside>[1-9IL][0-9OIL]{0,2}):[ \t]+(?=\S)",
    re.MULTILINE | re.IGNORECASE,
)
NO_SHEET = "Type the lines of the sheet one below the other, each with its number, as they are printed."


# -- bytes to lines ----------------------------------------------------------------


def lines(data: bytes) -> list[str]:
    """`data` as numbered lines. Raises Refused where there would be more than a person can type."""
    parts = [data[at : at + LINE_BYTES] for at in range(0, len(data), LINE_BYTES)]
    if len(parts) > MOST_LINES:
        raise Refused(
            f"The key file holds too many keys for a sheet: that would be {len(parts)} lines.",
            "Drop retired keys (flask encryption key prune), or export it without --sheet.",
        )
    width = len(str(len(parts)))
    return [f"{number:{width}}: {_grouped(number, part)}" for number, part in enumerate(parts, 1)]


def _grouped(number: int, part: bytes) -> str:
    text = _encoded(part)
    groups = [text[at : at + GROUP] for at in range(0, len(text), GROUP)]
    return " ".join([*groups, check_of(number, text)])


def check_of(number: int, text: str) -> str:
    """The two check characters of line `number` with `text`.

    The weights differ by less than 1021 / 31, so no swap of two characters cancels out.
    """
    weighted = sum(place * VALUES[character] for place, character in enumerate(text, 1))
    value = (weighted + NUMBER_WEIGHT * number) % PRIME
    return ALPHABET[value >> 5] + ALPHABET[value & 31]


def _encoded(part: bytes) -> str:
    return base64.b32encode(part).decode().rstrip("=").translate(str.maketrans(RFC_4648, ALPHABET))


def _decoded(text: str) -> bytes:
    padded = text.translate(str.maketrans(ALPHABET, RFC_4648)) + "=" * (-len(text) % 8)
    return base64.b32decode(padded)


# -- lines to bytes ----------------------------------------------------------------


def is_sheet(text: str) -> bool:
    """Whether `text` looks like a sheet, its HTML, or what was typed from one."""
    return BEGIN in text.upper() or NUMBER.match(text.lstrip()) is not None


def read(text: str) -> bytes:
    """The bytes that a sheet holds: its HTML, what its QR codes say, or its lines typed by hand.

    Small letters, spaces, dashes, line breaks and O for 0, I or l for 1 do not matter.
    Raises BadCopy naming every line that is wrong.
    """
    found = _numbered(_body(text))
    wrong = list(_problems(found))
    if wrong:
        more = f" There are {len(wrong) - MOST_NAMED} more." if len(wrong) > MOST_NAMED else ""
        raise BadCopy(
            " ".join(wrong[:MOST_NAMED]) + more, "Compare with the sheet, and correct what you typed."
        )
    data = b"".join(_decoded(found[number][:-CHECK]) for number in sorted(found))
    _require_whole(data, len(found))
    return data


def _body(text: str) -> str:
    printed = PRINTED.search(text)
    if printed:
        text = TAG.sub("", text[printed.end() :].partition("</pre>")[0])
    upper = text.upper()
    begin, end = upper.find(BEGIN), upper.rfind(END)
    text = text[begin if begin >= 0 else 0 : end if end >= 0 else len(text)]
    return re.sub(f"{BEGIN}|{END}", "\n", text, flags=re.IGNORECASE)  # of several codes, one after another


def _numbered(text: str) -> Mapping[int, str]:
    starts = list(_starts(text))
    if not starts:
        raise BadCopy("No line of a recovery sheet was found.", NO_SHEET)
    ends = [begin for _, begin, _ in starts[1:]] + [len(text)]
    found: dict[int, str] = {}
    for (number, _, behind), end in zip(starts, ends, strict=True):
        line = _plain(text[behind:end])
        if found.setdefault(number, line) != line:
            raise BadCopy(f"Line {number} is there twice, and differs.", "Type each line once.")
    return found


def _starts(text: str) -> Iterator[tuple[int, int, int]]:
    """Where the lines start: number, place of the number, place behind it."""
    last = 0
    for found in NUMBER.finditer(text):
        number = int(_plain(found["begins"] or found["inside"]))
        if found["begins"] or number == last + 1:
            yield number, found.start(), found.end()
            last = number


def _plain(text: str) -> str:
    return re.sub(r"[\s\-‐‑–—]", "", text).upper().translate(LOOK_ALIKES)


def _problems(found: Mapping[int, str]) -> Iterator[str]:
    """A sentence for every line that is missing or wrong."""
    last = max(found)
    full = LINE_BYTES * 8 // 5 + CHECK
    mismatched = {number for number, line in found.items() if not _fits(number, line)}
    for number in range(min(1, *found), last + 1):
        line = found.get(number)
        if line is None or not line:
            yield f"Line {number} is missing."
        elif number == 0:
            yield "There is no line 0."
        elif any(character not in VALUES for character in line):
            place = next(at for at, character in enumerate(line) if character not in VALUES)
            yield f"Line {number} has a character in group {place // GROUP + 1} that is on no sheet."
        elif len(line) != full and (number < last or len(line) > full):
            yield f"Line {number} has {len(line)} characters instead of {full}."
        elif number in mismatched:
            yield _mismatch(number, line, found, mismatched)


def _mismatch(number: int, line: str, found: Mapping[int, str], mismatched: set[int]) -> str:
    for other in sorted(mismatched - {number}):
        if _fits(other, line) and _fits(number, found[other]):
            return f"Line {number} is the one that belongs under {other}: they were swapped."
    return f"Line {number} has a wrong character."


def _fits(number: int, line: str) -> bool:
    text, check = line[:-CHECK], line[-CHECK:]
    return bool(text) and set(line) <= VALUES.keys() and check_of(number, text) == check


def _require_whole(data: bytes, count: int) -> None:
    """Raise BadCopy where the first line says that there are more lines, or fewer."""
    whole = length_of(data)
    if whole is None or len(data) == whole:
        return
    needed = -(-whole // LINE_BYTES)
    if count < needed:
        missing = f"Line {count + 1} is" if count + 1 == needed else f"Lines {count + 1} to {needed} are"
        raise BadCopy(f"{missing} missing: the sheet has {needed} lines.", "Type all of them.")
    if count > needed:
        raise BadCopy(f"Line {needed + 1} is not of this sheet: it has {needed} lines.", "Leave it out.")
    raise BadCopy(f"Line {needed} is not as long as on the sheet.", "Compare it with the sheet.")
