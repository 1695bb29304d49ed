"""Promises of the envelope: any header becomes one harmless line of text, quickly, and none raises."""

from __future__ import annotations

import random
import time
import unicodedata

import pytest

from panel.mail import envelope
from panel.mail.envelope import Envelope


def read(*lines: bytes, body: bytes = b"Subject: not this one\r\n") -> Envelope:
    return envelope.read(b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body)


def subject(value: bytes) -> str:
    return read(b"Subject: " + value).subject


def sender(value: bytes) -> tuple[str, str]:
    found = read(b"From: " + value)
    return found.sender_name, found.sender


@pytest.mark.parametrize(
    "value, expected",
    [
        (b"Re: Delivery 40-2281, two boxes missing", "Re: Delivery 40-2281, two boxes missing"),
        (b"=?utf-8?q?R=C3=A9servation_3_nuits?=", "Réservation 3 nuits"),
        (b"=?UTF-8?B?WsOkaGxlcnN0YW5kIE9rdG9iZXI=?=", "Zählerstand Oktober"),
        (b"=?utf-8?b?WsOkaGxlcg?=", "Zähler"),  # without its padding
        (b"=?iso-8859-1?q?f=FCr?= Sie", "für Sie"),
        (b"=?windows-1252?q?=80_5?=", "€ 5"),
        (b"=?utf-8?q?one?=\r\n =?utf-8?q?_two?=", "one two"),
        (b"=?utf-8?b?w?= =?utf-8?b?7w=?=", "=?utf-8?b?w?= =?utf-8?b?7w=?="),
        (b"=?utf-8?q?=F0=9F=93?= =?utf-8?q?=A6?=", "📦"),  # one character in two words
        (b"=?iso-2022-jp?b?GyRCJDMkcxsoQg==?=", "こん"),
        (b"=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("Zähler".encode(), "Zähler"),
        ("Zähler".encode("latin-1"), "Zähler"),
        ("Ж =?utf-8?q?=C3=A9?=".encode(), "Ж é"),
        (b"folded\r\n and\r\n\tagain", "folded and again"),
        (b"=?no-such-charset?q?abc=FF?=", "abcÿ"),
        (b"=?zlib?b?eJwDAAAAAAE=?=", "xœ"),
        (b"=?unicode_escape?q?=5Cx1b?=", "\\x1b"),
        (b"=?utf-7?q?+ADw-script+AD4-alert(1)?=", "<script>alert(1)"),
        (b"=?utf-8?q?=3D=3Futf-8=3Fq=3Fx=3F=3D?=", "=?utf-8?q?x?="),  # decoded once
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
        (b"pay\x00 now\x1b[31m", "pay now [31m"),
        ("invoice\u202efdp.exe".encode(), "invoice fdp.exe"),
        (b"=?utf-8?q?invoice=E2=80=AEfdp.exe=00=0D=0ABcc:_x?=", "invoice fdp.exe Bcc: x"),
        (b"=?utf-16-be?b?2ADYAA==?=", "��"),
        (b"=?utf-7?q?+2AA-?=", ""),
        (b"", ""),
    ],
)
def test_a_subject_is_one_line_of_text(value: bytes, expected: str) -> None:
    assert subject(value) == expected


@pytest.mark.parametrize(
    "value, expected",
    [
        (b"Petra Hollmann <petra@example.com>", ("Petra Hollmann", "petra@example.com")),
        (b'"Hollmann, Petra" <petra@example.com>', ("Hollmann, Petra", "petra@example.com")),
        (b'"a \\"b\\" c" <petra@example.com>', ('a "b" c', "petra@example.com")),
        (b"petra@example.com", ("", "petra@example.com")),
        (b"<petra@example.com>", ("", "petra@example.com")),
        (b"petra@example.com (Petra H)", ("Petra H", "petra@example.com")),
        (b"=?utf-8?q?Am=C3=A9lie?= <a@example.com>", ("Amélie", "a@example.com")),
        (b"=?utf-8?q?Petra_=3Cp=40example.com=3E?=", ("Petra <p@example.com>", "")),
        (b"Petra Hollmann", ("Petra Hollmann", "")),
        (b"undisclosed-recipients:;", (";", "")),
        (b"Team: Petra <p@example.com>, b@example.com;", ("Petra", "p@example.com")),
        (b"Team: p@example.com, b@example.com;", ("", "p@example.com")),
        (b'"ceo@bank.example" <x@evil.example>', ("ceo@bank.example", "x@evil.example")),
        ("Пётр <п@пример.рф>".encode(), ("Пётр", "п@пример.рф")),
        (b"a" * 5000 + b"@example.com", ("a" * 199 + "…", "")),
        (b"<" * 2000 + b"@" * 2000, ("<" * 199 + "…", "")),
        (b"", ("", "")),
    ],
)
def test_a_sender_is_a_name_and_an_address(value: bytes, expected: tuple[str, str]) -> None:
    assert sender(value) == expected


def test_the_first_field_counts_and_the_body_does_not() -> None:
    found = read(b"SUBJECT : one", b"Subject: two", b"message-ID: <1@example.com>")
    assert found == Envelope("", "", "one", "<1@example.com>")
    assert envelope.read(b"") == envelope.read(b"\r\nSubject: body") == envelope.read(b"\n") == Envelope()
    assert envelope.read(b"Subject: bare\nFrom: a@example.com\n\nSubject: x").subject == "bare"
    assert read(b"X: y\r\n Subject: folded").subject == ""


def test_long_headers_cost_little() -> None:
    word = b"=?utf-8?b?" + b"w7w" * 20 + b"?= "
    for head in (
        b"Subject: " + b"x" * 2**20, b"Subject: " + word * 10_000, b"From: " + b"a," * 500_000,
        b"X: y\r\n" * 200_000 + b"Subject: too late", b"Subject: " + b"\r\n " * 300_000, b"\n" * 1,
        b"Subject: " + b"=?" * 500_000, b"From: " + b"(" * 2**20, b"From: " + b"\\\"" * 2**19,
        b"Subject: =?utf-7?q?" + b"+" * 100_000 + b"?=", b"From:" + b" " * 2**20 + b"a@example.com",
    ):  # fmt: skip
        begun = time.process_time()
        found = envelope.read(head)
        assert time.process_time() - begun < 2  # what is not linear takes minutes
        assert max(len(each) for each in vars(found).values()) <= envelope.ADDRESS


def test_no_bytes_raise_or_leave_anything_but_visible_text(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(13)
    parts = [
        b"=?", b"?=", b"?b?", b"?q?", b"utf-8", b"utf-7", b"utf-16", b"iso-2022-jp", b"hex", b"=00", b"=E2=80=AE",
        b"\r\n ", b"\x00", b"<", b">", b"@", b"\"", b"\\", b",", b":", b";", b"(", b")", b"\xff", "\u202e".encode(),
        b"abc", b" ", b"+2AA-", b"\\u12", b"_", b"=", b"*en", b"gb18030", b"punycode", b"idna", b"\x85", b"\xe2",
    ]  # fmt: skip
    for _ in range(5_000):
        value = b"".join(chance.choices(parts, k=chance.randrange(1, 25)))
        found = envelope.read(
            b"From: " + value + b"\r\nSubject: " + value + b"\r\nMessage-ID: " + value + b"\r\n\r\n"
        )
        for text in vars(found).values():
            text.encode("utf-8")
            assert not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text), text
    assert not caplog.records
