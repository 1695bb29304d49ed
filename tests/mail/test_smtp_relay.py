"""Relaying: the provider gets what the client sent, the client what the provider said."""

from __future__ import annotations

import io
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from panel.errors import MailError
from panel.mail.policy import MIB, Policy
from panel.mail.server import MailServer
from panel.mail.smtp_data import PIECE, as_data
from panel.mail.smtp_relay import Reply, SmtpRelay, opened
from panel.secret import Secret
from tests.servers.certificates import Authority
from tests.servers.hostile import ScriptedServer, Talk
from tests.servers.odd_smtp import SmtpScript
from tests.servers.smtp import SmtpServer

USER, PASSWORD = "somebody@example.com", "correct horse battery staple"
OFFERS = b"AUTH PLAIN\r\nSIZE 1000\r\n8BITMIME\r\nSMTPUTF8"
MESSAGE = b"Subject: x\r\n\r\nbody\r\n"


@contextmanager
def relay(script: Callable[[Talk], None], deadline: float = 5, idle: float = 60) -> Iterator[SmtpRelay]:
    with ScriptedServer(script) as server:
        where = MailServer("smtp", "localhost", server.port, "none", USER)
        policy = Policy(frozenset({server.port}), deadline=deadline, idle_timeout=idle)
        with SmtpRelay(where, Secret(PASSWORD), policy) as session:
            yield session


def handed_over(session: SmtpRelay, message: bytes = MESSAGE) -> Reply:
    assert session.mail(USER).ok and session.rcpt("you@example.org").ok
    return session.data(io.BytesIO(message))


