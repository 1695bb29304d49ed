"""Lines and messages as bytes: what ends them, and nothing else does."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from panel.submission import lines
from panel.submission.lines import Client, Hangup

SMUGGLED = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n\n.\r\n", b"\r\r\n.\r\r\n", b"\0\r\n.\r\0\n",
]  # fmt: skip


def read(data: bytes, most: int = 10**6, size: int = 0) -> tuple[str, bytes, bytes]:
    """What a message is refused with, what of it was written, and what follows it; sent in pieces of `size`."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def send() -> None:
            with suppress(OSError):  # it reads no more
                for at in range(0, len(data), size or len(data)):
                    theirs.sendall(data[at : at + (size or len(data))])
                theirs.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        client, written = Client(ours), bytearray()
        refusal = client.message(written.extend, most, 20)
        rest = b""
        while True:
            try:
                rest += client.line(5) + b"\r\n"
            except Hangup:
                break
        sending.join()
        return refusal, bytes(written), rest


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.sampled_from([b".", b"..", b"\r\n", b"a", b"\r\n.", b"\r\n..", "ü".encode(), b"a" * 70_000]),
        max_size=12,
    ),
    st.sampled_from([0, 1, 2, 3, 4, 5, 65_535, 65_536]),
)
def test_a_message_comes_out_as_it_went_in_however_it_was_cut(parts: list[bytes], size: int) -> None:
    content = b"".join(parts) + b"\r\n"
    if len(content) > 2_000 and size in (1, 2, 3, 4, 5):
        size = 4_097
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
    assert read(stuffed + b".\r\nNOOP\r\n", size=size) == ("", content, b"NOOP\r\n")


@pytest.mark.parametrize("size", [0, 1])
def test_an_empty_message_ends(size: int) -> None:
    assert read(b".\r\nQUIT\r\n", size=size) == ("", b"", b"QUIT\r\n")


@pytest.mark.parametrize("end", SMUGGLED, ids=ascii)
@pytest.mark.parametrize("size", [0, 1, 7])
def test_no_other_end_ends_a_message_and_the_message_is_refused(end: bytes, size: int) -> None:
    hidden = b"MAIL FROM:<ceo@example.org>\r\nRCPT TO:<x@y.z>\r\nDATA\r\nhi\r\n"
    refusal, _, rest = read(b"Subject: x\r\n\r\nbody" + end + hidden + b".\r\nQUIT\r\n", size=size)
    assert refusal == lines.LINE_ENDS and rest == b"QUIT\r\n"


def test_a_larger_message_is_read_to_its_end_and_refused() -> None:
    refusal, written, rest = read(b"x" * 1_500_000 + b"\r\n.\r\nQUIT\r\n", most=10**6)
    assert refusal == lines.TOO_LARGE and len(written) <= 10**6 and rest == b"QUIT\r\n"


def test_one_without_end_is_cut_off() -> None:
    with pytest.raises(Hangup, match="552"):
        read(b"x" * 3_000_000, most=10**6)


def test_one_that_there_is_no_space_for_may_come_again() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"a" * 1000 + b"\r\n.\r\n")

        def full(piece: bytes) -> None:
            raise OSError(28, "No space left on device")

        assert Client(ours).message(full, 10**6, 5).startswith("452 4.3.1")


@pytest.mark.parametrize(
    ("line", "reply"),
    [(b"NOOP\n", "521"), (b"NOOP\r\r\n", "521"), (b"\rNOOP\r\n", "521"), (b"x" * 3000, "500"), (b"x" * 2047 + b"\r\n", "500")],
    ids=["LF", "CRCRLF", "CR", "endless", "long"],
)  # fmt: skip
def test_a_line_that_is_none_ends_the_connection(line: bytes, reply: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(line)
        with pytest.raises(Hangup, match=f"^{reply}"):
            Client(ours).line(5)


def test_a_line_that_comes_a_byte_at_a_time_has_one_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):
                theirs.send(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        with pytest.raises(Hangup, match="421"):
            Client(ours).line(0.5)
        stop.set()
        dripping.join()
        assert time.monotonic() - began < 10
