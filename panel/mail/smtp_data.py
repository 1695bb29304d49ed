"""A message as DATA sends it, by SMTP (RFC 5321, 4.5.2) and LMTP: read in pieces and never held."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

PIECE = 2**16  # bytes that are read and sent at once
LINE_END = re.compile(rb"\r\n|\r|\n")


class ByteSource(Protocol):
    """A file, as far as it is read here."""

    def read(self, size: int, /) -> bytes: ...


def as_data(message: ByteSource) -> Iterator[bytes]:
    """The message as DATA wants it, but the final dot: every line ends with CRLF, leading dots doubled."""
    held, at_start = b"", True
    while piece := message.read(PIECE):
        piece = held + piece
        held = b"\r" if piece.endswith(b"\r") else b""  # its LF may be the first byte of the next piece
        lines = LINE_END.sub(b"\r\n", piece[: len(piece) - len(held)])
        if lines:
            yield _stuffed(lines, at_start)
            at_start = lines.endswith(b"\r\n")
    if held or not at_start:
        yield b"\r\n"


def _stuffed(lines: bytes, at_start: bool) -> bytes:
    if at_start:
        return (b"\r\n" + lines).replace(b"\r\n.", b"\r\n..")[2:]
    return lines.replace(b"\r\n.", b"\r\n..")