# -- what the provider gets ------------------------------------------------------------------


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_real_server_takes_several_messages_in_one_session(
    smtp: SmtpServer, certificates: Authority, security: str
) -> None:
    smtp.users[USER.encode()] = PASSWORD.encode()
    port = smtp.tls_port if security == "tls" else smtp.starttls_port
    policy = Policy(frozenset({port}), ca_file=certificates.ca_file, deadline=60)
    session = opened(MailServer("smtp", "localhost", port, security, USER), Secret(PASSWORD), policy)
    many = b"".join(os.urandom(50).hex().encode() + b"\r\n.\r\n" for _ in range(3 * PIECE // 100))
    bodies = [b".\r\n..two\r\n", b"\xff\xfe 8 bit\r\n", b"", many]
    for body in bodies:
        assert handed_over(session, b"Subject: y\r\n\r\n" + body).ok
    session.close()
    assert [taken.data.partition(b"\r\n\r\n")[2] for taken in smtp.taken] == bodies
    assert {taken.sender for taken in smtp.taken} == {USER}


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (b"", b""),
        (b"a", b"a\r\n"),
        (b"a\nb\rc\r\n", b"a\r\nb\r\nc\r\n"),
        (b".\r\n", b"..\r\n"),
        (b"a\n.\nMAIL FROM:<x@y>\n", b"a\r\n..\r\nMAIL FROM:<x@y>\r\n"),
        (b"a\r.\rQUIT\r", b"a\r\n..\r\nQUIT\r\n"),
        (b"a\r\n.\nb\n.\r\nc", b"a\r\n..\r\nb\r\n..\r\nc\r\n"),
        (b"\r", b"\r\n"),
        (b"\n\r\r\n", b"\r\n\r\n\r\n"),
        (b"\0\xff.\r\n..x", b"\0\xff.\r\n...x\r\n"),
    ],
)
@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
def test_no_message_ends_early_however_it_is_cut(message: bytes, sent: bytes, piece: int) -> None:
    class Cut(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(piece)

    assert b"".join(as_data(Cut(message))) == sent


@pytest.mark.parametrize("before", range(4))
def test_line_ends_and_dots_at_the_edge_of_a_piece_stay_what_they_are(before: int) -> None:
    filling = b"x" * (PIECE - before)
    message = filling + b"\r\n.\r\n" + filling + b"\n.\n"
    stuffed = filling + b"\r\n..\r\n" + filling + b"\r\n..\r\n"
    assert b"".join(as_data(io.BytesIO(message))) == stuffed


def test_a_large_message_is_streamed_and_not_held() -> None:
    class Large(io.RawIOBase):
        left = 48 * MIB // 78 * 78

        def read(self, size: int = -1, /) -> bytes:
            size = min(size // 78 * 78, self.left)
            self.left -= size
            return (b"y" * 76 + b"\r\n") * (size // 78)

    taken = 0

    def drink(talk: Talk) -> None:
        nonlocal taken
        talk.send(b"354 go\r\n")
        end = b""
        while not end.endswith(b"\r\n.\r\n"):
            chunk = talk._socket.recv(2**20)
            taken += len(chunk)
            end = end[-5:] + chunk

    script = SmtpScript()
    usual = script._reply
    script._reply = lambda talk, command: (  # type: ignore[method-assign]
        (drink(talk), b"250 taken\r\n")[1] if command == b"DATA" else usual(talk, command)
    )
    with relay(script, deadline=120) as session:
        assert session.mail(USER).ok and session.rcpt("you@example.org").ok
        tracemalloc.start()
        try:
            assert session.data(Large()).ok
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert taken == 48 * MIB // 78 * 78 + 3 and most < 6 * MIB


@pytest.mark.parametrize("offers", [OFFERS, b"AUTH PLAIN"])
def test_only_what_the_provider_offers_is_said_to_it(offers: bytes) -> None:
    script = SmtpScript(offers)
    full = offers == OFFERS
    with relay(script) as session:
        assert session.mail("", size=500).ok
        assert session.largest == (1000 if full else None)
        assert script.commands[-1] == (b"MAIL FROM:<> SIZE=500" if full else b"MAIL FROM:<>")
    with relay(SmtpScript(b"AUTH PLAIN\r\nSIZE 0")) as session:
        assert session.largest is None
    with relay(SmtpScript(offers)) as session:
        assert session.mail(USER, body="8BITMIME").code == (250 if full else 554)
        assert session.mail("ü@example.com", smtputf8=True).code == (250 if full else 550)


def test_letters_beyond_ascii_go_as_they_are_where_the_client_said_so() -> None:
    script = SmtpScript(OFFERS)
    with relay(script) as session:
        assert session.mail("ärger@müller.example", smtputf8=True, body="8BITMIME").ok
        assert session.rcpt("größe@müller.example", smtputf8=True).ok
    assert "MAIL FROM:<ärger@müller.example> BODY=8BITMIME SMTPUTF8".encode() in script.commands
    assert "RCPT TO:<größe@müller.example>".encode() in script.commands


BAD = ["a>b@x.example", "a@b\r\nDATA", "a@b.example\n", "a b@x.example", "ü@x.example", "a", "a@", "@b", "a@" + "x" * 400,
       "a\0@b.example", "a@b..example", "<a@b.example>"]  # fmt: skip


@pytest.mark.parametrize("address", BAD, ids=lambda address: ascii(address[:20]))
def test_what_is_no_address_never_reaches_the_provider(address: str) -> None:
    script = SmtpScript(OFFERS)
    with relay(script) as session:
        for reply in (session.mail(address), session.rcpt(address)):
            assert reply.code == 553 and reply.ours and reply.enhanced.startswith("5.1.")
    assert not any(command.startswith((b"MAIL", b"RCPT", b"DATA")) for command in script.commands)


# -- what the client gets --------------------------------------------------------------------


def test_each_refusal_is_a_reply_and_the_session_goes_on() -> None:
    said = {
        b"MAIL FROM:<bad@example.com>": b"550 5.7.60 SMTP; Client does not have permissions\r\n",
        b"RCPT TO:<no@example.org>": b"550-5.1.1 The email account does not exist.\r\n550 5.1.1 Learn\r\n",
        b"RCPT TO:<later@example.org>": b"451 4.7.1 Greylisted, try again in 5 minutes\r\n",
    }
    with relay(SmtpScript(OFFERS, answer=said.get)) as session:
        refused = session.mail("bad@example.com")
        assert (refused.code, refused.enhanced, refused.ok, refused.ours) == (550, "5.7.60", False, "")
        assert session.mail(USER).ok
        assert session.rcpt("no@example.org") == Reply(550, "5.1.1")
        assert session.rcpt("later@example.org").code == 451
        assert session.reset().ok and handed_over(session).ok


def test_a_message_that_is_too_large_is_refused_before_it_is_sent() -> None:
    script = SmtpScript(OFFERS)
    with relay(script) as session:
        reply = session.mail(USER, size=1001)
        assert (reply.code, reply.enhanced) == (552, "5.3.4") and reply.ours
        assert session.mail(USER, size=1000).ok
    assert script.commands.count(b"MAIL FROM:<somebody@example.com> SIZE=1000") == 1


@pytest.mark.parametrize("answer", [b"554 5.5.1 no valid recipients\r\n", b"250 what?\r\n", b"334 \r\n"])
def test_a_refused_data_sends_no_message(answer: bytes) -> None:
    """Nor does one that another command is answered with, which is not taken for success."""
    script = SmtpScript(answer=lambda command: answer if command == b"DATA" else None)
    with relay(script) as session:
        if answer.startswith(b"554"):
            assert handed_over(session).code == 554
        else:
            with pytest.raises(MailError, match="not SMTP"):
                handed_over(session)
    assert script.data == [] and b"body" not in script.commands


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (b"550 5.7.1 \x1b[31m correct horse battery staple\r\n", Reply(550, "5.7.1")),
        (b"550\r\n", Reply(550)),
        (b"550 5.1.1.1 x\r\n", Reply(550)),
        (b"550 " + b"x" * 5000 + b"\r\n", Reply(550)),
        (b"451-4.7.1 a\r\n" * 150 + b"451 4.7.1 b\r\n", Reply(451, "4.7.1")),
    ],
    ids=["words", "no text", "no code", "long", "many lines"],
)
def test_of_a_reply_the_codes_are_given_on_and_no_words(sent: bytes, reply: Reply) -> None:
    with relay(SmtpScript(answer=lambda c: sent if c.startswith(b"RCPT") else None)) as session:
        assert session.rcpt("you@example.org") == reply


@pytest.mark.parametrize(
    "sent", [b"hello\r\n", b"999 x\r\n", b"550-a\r\n" * 300, b"x" * 100_000, b"12 x\r\n"]
)
def test_what_is_no_reply_is_an_error(sent: bytes) -> None:
    with relay(SmtpScript(answer=lambda c: sent if c.startswith(b"RCPT") else None)) as session:
        with pytest.raises(MailError) as caught:
            session.rcpt("you@example.org")
        assert caught.value.step == "send" and caught.value.reason != "unanswered"


# -- how it breaks ---------------------------------------------------------------------------


def _after_dot(then: Callable[[Talk], None]) -> SmtpScript:
    script = SmtpScript()
    usual = script._reply

    def reply(talk: Talk, command: bytes) -> bytes:
        said = usual(talk, command)
        if command == b"DATA":
            then(talk)
        return said

    script._reply = reply  # type: ignore[method-assign]
    return script


def hang_up(talk: Talk) -> None:
    raise EOFError


def garbage(talk: Talk) -> None:
    talk.send(b"what?\r\n")
    raise EOFError


@pytest.mark.parametrize("then", [hang_up, garbage])
def test_a_reply_that_never_comes_is_told_from_a_refusal(then: Callable[[Talk], None]) -> None:
    with relay(_after_dot(then)) as session:
        with pytest.raises(MailError) as caught:
            handed_over(session)
    assert caught.value.reason == "unanswered"


def test_a_server_may_think_longer_about_a_message_than_about_a_command() -> None:
    with relay(_after_dot(lambda talk: time.sleep(2.5)), idle=1.5, deadline=60) as session:
        assert handed_over(session).ok

    def slow(command: bytes) -> bytes | None:
        time.sleep(2.5 if command == b"RSET" else 0)
        return None

    with relay(SmtpScript(answer=slow), idle=1.5) as session:
        with pytest.raises(MailError, match="did not answer in time"):
            session.reset()


def test_a_message_that_cannot_be_read_to_its_end_is_never_taken() -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError("disk")
            return super().read(size)

    script = SmtpScript()
    with relay(script) as session:
        assert session.mail(USER).ok and session.rcpt("you@example.org").ok
        with pytest.raises(OSError, match="disk"):
            session.data(Breaking(MESSAGE))
        with pytest.raises(MailError, match="has ended"):
            session.reset()
    assert b"." not in script.data and b"QUIT" not in [*script.data, *script.commands]


def test_a_server_that_refuses_in_the_middle_of_a_message_is_heard() -> None:
    def script(talk: Talk) -> None:
        usual = SmtpScript(offers=b"AUTH PLAIN")
        original = usual._reply

        def reply(talk: Talk, command: bytes) -> bytes:
            if command != b"DATA":
                return original(talk, command)
            talk.send(b"354 go\r\n")
            talk.line()
            talk.send(b"552 5.3.4 too big\r\n")
            raise EOFError

        usual._reply = reply  # type: ignore[method-assign]
        usual(talk)

    with relay(script) as session:
        assert session.mail(USER).ok and session.rcpt("you@example.org").ok
        try:
            reply = session.data(io.BytesIO(b"line\r\n" * 4_000_000))
        except MailError as error:  # the system may throw the refusal away with the connection
            assert error.reason != "unanswered"
        else:
            assert reply.code == 552
