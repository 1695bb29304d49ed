"""Whatever a server answers, a token goes only where it may, at most once for each way, and into no error."""

from __future__ import annotations

import base64
import re
import socket
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panel.errors import MailError
from panel.mail.client import ProtocolClient
from panel.mail.imap_protocol import Imap
from panel.mail.policy import Policy
from panel.mail.pop3_protocol import Pop3
from panel.mail.server import MailServer
from panel.mail.smtp import Smtp
from panel.mail.wire import Wire
from panel.secret import Secret
from tests.servers.token_servers import GOOGLES_CHALLENGE, INVALID_TOKEN

TOKEN = "ya29.a0AfB_byC-0123456789abcdefghijklmnopqrstuvwxyz"
RESPONSE = base64.b64encode(f"user=me@example.com\x01auth=Bearer {TOKEN}\x01\x01".encode())
CLIENTS: dict[str, type[ProtocolClient]] = {"imap": Imap, "pop3": Pop3, "smtp": Smtp}
OFFERS = {
    "imap": [b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 AUTH=OAUTHBEARER] .", b"* CAPABILITY AUTH=XOAUTH2",
             b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] .", b"* OK .", b"* CAPABILITY IMAP4rev1 AUTH=OAUTHBEARER"],
    "pop3": [b"+OK .", b"SASL XOAUTH2 OAUTHBEARER", b"SASL PLAIN LOGIN", b"."],
    "smtp": [b"220 .", b"250-hello", b"250-AUTH XOAUTH2 OAUTHBEARER", b"250 AUTH PLAIN LOGIN", b"250 AUTH XOAUTH2"],
}  # fmt: skip
ANSWERS = {
    "imap": [b"+ ", b"+", b"a1 OK .", b"a2 OK .", b"a1 NO [AUTHENTICATIONFAILED] .", b"a2 BAD .", b"a3 NO .", b"a4 BAD .",
             b"* BYE Session invalidated - AccessTokenExpired", b"* 1 EXISTS", b"* NO ."],
    "pop3": [b"+ ", b"+OK .", b"-ERR .", b"-ERR unsupported mechanism", b"-ERR [SYS/TEMP] ."],
    "smtp": [b"334 ", b"235 .", b"535 5.7.8 .", b"535-5.7.8 .", b"504 .", b"421 .", b"454 4.7.0 ."],
}  # fmt: skip
CHALLENGES = [GOOGLES_CHALLENGE, INVALID_TOKEN, RESPONSE, TOKEN.encode(), b"====", b"\xff\0"]


def said_by(protocol: str) -> st.SearchStrategy[list[bytes]]:
    prompts = {"imap": [b"+ ", b"a1 NO "], "pop3": [b"+ ", b"-ERR "], "smtp": [b"334 ", b"535 5.7.3 "]}[
        protocol
    ]
    lines = st.one_of(
        st.sampled_from(OFFERS[protocol]),
        st.sampled_from(ANSWERS[protocol]),
        st.builds(bytes.__add__, st.sampled_from(prompts), st.sampled_from(CHALLENGES)),
        st.binary(max_size=20),
    )
    offers = st.lists(st.sampled_from(OFFERS[protocol]), max_size=4)
    return st.builds(
        list.__add__, st.builds(list.__add__, st.just(OFFERS[protocol][:3]), offers), st.lists(lines, max_size=8)
    ) | st.lists(lines, max_size=12)  # fmt: skip


def log_in(protocol: str, lines: list[bytes]) -> tuple[bytes, MailError | None]:
    """What the client sends to a server that says these lines and hangs up, and how it ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"".join(line + b"\r\n" for line in lines))
        theirs.shutdown(socket.SHUT_WR)
        policy = Policy(frozenset())
        wire = Wire(ours, "localhost", policy, time.monotonic() + 5)
        server = MailServer(protocol, "localhost", 1, "none", "me@example.com", "oauth")
        client = CLIENTS[protocol](wire, policy, server, Secret(TOKEN))
        error = None
        try:
            client.greeting()
            client.login()
        except MailError as caught:
            error = caught
        ours.shutdown(socket.SHUT_WR)
        sent = b""
        with suppress(OSError):
            while chunk := theirs.recv(65536):
                sent += chunk
    return sent, error


@pytest.mark.parametrize("protocol", CLIENTS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_a_server_says(protocol: str, data: st.DataObject) -> None:
    lines = data.draw(said_by(protocol))
    sent, error = log_in(protocol, lines)
    said = b"\n".join(lines).upper()
    tokens = [line for line in sent.split(b"\r\n") if _holds_token(line)]
    commands = re.findall(rb"(?:AUTHENTICATE|AUTH) (\S+)", sent)
    assert set(commands) <= {b"XOAUTH2", b"OAUTHBEARER"} and b"LOGIN" not in sent and b"PASS" not in sent
    assert all(name in said for name in commands)  # offered
    assert TOKEN.encode() not in sent
    assert len(tokens) <= 2 * len(commands)  # with the command, and once more for a server that missed it
    if error is not None:
        told = f"{error!r} {error} {error.reason}"
        # Before it has the token, a server's words are shown as they came (docs/decisions/0027).
        assert not tokens or (TOKEN[5:15] not in told and RESPONSE[40:60].decode() not in told)
        assert not (error.token_refused and not tokens)  # what was not sent was not refused
    else:
        assert tokens


def _holds_token(line: bytes) -> bool:
    with suppress(ValueError):
        return TOKEN.encode() in base64.b64decode(line.split(b" ")[-1])
    return False
