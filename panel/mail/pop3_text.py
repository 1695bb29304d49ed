"""The text of a message as POP3 sends it (RFC 1939, 3): byte for byte, whatever its lines look like.

A line of the protocol has a cap; a line of a message has none: only the message
as a whole is bounded. So it is read in blocks and its end is searched for, not
line by line.

The end is CR LF '.' CR LF and nothing else: taking LF '.' LF for it would
let the sender of a message, who can write that into it, forge what the server
seems to answer next. Servers that end the message's first line with a bare LF
end them all so; there the LF counts.
"""

from __future__ import annotations

import re

from panel.mail.wire import Wire

END = re.compile(rb"\r\n\.\r\n")
END_OF_LF = re.compile(rb"\n\.\r?\n")
LONGEST_END = 5


class Endless(Exception):
    """The text is larger than what is read of one at all."""


def read_text(wire: Wire, keep: int, most: int) -> tuple[bytes, int]:
    """The text that follows a status line, without its dots, and its size as it was sent.

    What is larger than `keep` bytes is read and thrown away, so that the session
    goes on: then there are no bytes. Raises Endless above `most` bytes, MailError.
    """
    raw = bytearray(b"\r\n")  # so that a dot at the very beginning stands at the beginning of a line
    dropped = -len(raw)
    searched = 0
    end: re.Pattern[bytes] | None = None
    while True:
        raw += wire.some()
        end = end or _end(raw)
        if end is not None and (found := end.search(raw, searched)):
            break
        if dropped + len(raw) > most:
            raise Endless
        if dropped + len(raw) > keep + LONGEST_END:
            dropped += len(raw) - LONGEST_END
            del raw[:-LONGEST_END]
        searched = max(0, len(raw) - LONGEST_END + 1)
    wire.put_back(len(raw) - found.end())
    newline = b"\r\n" if end is END else b"\n"
    del raw[found.start() + len(newline) :]
    size = dropped + len(raw)
    if size > keep or dropped > 0:
        return b"", size
    plain = raw.replace(newline + b".", newline)
    return bytes(memoryview(plain)[2:]), size


def _end(raw: bytearray) -> re.Pattern[bytes] | None:
    """What ends the text that begins with `raw`; None as long as its first line has not ended."""
    at = raw.find(b"\n", 2)
    if at < 0:
        return None
    return END if raw[at - 1] == ord("\r") else END_OF_LF
