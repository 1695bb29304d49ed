"""Sender, subject and Message-ID of a message, as text for people (RFC 5322, RFC 2047).

Headers come from strangers: what is longer than a cap is cut before anything but reading touches it,
charsets are those of a list, and the result is one line without control characters.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header

HEADER = 64 * 2**10  # bytes of a message that are looked at
VALUE = 4_000  # bytes of one header field
TEXT = 200  # characters of a subject, a name and a Message-ID
ADDRESS = 254  # RFC 5321

FIELDS = {b"from": "from", b"subject": "subject", b"message-id": "message-id"}
INITIALS = frozenset(b"fFsSmM")
FOLDED = (b" ", b"\t")
ANGLE = re.compile(r"<\s*([^<>@\s]{1,200}@[^<>@\s]{1,254})\s*>")
BARE = re.compile(r"(?<![^\s,;:<(\"])([^\s,;:<>()\"@]{1,200}@[^\s,;:<>()\"@]{1,254})")
COMMENT = re.compile(r"\(([^()]*)\)")
ENCODED = "=?"
# Python imports a module and remembers each name that it is asked for: not those that strangers choose.
CHARSET = re.compile(
    r"utf-?(?:7|8|16|16-?le|16-?be|32)|us-ascii|ascii|latin-?1|iso-?8859-?\d{1,2}|(?:windows|cp)-?\d{3,4}"
    r"|koi8-[rtu]|gb2312|gbk|gb18030|big5(?:-hkscs)?|euc-(?:jp|kr)|shift[-_]jis|sjis|iso-2022-(?:jp|kr)"
    r"|ks_c_5601-1987|tis-620|macintosh"
)
# Controls, line breaks, bidirectional controls, halves of characters and others without a shape.
UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]+"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Envelope:
    """What a message says of itself; empty where it says nothing."""

    sender: str = ""  # the address
    sender_name: str = ""
    subject: str = ""
    message_id: str = ""


def read(raw: bytes) -> Envelope:
    """The envelope of the message `raw`. Never raises: what cannot be read is empty."""
    try:
        fields = _fields(raw[:HEADER])
        sender, name = _sender(fields.get("from", ""))
        return Envelope(
            sender=sender,
            sender_name=name,
            subject=_text(fields.get("subject", "")),
            message_id=clean(fields.get("message-id", ""), TEXT),
        )
    except Exception:  # whatever a stranger wrote, the message itself is delivered
        log.exception("The header of a message could not be read.")
        return Envelope()


def clean(text: str, longest: int = TEXT) -> str:
    """`text` in one line of at most `longest` characters, without what controls how it is shown."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if not text.isprintable():
        text = UNSEEN.sub(" ", text)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _fields(head: bytes) -> dict[str, str]:
    """The first field of each name, unfolded."""
    found: dict[str, str] = {}
    lines = head[: _end(head)].split(b"\n")
    for number, line in enumerate(lines):
        if not line or line == b"\r":
            break  # the body follows
        if line[0] in INITIALS and (name := _name_of(line)) and name not in found:
            value = line[line.index(b":") + 1 :][:VALUE]
            for more in lines[number + 1 :]:
                if more[:1] not in FOLDED or len(value) >= VALUE:
                    break
                value += more[: VALUE - len(value)]
            found[name] = _raw_text(value.replace(b"\r", b"")).strip()
            if len(found) == len(FIELDS):
                break
    return found


def _end(head: bytes) -> int:
    """Where the header certainly ends, so that little more is looked at."""
    end = head.find(b"\r\n\r\n")
    end = end if end >= 0 else len(head)
    bare = head.find(b"\n\n", 0, end)
    return bare if bare >= 0 else end


def _name_of(line: bytes) -> str:
    """The name of the field that begins here, where it is one of FIELDS; else empty."""
    return FIELDS.get(line[:40].partition(b":")[0].rstrip().lower(), "") if b":" in line[:40] else ""


def _raw_text(value: bytes) -> str:
    """Bytes that should be ASCII, and are UTF-8 (RFC 6532) or a legacy charset where they are not."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")


def _sender(value: str) -> tuple[str, str]:
    """Address and name. Of several authors the first; without an address all of it is a name."""
    if match := ANGLE.search(value):
        name = value[: match.start()]
        if not name.strip() and (comment := COMMENT.search(value, match.end())):
            name = comment[1]
        return clean(match[1], ADDRESS), _name(name)
    if match := BARE.search(value):
        comment = COMMENT.search(value)
        return clean(match[1], ADDRESS), _name(comment[1]) if comment else ""
    return "", _name(value)


def _name(value: str) -> str:
    value = value.strip().rpartition(":")[2] if '"' not in value and ENCODED not in value else value.strip()
    value = value.strip().removeprefix(",")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return _text(value)


def _text(value: str) -> str:
    return clean(_decoded(value) if ENCODED in value else value, TEXT)


def _decoded(value: str) -> str:
    """`value` with its encoded words (RFC 2047) decoded, once; as it is where they are broken."""
    try:
        parts = decode_header(value)
    except (HeaderParseError, ValueError):
        return value
    return "".join(part if isinstance(part, str) else _with_charset(part, charset) for part, charset in parts)


def _with_charset(part: bytes, charset: str | None) -> str:
    if charset is None:  # what stands between encoded words, as `decode_header` hands it out
        return part.decode("raw-unicode-escape", "replace")
    name = charset.partition("*")[0].lower()  # with a language: RFC 2231, 5
    if CHARSET.fullmatch(name):
        try:
            return part.decode(name, "replace")
        except (LookupError, UnicodeError):
            pass
    return _raw_text(part)
