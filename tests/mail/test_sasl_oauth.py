"""What is sent for a token: the two encodings, and what never leaves."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panel.errors import MailError
from panel.mail.sasl_oauth import (
    LONGEST_CHALLENGE,
    LONGEST_TOKEN,
    oauthbearer,
    refused_status,
    require_sendable,
    xoauth2,
)
from panel.mail.server import MailServer
from panel.secret import Secret

RFC = MailServer("imap", "server.example.com", 143, "starttls", "user@example.com", "oauth")
RFC_TOKEN = Secret("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)
USERS = st.text(st.characters(exclude_characters="\0\x01\r\n", exclude_categories=["Cs"]), max_size=40)


def test_the_examples_of_the_rfc_come_out_byte_for_byte() -> None:
    imap = (
        b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRx"
        b"bVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )
    smtp = (
        b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZGOWRmdDRx"
        b"bVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )
    assert base64.b64encode(oauthbearer(RFC, RFC_TOKEN)) == imap
    assert base64.b64encode(oauthbearer(replace(RFC, port=587), RFC_TOKEN)) == smtp


def test_the_example_of_google_comes_out_byte_for_byte() -> None:
    server = replace(RFC, username="someuser@example.com")
    token = Secret("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
    assert base64.b64encode(xoauth2(server, token)) == (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRH"
        b"RXVZMjl0Q2cBAQ=="
    )


@given(USERS, TOKENS)
def test_xoauth2_says_user_and_token_and_nothing_else(user: str, token: str) -> None:
    require_sendable(user, Secret(token))
    sent = xoauth2(replace(RFC, username=user), Secret(token))
    first, second, *ends = sent.split(b"\x01")
    assert first == b"user=" + user.encode() and second == b"auth=Bearer " + token.encode()
    assert ends == [b"", b""]


@given(USERS, TOKENS)
def test_oauthbearer_says_user_place_and_token_and_nothing_else(user: str, token: str) -> None:
    header, *pairs = oauthbearer(replace(RFC, username=user), Secret(token)).split(b"\x01")
    assert pairs == [b"host=server.example.com", b"port=143", b"auth=Bearer " + token.encode(), b"", b""]
    channel, name, end = header.split(b",")  # none of the user's own commas is left
    assert (channel, end) == (b"n", b"")
    escaped = name.removeprefix(b"a=").decode()
    assert escaped.count("=") == escaped.count("=2C") + escaped.count("=3D")
    assert escaped.replace("=2C", ",").replace("=3D", "=") == user


@pytest.mark.parametrize("user", ["a\x01auth=Bearer x", "a\0", "a\rb", "a\nb", "\x01", "x" * 1025])
def test_a_user_that_would_say_something_else_is_refused(user: str) -> None:
    with pytest.raises(MailError, match="username cannot be sent") as caught:
        require_sendable(user, Secret("token"))
    assert caught.value.permanent and not caught.value.token_refused


@pytest.mark.parametrize(
    "token", ["", "a b", "a\x01b", "a\r\nb", "tökén", "🔑", "x" * (LONGEST_TOKEN + 1), "a\n"]
)
def test_what_is_no_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(MailError, match="access token cannot be sent") as caught:
        require_sendable("user", Secret(token))
    assert caught.value.token_refused and (not token or token not in str(caught.value))


@pytest.mark.parametrize(
    ("challenge", "status"),
    [
        (b' {"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}', "401"),
        (b'{"status":"400","schemes":"Bearer"}', "400"),
        (b'{ "scope" : "x", "status" : "Invalid_Token" }', "invalid_token"),
        (b'{"status":401}', ""),
        (b"[" * 3000, ""),
        (b"", ""),
        (b'{"status":"' + b"x" * 2000 + b'"}', ""),
        (b'{"status":"invalid_token","x":"' + b"y" * 100_000, "invalid_token"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_status_of_a_challenge_is_read_and_nothing_else(challenge: bytes, status: str) -> None:
    assert refused_status(b" " + base64.b64encode(challenge)) == status


@given(st.binary(max_size=LONGEST_CHALLENGE * 2))
def test_no_challenge_raises(challenge: bytes) -> None:
    assert len(refused_status(challenge)) <= 40
    assert len(refused_status(base64.b64encode(challenge))) <= 40
