"""Promises of POP3: every message byte for byte, the password exactly, and servers that lie get nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from panel.errors import MailError
from panel.mail import pop3
from panel.mail.policy import Policy
from panel.mail.pop3 import Pop3Session
from panel.mail.server import MailServer
from panel.mail.session import ProbeStep
from panel.secret import Secret
from tests.mail.conftest import PASSWORD
from tests.servers.certificates import Authority
from tests.servers.dovecot import DovecotServer
from tests.servers.hostile import Script, ScriptedServer, Talk

TYPED = [
    " leading", "trailing ", "Grüße", "🗝️🔑", "\"double\" 'single'", "back\\slash", "100% %s", "x", "x" * 1024,
    "--leading",
]  # fmt: skip
MESSAGES = [b"Subject: %d\r\n\r\n.dot\r\n..two\r\n\r\n.\r\n %d\r\n" % (n, n) for n in range(45)]


@pytest.fixture
def policy(dovecot: DovecotServer) -> Policy:
    ports = frozenset({dovecot.pop3_port, dovecot.pop3_starttls_port})
    return Policy(ports, ca_file=dovecot.ca_file, deadline=60)


@pytest.fixture
def endpoint(dovecot: DovecotServer, user: str) -> MailServer:
    return MailServer("pop3", "localhost", dovecot.pop3_port, "tls", user)


@pytest.fixture
def session(endpoint: MailServer, policy: Policy) -> Callable[[], Pop3Session]:
    return lambda: Pop3Session(endpoint, Secret(PASSWORD), policy)


def tried(endpoint: MailServer, policy: Policy, password: str = PASSWORD) -> list[ProbeStep]:
    return list(pop3.probe(endpoint, Secret(password), policy))


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_trial_goes_five_steps_and_counts(
    dovecot: DovecotServer, user: str, policy: Policy, security: str
) -> None:
    dovecot.deliver(user, MESSAGES[0])
    port = dovecot.pop3_port if security == "tls" else dovecot.pop3_starttls_port
    steps = tried(MailServer("pop3", "localhost", port, security, user), policy)
    assert [step.name for step in steps] == ["name", "connect", "tls", "login", "count"]
    assert all(step.ok for step in steps) and steps[-1].message == "The mailbox holds 1 message."


@pytest.mark.parametrize("typed", TYPED, ids=lambda t: ascii(t[:12]))
def test_a_password_reaches_the_server_exactly_as_typed(
    dovecot: DovecotServer, user: str, endpoint: MailServer, policy: Policy, typed: str
) -> None:
    dovecot.add_user(user, typed)
    assert tried(endpoint, policy, typed)[-1].ok


def test_a_refused_password_is_named(endpoint: MailServer, policy: Policy) -> None:
    last = tried(endpoint, policy, "wrong password")[-1]
    assert (last.name, last.ok) == ("login", False)
    assert "refused the username or password" in last.message


def test_every_message_comes_byte_for_byte(
    dovecot: DovecotServer, user: str, session: Callable[[], Pop3Session]
) -> None:
    for raw in MESSAGES:
        dovecot.deliver(user, raw)
    with session() as box:
        assert len({one.uidl for one in box.listed}) == len(MESSAGES)
        got = [raw for _, raw, _ in box.fetch([one.place for one in box.listed])]
        assert sorted(got) == sorted(MESSAGES)
    with session() as box:
        assert len(box.listed) == len(MESSAGES)  # reading deletes nothing


def test_only_what_is_named_is_deleted_and_the_session_ends_with_it(
    dovecot: DovecotServer, user: str, session: Callable[[], Pop3Session]
) -> None:
    for raw in MESSAGES[:4]:
        dovecot.deliver(user, raw)
    with session() as box:
        kept = {one.uidl for one in box.listed[2:]}
        box.delete([one.place for one in box.listed[:2]])
        assert box.ended
        with pytest.raises(MailError, match="has ended"):
            box.delete([3])
    with session() as box:
        assert {one.uidl for one in box.listed} == kept


def test_the_topmost_received_header_tells_when_it_arrived(
    dovecot: DovecotServer, user: str, session: Callable[[], Pop3Session]
) -> None:
    head = (
        b"Received: from a by b;\r\n Mon, 2 Nov 2026 10:00:00 +0100\r\n"
        b"Received: by a; Mon, 2 Nov 2020 10:00:00 +0000\r\n"
    )
    dovecot.deliver(user, head + b"Subject: x\r\n\r\nx\r\n")
    dovecot.deliver(user, b"Received: by a; some day\r\nSubject: y\r\n\r\ny\r\n")
    with session() as box:
        assert [box.received_at(one.place) for one in box.listed] == [1793610000.0, None]


# -- servers that lie ----------------------------------------------------------------


def serve(talk: Talk, uidl: bytes = b"1 a\r\n", size: bytes = b"1 10\r\n", retr: bytes = b"") -> None:
    """An honest server with one message, but for what is given."""
    talk.send(b"+OK ready\r\n")
    while True:
        word = talk.line().split(b" ")[0]
        if word == b"CAPA":
            talk.send(b"+OK\r\nSASL PLAIN\r\nUIDL\r\nPIPELINING\r\n.\r\n")
        elif word == b"AUTH":
            talk.send(b"+ \r\n")
            talk.line()
            talk.send(b"+OK\r\n")
        elif word == b"UIDL":
            talk.send(b"-ERR [SYS/PERM] what?\r\n" if uidl == b"" else b"+OK\r\n" + uidl + b".\r\n")
        elif word == b"LIST":
            talk.send(b"+OK\r\n" + size + b".\r\n")
        elif word == b"RETR":
            talk.send(retr)
        else:
            talk.send(b"+OK\r\n")


def capabilities_without_sasl(talk: Talk) -> None:
    talk.send(b"+OK ready\r\n")
    while True:
        word = talk.line().split(b" ")[0]
        talk.send(
            {b"CAPA": b"+OK\r\nUIDL\r\n.\r\n", b"UIDL": b"+OK\r\n.\r\n", b"LIST": b"+OK\r\n.\r\n"}.get(
                word, b"+OK\r\n"
            )
        )


def no_stls(talk: Talk) -> None:
    talk.send(b"+OK ready\r\n")
    talk.line()
    talk.send(b"-ERR no\r\n")
    talk.line()


def injecting(talk: Talk) -> None:
    talk.send(b"+OK ready\r\n")
    talk.line()
    talk.send(b"+OK go\r\n+OK SASL PLAIN\r\n")
    talk.encrypt()
    talk.line()


def echoing(talk: Talk) -> None:
    talk.send(b"+OK ready\r\n")
    talk.line()
    talk.send(b"+OK\r\nSASL PLAIN\r\n.\r\n")
    talk.line()
    talk.send(b"+ \r\n")
    talk.send(b"-ERR [AUTH] not " + talk.line() + b"\r\n")
    talk.line()


def dripping(talk: Talk) -> None:
    while True:
        talk.send(b"+")
        time.sleep(0.1)


def endless(talk: Talk) -> None:
    talk.send(b"+OK ready\r\n")
    talk.line()
    talk.send(b"+OK\r\n")
    while True:
        talk.send(b"CAPA " + b"x" * 60000 + b"\r\n")


@pytest.mark.parametrize(
    ("script", "tls", "says"),
    [
        (no_stls, False, "does not begin STARTTLS"),
        (injecting, False, "more before the encryption than it may"),
        (echoing, True, "refused the username or password."),
        (dripping, True, "did not answer in time"),
        (endless, True, "more than a mail server can have"),
        (lambda talk: talk.send(b"* OK IMAP\r\n"), True, "sent no POP3 greeting"),
        (lambda talk: talk.send(b"-ERR busy\r\n"), True, "It says: busy"),
        (lambda talk: serve(talk, uidl=b""), True, "does not list the mailbox by unique-ids"),
        (lambda talk: serve(talk, uidl=b"nonsense\r\n"), True, "not POP3"),
        (lambda talk: serve(talk, uidl=b"1 " + b"x" * 9000 + b"\r\n"), True, "not POP3"),
    ],
)
def test_a_server_that_lies_is_told_apart(
    certificates: Authority, script: Script, tls: bool, says: str
) -> None:
    with ScriptedServer(script, certificates.good(), tls=tls) as server:
        limits = Policy(
            frozenset({server.port}),
            ca_file=certificates.ca_file,
            deadline=2 if "in time" in says else 60,
            max_answer=2**20,
        )
        endpoint = MailServer("pop3", "localhost", server.port, "tls" if tls else "starttls", "me")
        last = tried(endpoint, limits)[-1]
        assert not last.ok and says in last.message
        assert PASSWORD not in last.message + last.remedy
        if not tls:
            assert b"AUTH" not in server.received and b"PASS" not in server.received


@pytest.mark.parametrize("which", ["wrong_name", "expired", "self_signed"])
def test_a_bad_certificate_ends_it_before_the_password(certificates: Authority, which: str) -> None:
    with ScriptedServer(echoing, getattr(certificates, which)()) as server:
        limits = Policy(frozenset({server.port}), ca_file=certificates.ca_file, deadline=60)
        last = tried(MailServer("pop3", "localhost", server.port, "tls", "me"), limits)[-1]
        assert last.name == "tls" and not last.ok
        assert b"AUTH" not in server.received


def test_without_sasl_a_password_that_user_and_pass_cannot_carry_is_refused(certificates: Authority) -> None:
    with ScriptedServer(capabilities_without_sasl, certificates.good()) as server:
        limits = Policy(frozenset({server.port}), ca_file=certificates.ca_file, deadline=60)
        endpoint = MailServer("pop3", "localhost", server.port, "tls", "me")
        for typed in ("Grüße", "two\r\nlines"):
            last = tried(endpoint, limits, typed)[-1]
            assert last.name == "login" and "only ASCII characters" in last.message
        assert b"PASS" not in server.received
        tried(endpoint, limits, " with spaces ")
        assert b"PASS  with spaces \r\n" in server.received


def opened(server: ScriptedServer, certificates: Authority, **limits: int) -> Pop3Session:
    policy = Policy(frozenset({server.port}), ca_file=certificates.ca_file, deadline=60, **limits)  # type: ignore[arg-type]
    return Pop3Session(MailServer("pop3", "localhost", server.port, "tls", "me"), Secret(PASSWORD), policy)


def test_two_messages_with_one_unique_id_both_count(certificates: Authority) -> None:
    lies: Script = lambda talk: serve(talk, uidl=b"1 a\r\n2 a\r\n3 b\r\n", size=b"1 1\r\n")  # noqa: E731
    with ScriptedServer(lies, certificates.good()) as server, opened(server, certificates) as box:
        assert [(one.uidl, one.size) for one in box.listed] == [("a", 1), ("a 2", 0), ("b", 0)]


def test_a_message_above_the_limit_is_not_kept_in_memory_whatever_its_size_said(
    certificates: Authority,
) -> None:
    large = b"+OK\r\n" + b"x" * 998 + b"\r\n" + (b"y" * 998 + b"\r\n") * 15 + b".\r\n"
    with ScriptedServer(lambda talk: serve(talk, retr=large), certificates.good()) as server:
        with opened(server, certificates, max_message=10_000) as box:
            assert list(box.fetch([1])) == [(1, b"", 16_000)]


def test_a_message_without_an_end_is_cut_off(certificates: Authority) -> None:
    endless_mail = b"+OK\r\n" + (b"y" * 998 + b"\r\n") * 100
    with ScriptedServer(lambda talk: serve(talk, retr=endless_mail), certificates.good()) as server:
        with opened(server, certificates, max_message=10_000) as box:
            with pytest.raises(MailError, match="more than a mail server can have"):
                list(box.fetch([1]))


def test_a_message_that_is_not_handed_out_is_left_out(certificates: Authority) -> None:
    with ScriptedServer(lambda talk: serve(talk, retr=b"-ERR no such message\r\n"), certificates.good()) as s:
        with opened(s, certificates) as box:
            assert list(box.fetch([1])) == []
