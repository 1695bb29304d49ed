"""One server has one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panel.errors import BadInput
from panel.mail.server import normalise_host


@pytest.mark.parametrize(
    ("typed", "host"),
    [
        ("IMAP.Example.COM", "imap.example.com"),
        ("imap.example.com.", "imap.example.com"),
        ("  imap.example.com\n", "imap.example.com"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),  # IDNA 2008 keeps the ß, IDNA 2003 made it ss
        ("ｉｍａｐ。example.com", "imap.example.com"),  # full-width, as some keyboards type it
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("mail_server", "mail_server"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_what_is_typed_becomes_one_spelling(typed: str, host: str) -> None:
    assert normalise_host(typed) == host


@pytest.mark.parametrize(
    "typed",
    [
        "", " ", ".", "a..b", "-a.example", "a-.example", "a b.example", "a\0b", "☃.example",
        "a" * 64 + ".de", ".".join(["abcdefgh"] * 29), "imap.example.com:993", "imaps://imap.example.com",
        "me@example.com", "fe80::1%eth0", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "1.2.3.4.5",
        "example.0x",
    ],
)  # fmt: skip
def test_what_can_be_no_server_is_refused_at_its_field(typed: str) -> None:
    with pytest.raises(BadInput) as caught:
        normalise_host(typed)
    assert caught.value.field == "host"
    assert caught.value.remedy


@given(st.text(max_size=40))
def test_any_text_is_refused_clearly_or_spelt_the_same_when_done_twice(text: str) -> None:
    try:
        host = normalise_host(text)
    except BadInput:
        return
    assert normalise_host(host) == host
    assert host == host.lower() and host.isascii()
