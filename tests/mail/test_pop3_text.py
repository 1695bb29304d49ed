"""A message's text over POP3: byte for byte, whatever its lines look like and wherever the network cuts it."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from panel.mail.policy import Policy
from panel.mail.pop3_text import Endless, read_text
from panel.mail.wire import Wire
from tests.servers.pop3 import stuffed

MIB = 2**20


class Cut:
    """A socket that hands out these pieces, one to a read."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = [piece for piece in reversed(pieces) if piece]

    def settimeout(self, seconds: float) -> None:
        """As a socket's."""

    def recv_into(self, view: memoryview) -> int:
        """As a socket's."""
        if not self._pieces:
            return 0
        piece = self._pieces.pop()
        if len(piece) > len(view):
            self._pieces.append(piece[len(view) :])
        count = min(len(piece), len(view))
        view[:count] = piece[:count]
        return count


def wire(*pieces: bytes) -> Wire:
    return Wire(Cut(pieces), "a", Policy(frozenset()), time.monotonic() + 60)  # type: ignore[arg-type]


ODD = {
    "empty": b"",
    "a line of 100 kB": b"Subject: x\r\n\r\n" + b"a" * 100_000 + b"\r\n",
    "a line of 10 MB": b"Subject: x\r\n\r\n" + b"a" * 10_000_000 + b"\r\n",
    "a header line of 100 kB": b"To: " + b"a@example.org, " * 7000 + b"\r\n\r\nx\r\n",
    "bare LF": b"Subject: x\r\n\r\none\ntwo\n\nthree\r\n",
    "bare CR": b"Subject: x\r\n\r\none\rtwo\r\r\n\r\r\n",
    "NUL and 8 bit": b"Subject: \xff\r\n\r\n\0\0\x80\xfe\r\n",
    "dots": b".\r\n..\r\n...\r\n.a\r\n\r\n.\r\n",
    "an end that is none": b"Subject: x\r\n\r\n\n.\n\r.\r\n.\n.\r\r\n\n.\r\n.x\r\n",
    "what an attacker would have answered": b"Subject: x\r\n\r\na\n.\r\n+OK 5 octets\r\nfake\n.\n",
}


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD)
@pytest.mark.parametrize("size", [7, 65536, 10**8])
def test_it_comes_byte_for_byte(raw: bytes, size: int) -> None:
    whole = (stuffed(raw) if raw else b".\r\n") + b"+OK next\r\n"
    size = max(size, len(whole) // 20_000)
    reader = wire(*(whole[at : at + size] for at in range(0, len(whole), size)))
    text, counted = read_text(reader, 50 * MIB, 100 * MIB)
    assert text == (raw if raw.endswith(b"\r\n") or not raw else raw + b"\r\n")
    assert counted >= len(text)
    assert reader.line() == b"+OK next"


PIECES = st.lists(
    st.sampled_from(
        [b".", b"\r", b"\n", b"\r\n", b"a", b"\0", b"+OK", b"\r\n.\r\n", b"\n.\n", b"\r\n..", b""]
    ),
    max_size=30,
).map(b"".join)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=PIECES, cuts=st.lists(st.integers(1, 5), min_size=1, max_size=20))
@example(body=b"\r\n.", cuts=[1])
@example(body=b"\n.\r\n+OK", cuts=[2])
def test_whatever_is_in_it_and_wherever_it_is_cut(body: bytes, cuts: list[int]) -> None:
    raw = b"A: b\r\n" + body
    raw = raw if raw.endswith(b"\r\n") else raw + b"\r\n"
    whole = stuffed(raw) + b"+OK next\r\n"
    pieces: list[bytes] = []
    at = 0
    while at < len(whole):
        step = cuts[len(pieces) % len(cuts)]
        pieces.append(whole[at : at + step])
        at += step
    reader = wire(*pieces)
    assert read_text(reader, MIB, 2 * MIB)[0] == raw
    assert reader.line() == b"+OK next"


@pytest.mark.parametrize("end", [b".\n", b".\r\n"])
def test_a_server_that_ends_all_lines_with_a_bare_lf(end: bytes) -> None:
    reader = wire(b"Subject: x\n\n..dot\n", end, b"+OK next\n")
    assert read_text(reader, MIB, MIB)[0] == b"Subject: x\n\n.dot\n"
    assert reader.line() == b"+OK next"


@pytest.mark.parametrize("size", [100, 5 * MIB])
def test_what_is_too_large_is_read_over_and_the_next_answer_follows(size: int) -> None:
    reader = wire(b"y" * size + b"\r\n.", b"\r\n+OK next\r\n")
    assert read_text(reader, 99, 2 * size + 20) == (b"", size + 2)
    assert reader.line() == b"+OK next"


def test_what_has_no_end_is_ended() -> None:
    with pytest.raises(Endless):
        read_text(wire(b"y" * 1000), 99, 500)


@pytest.mark.parametrize("line", [b"\r\n", b"x" * 998 + b"\r\n", b"x" * 4 * MIB])
def test_a_message_costs_little_more_memory_than_it_is_large(line: bytes) -> None:
    size = 16 * MIB
    ours, theirs = socket.socketpair()
    data = line * (size // len(line)) + b"\r\n.\r\n"
    sender = threading.Thread(target=theirs.sendall, args=(data,))
    sender.start()
    tracemalloc.start()
    text, _ = read_text(Wire(ours, "a", Policy(frozenset()), time.monotonic() + 60), 50 * MIB, 100 * MIB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sender.join()
    assert text == data[:-3]
    assert peak < 3.3 * size
