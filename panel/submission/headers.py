"""Whether a message says that it comes from the mailbox it is sent as (RFC 5322, 3.6.2).

Strict where programs that read mail disagree: a header that two of them take for two senders is refused.
"""

from __future__ import annotations

import re
from email.errors import MessageError
from email.header import decode_header, make_header
from string import ascii_lowercase, ascii_uppercase

from panel.errors import BadInput
from panel.mail.server import domain_to_wire

LONGEST_HEADER = 2**18  # bytes, all fields together
LONGEST_FROM = 1_000  # characters of a field that names a sender
FIELD = re.compile(rb"([!-9;-~]{1,200}):")
SENDERS = frozenset({b"from", b"sender", b"resent-from", b"resent-sender"})
# One address: alone, after a name, or before a comment. A name holds no @, no comma and no address in < >.
QUOTED = r'"(?:[^"\\]|\\.)*"'
COMMENT = r"\([^()<>@\\\"]*\)"
SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)  # and no other: “\N{KELVIN SIGN}” is no K
ADDRESS = r"[^\s<>()\[\]\",:;@\\]+@[^\s<>()\",:;@\\]+(?<!\.)"
NAMED = re.compile(rf"(?:{QUOTED}|{COMMENT}|[^\"()<>@,:;\\\[\]])*<\s?({ADDRESS})\s?>\s?(?:{COMMENT})?")
BARE = re.compile(rf"({ADDRESS})\s?(?:{COMMENT})?")


def folded(address: str) -> str:
    """The form in which two spellings of one address are equal. Empty for what cannot be an address."""
    try:
        return domain_to_wire(address).translate(SMALL)
    except BadInput:
        return ""


def problem(header: bytes, senders: frozenset[str]) -> str:
    """Why a message with this `header` may not be sent by `senders` (folded addresses): a reply, or nothing.

    `header` is what precedes the empty line, the whole of it, with its last line end.
    """
    found: dict[bytes, list[bytes]] = {name: [] for name in SENDERS}
    if len(header) > LONGEST_HEADER:
        return "554 5.6.0 The header of the message is too long."
    unfolded = re.sub(rb"\r\n([ \t])", rb"\1", header)
    for field in unfolded.split(b"\r\n")[:-1]:
        match = FIELD.match(field)
        if match is None:
            return "554 5.6.0 The message does not begin with header fields."
        if (name := match[1].lower()) in found:
            found[name].append(field[match.end() :])
    if len(found[b"from"]) != 1:
        return "554 5.6.0 A message has one From field, this one has " + f"{len(found[b'from'])}."
    for name, values in found.items():
        if len(values) > 1 and not name.startswith(b"resent-"):
            return f"554 5.6.0 The message has more than one {name.decode().title()} field."
        if any(_address(value) not in senders for value in values):
            return f"553 5.7.1 {name.decode().title()} is not an address of this mailbox alone."
    return ""


def _address(value: bytes) -> str:
    """The one address in the field, folded; empty where there is another number of them, or doubt."""
    try:
        text = value.decode("utf-8").strip(" \t").replace("\t", " ")
        if len(text) > LONGEST_FROM or not text.isprintable() or not _decoded(text).isprintable():
            return ""
    except (ValueError, LookupError, MessageError):
        return ""
    found = BARE.fullmatch(text) or NAMED.fullmatch(text)
    return folded(found[1]) if found else ""


def _decoded(text: str) -> str:
    """As programs show it: an encoded word (RFC 2047) may hold a line end, and what looks like a field."""
    return str(make_header(decode_header(text)))
