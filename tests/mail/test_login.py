"""Whatever a password is made of, it lets in over TLS and STARTTLS, and comes back to nobody's eyes."""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Callable

import pytest

from panel.mail.policy import Policy
from panel.mail.server import MailServer
from tests.mail.conftest import PASSWORD, at, failure, tried
from tests.servers.certificates import Authority
from tests.servers.dovecot import DovecotServer
from tests.servers.hostile import RogueServer, ScriptedServer, Talk, greet, refuse_with

PASSWORDS = {
    "spaces at both ends": "  two  spaces  ",
    "umlauts": "pässwörd ÄÖÜß",
    "emoji": "🔑🐎🔋 staple",
    "combining, not normalised": "e\u0301 and \u00e9",
    "quotes": "\"double\" and 'single'",
    "backslashes": "\\back\\\\slash\\",
    "percent": "100%s %% %d {}",
    "escape": "\x1b[31m",
    "looks like IMAP": 'x" {10} a1 LOGOUT',
    "one character": "x",
    "1024 characters": "0123456789abcdef" * 64,
    "1024 emoji": "🔑" * 1024,
}


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize("kind", PASSWORDS)
def test_every_password_logs_in(dovecot: DovecotServer, policy: Policy, kind: str, security: str) -> None:
    user = f"{kind.replace(' ', '-')}.{security}@example.com"
    dovecot.add_user(user, PASSWORDS[kind])
    port = dovecot.tls_port if security == "tls" else dovecot.starttls_port
    steps = tried(MailServer("imap", "localhost", port, security, user), policy, PASSWORDS[kind])
    assert steps[-1].ok, steps[-1]


def test_line_ends_and_tabs_that_dovecot_would_refuse_reach_the_server_as_they_are(
    certificates: Authority, trusting: Callable[..., Policy]
) -> None:
    password = "one\r\ntwo\nthree\tfour"
    with RogueServer(certificates.good()) as server:
        assert tried(at(server), trusting(server), password)[-1].ok
    (sent,) = re.findall(rb"AUTHENTICATE PLAIN (\S+)\r\n", server.received)
    assert base64.b64decode(sent) == b"\0somebody@example.com\0" + password.encode()


@pytest.mark.parametrize("wrong", [f" {PASSWORD}", f"{PASSWORD} ", PASSWORD.upper(), "", "x"])
def test_a_password_that_is_only_nearly_right_is_refused(
    endpoint: MailServer, policy: Policy, wrong: str
) -> None:
    error = failure(endpoint, policy, wrong)
    assert error.step == "login" and error.permanent
    assert "refused the username or password" in error.message


def test_a_server_without_sasl_plain_gets_an_ascii_password_by_login(
    certificates: Authority, trusting: Callable[..., Policy]
) -> None:
    script = refuse_with(lambda _: b"no", b"IMAP4rev1")
    with ScriptedServer(script, certificates.good()) as server:
        failure(at(server), trusting(server), 'say "\\o/"')
    assert b'LOGIN "somebody@example.com" "say \\"\\\\o/\\""\r\n' in server.received


@pytest.mark.parametrize("password", ["pässwörd", "two\r\nlines"])
def test_a_server_without_sasl_plain_gets_no_password_that_login_cannot_carry(
    certificates: Authority, trusting: Callable[..., Policy], password: str
) -> None:
    with ScriptedServer(refuse_with(lambda _: b"no", b"IMAP4rev1"), certificates.good()) as server:
        error = failure(at(server), trusting(server), password)
    assert error.step == "login" and "ASCII" in error.message
    assert b"LOGIN" not in server.received


def test_a_server_that_forbids_login_gets_no_password(
    certificates: Authority, trusting: Callable[..., Policy]
) -> None:
    script = refuse_with(lambda _: b"no", b"IMAP4rev1 LOGINDISABLED")
    with ScriptedServer(script, certificates.good()) as server:
        failure(at(server), trusting(server))
    assert PASSWORD.encode() not in server.received


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INUSE"])
def test_a_login_that_is_refused_for_the_moment_may_be_tried_again(
    certificates: Authority, trusting: Callable[..., Policy], code: str
) -> None:
    def script(talk: Talk) -> None:
        greet(talk)
        tag, _ = talk.command()
        talk.send(tag + b" NO [%s] later\r\n" % code.encode())

    with ScriptedServer(script, certificates.good()) as server:
        assert not failure(at(server), trusting(server)).permanent


# -- a server that sends the password back ---------------------------------------------

ECHOES: dict[str, Callable[[bytes], bytes]] = {
    "what was sent": lambda sent: sent,
    "the password": lambda _: PASSWORD.encode(),
    "the password in base64": lambda _: base64.b64encode(PASSWORD.encode()),
    "the message in the clear": lambda sent: base64.b64decode(sent.split()[-1]),
    "the beginning of what was sent": lambda sent: sent[:60],
    "the end of what was sent": lambda sent: sent[-14:],
    "the password in capitals": lambda _: PASSWORD.upper().encode(),
    "percent-encoded": lambda _: urllib.parse.quote(PASSWORD).encode(),
    "in hexadecimal": lambda _: PASSWORD.encode().hex().encode(),
    "backwards": lambda _: PASSWORD[::-1].encode(),
    "in base32": lambda _: base64.b32encode(PASSWORD.encode()),
    "letter by letter": lambda _: b" ".join(bytes([letter]) for letter in PASSWORD.encode()),
    "with quoted-printable": lambda _: b"".join(b"=%02X" % letter for letter in PASSWORD.encode()),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_an_echo_of_the_password_is_in_no_error(
    certificates: Authority, trusting: Callable[..., Policy], echo: str
) -> None:
    with ScriptedServer(refuse_with(ECHOES[echo]), certificates.good()) as server:
        error = failure(at(server), trusting(server))
        last = tried(at(server), trusting(server))[-1]
    said = "localhost refused the username or password. Its code: AUTHENTICATIONFAILED."
    assert error.message == last.message == said
