"""What a client sends: command lines and messages, within caps and deadlines (RFC 5321, 2.3.8 and 4.5.2).

A line ends with CR LF, and a message with CR LF . CR LF, and with nothing else: what other servers also take
for an end is how a second message is smuggled into a first (CVE-2023-51764).
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

LONGEST_LINE = 2_048  # bytes of a command: 512 of RFC 5321, and what AUTH and SMTPUTF8 add
CHUNK = 2**16
REPLY_SECONDS = 30.0  # for the client to take a reply
END = b"\r\n.\r\n"

TOO_LARGE = "552 5.3.4 The message is larger than is taken here."
LINE_ENDS = "554 5.6.0 The message has line ends other than CR LF, or a NUL character."
NO_SPACE = "452 4.3.1 There is no space for the message now."


class Hangup(Exception):
    """The connection has ended or must end; `reply` is said first, if there is one."""

    def __init__(self, reply: str = "") -> None:
        super().__init__(reply)
        self.reply = reply


class Client:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def send(self, text: str) -> None:
        """Send a reply: its lines, without the last line end. Raises Hangup."""
        try:
            self._connection.settimeout(REPLY_SECONDS)
            self._connection.sendall(text.replace("\n", "\r\n").encode("ascii", "backslashreplace") + b"\r\n")
        except OSError:
            raise Hangup from None

    def has_more(self) -> bool:
        """Whether the client has sent something that was not read yet, or has closed the connection."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(self._buffer or poll.poll(0))

    def line(self, seconds: float) -> bytes:
        """The next line, which must be whole within `seconds`. Raises Hangup."""
        ends_at = time.monotonic() + seconds
        while (end := self._buffer.find(b"\n")) < 0 and len(self._buffer) <= LONGEST_LINE:
            self._buffer += self._more(ends_at)
        if not 0 <= end < LONGEST_LINE:
            raise Hangup("500 5.5.6 The line is too long.")
        line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
        if not line.endswith(b"\r\n") or line.count(b"\r") > 1:
            raise Hangup("521 5.5.2 Lines end with CR LF.")
        return line[:-2]

    def message(self, write: Callable[[bytes], object], most: int, seconds: float) -> str:
        """Read a message to its end and hand it to `write` in pieces, without the dots of its transport.

        Returns what it is refused with: more than `most` bytes, other line ends, NUL, no space to write; or
        nothing. Raises Hangup where it is not whole within `seconds`, or far larger than `most`.
        """
        ends_at, size, refusal, at_start = time.monotonic() + seconds, 0, "", True
        held, extra = b"\r\n" + self._buffer, 2  # as though a line had ended before it
        while True:
            end = held.find(END)
            # What may be half an end, or half a line end, is looked at together with what follows.
            cut = end + 2 if end >= 0 else max(len(held) - len(END) + 1, 0)
            cut -= held[:cut].endswith(b"\r")
            piece, held = held[extra:cut], held[cut:] if cut else held
            extra = 0 if cut else extra
            if piece:
                content = unstuffed(piece, at_start=at_start)
                at_start = piece.endswith(b"\r\n")
                size += len(content)
                refusal = refusal or _refusal(content, size > most) or _written(write, content)
            if end >= 0:
                self._buffer = held[3:]
                return refusal
            if size > 2 * most:
                raise Hangup(TOO_LARGE)
            held += self._more(ends_at)

    def _more(self, ends_at: float) -> bytes:
        try:
            self._connection.settimeout(max(ends_at - time.monotonic(), 0.001))
            data = self._connection.recv(CHUNK)
        except TimeoutError:
            raise Hangup("421 4.4.2 You took too long.") from None
        except OSError:
            raise Hangup from None
        if not data:
            raise Hangup
        return data


def unstuffed(piece: bytes, *, at_start: bool) -> bytes:
    """A piece of a message without the dots that its transport added (RFC 5321, 4.5.2)."""
    if at_start and piece.startswith(b"."):
        piece = piece[1:]
    return piece.replace(b"\r\n.", b"\r\n")


def _refusal(content: bytes, is_too_large: bool) -> str:
    if is_too_large:
        return TOO_LARGE
    ends = content.count(b"\r\n")
    return "" if content.count(b"\n") == ends == content.count(b"\r") and b"\0" not in content else LINE_ENDS


def _written(write: Callable[[bytes], object], content: bytes) -> str:
    try:
        write(content)
    except OSError:
        return NO_SPACE
    return ""
