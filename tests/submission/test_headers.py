"""Only a message that every reader takes for the mailbox's own is sent as the mailbox's."""

from __future__ import annotations

import time

import pytest

from panel.errors import PanelError
from panel.submission import headers
from panel.submission.transfer import worded

OWN = frozenset({"help@example.org", "sales@example.org", "desk@example.org"})
GOOD = [
    b"help@example.org", b"<help@example.org>", b"Help <help@example.org>", b"HELP@Example.ORG",
    b'"Muster, GmbH" <sales@example.org>', b"=?utf-8?q?H=C3=BClfe?= <help@example.org>",
    b"help@example.org (Help desk)", b"Mr. X (Support) <help@example.org>", b"\r\n Help\r\n\t<help@example.org>",
    "Grüße 🐑 <help@example.org>".encode(), b'"a \\"b\\" c" <help@example.org>', b"Help desk<help@example.org>",
]  # fmt: skip
BAD = [
    b"", b"boss@example.org", b"Help <boss@example.org>", b'"help@example.org" <boss@example.org>',
    b"help@example.org, boss@example.org", b"boss@example.org, help@example.org",
    b"boss@example.org <help@example.org>", b"Help <help@example.org> <boss@example.org>",
    b"Help <help@example.org>, <boss@example.org>", b"desk: help@example.org, boss@example.org;",
    b"<@example.org:boss@example.org>", b"help@example.org boss@example.org", b"help@example.org\0@example.org",
    b"(help@example.org) boss@example.org", b"boss@example.org (help@example.org)", b"<boss@example.org>help@example.org",
    b"=?utf-8?q?help=40example.org?=", b"help@example.org.evil.example", b"help@example.orgX", b"\xff <help@example.org>",
    b"help@example.org\\", b'"help"@example.org', b"x" * 2000 + b" <help@example.org>", b"<help@example.org> x",
    b'"unclosed <help@example.org>', "help@example.org\N{RIGHT-TO-LEFT OVERRIDE}".encode(), "ｈelp@example.org".encode(),
    "des\N{KELVIN SIGN}@example.org".encode(), "de\N{LATIN SMALL LETTER LONG S}k@example.org".encode(),
    b"\x0bhelp@example.org", b"=?utf-8?q?boss=40example.org=0D=0AX=3A?= <help@example.org>",
    b"=?utf-8?b?Ym9zc0BleGFtcGxlLm9yZwA=?= <help@example.org>", b"=?no-charset?q?x?= <help@example.org>",
    "=?us-aé?q?x?= <help@example.org>".encode(), b"=?utf-8?b?x?= <help@example.org>", b"help@example.org.",
]  # fmt: skip


def problem(*fields: bytes) -> str:
    return headers.problem(b"".join(field + b"\r\n" for field in fields), OWN)


@pytest.mark.parametrize("value", GOOD, ids=ascii)
def test_the_mailboxs_own_from_is_taken(value: bytes) -> None:
    assert problem(b"Subject: x", b"From: " + value, b"To: x@y.z") == ""
    assert problem(b"from:" + value, b"Sender: help@example.org") == ""


@pytest.mark.parametrize("value", BAD, ids=lambda value: ascii(value[:40]))
@pytest.mark.parametrize("name", [b"From", b"Sender", b"Resent-From", b"resent-sender", b"From "])
def test_a_from_or_sender_that_may_be_anothers_is_refused(name: bytes, value: bytes) -> None:
    others = [b"From: help@example.org"] if name.strip().lower() != b"from" else []
    assert problem(*others, name + b": " + value)[:3] in ("553", "554")


@pytest.mark.parametrize(
    "fields",
    [
        [b"Subject: x"],
        [b"From: help@example.org", b"From: boss@example.org"],
        [b"From: help@example.org", b"FROM : boss@example.org"],
        [b"From: help@example.org", b"from\t: help@example.org"],
        [b"From: help@example.org", b"Sender: help@example.org", b"Sender: help@example.org"],
        [b" From: boss@example.org", b"From: help@example.org"],
        [b"From help@example.org Mon", b"From: help@example.org"],
        [b"no field at all", b"From: help@example.org"],
        [b"From\xa0: boss@example.org", b"From: help@example.org"],
        ["Fröm: boss@example.org".encode(), b"From: help@example.org"],
        [b"From : help@example.org"],
        [b"From\r\n : help@example.org"],
        [b"Fr\r\n om: help@example.org"],
        [b"From: help@example.org", b"X: " + b"y" * 2**18],
        [],
    ],
    ids=lambda fields: ascii(b"|".join(fields)[:50]),
)
def test_a_header_that_can_be_read_in_two_ways_is_refused(fields: list[bytes]) -> None:
    assert problem(*fields).startswith("554 5.6.0")


def test_no_header_takes_long() -> None:
    began = time.process_time()
    for hostile in (
        b'"' * 999,
        b"(" * 999,
        b"()" * 499,
        b'"a"' * 333,
        b'"\\' * 499,
        b"a" * 999 + b"<",
        b"<" * 999,
    ):
        problem(b"From: " + hostile)
    problem(*[b"From:" + b" " * 70] * 3000)
    problem(b"a:" + b"\r\n " * 80_000)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PanelError("It failed.", "Mend it."), "It failed. Mend it."),
        (PanelError("It failed.", "Run: flask doctor"), "It failed."),
        (PanelError("/var/lib/x cannot be read.", "Run: flask doctor"), "Mailkeep cannot do that now. Its Overview says why."),
        (PanelError("“a” failed…\r\n250 OK", ""), '"a" failed... 250 OK'),
        (PanelError("x" * 1000, ""), "x" * 400),
    ],
)  # fmt: skip
def test_a_reply_is_one_line_without_paths_and_commands(error: PanelError, text: str) -> None:
    assert worded(error, "451 4.3.0") == f"451 4.3.0 {text}"
