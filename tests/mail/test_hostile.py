"""A server that lies costs neither memory nor time, and gets no password that it should not have."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panel.errors import MailError, MessageTooLarge
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.secret import Secret
from tests.mail.conftest import PASSWORD, at, failure, tried
from tests.servers import hostile
from tests.servers.certificates import Authority
from tests.servers.hostile import Script, ScriptedServer, Talk

Trusting = Callable[..., Policy]


def fetched(server: ScriptedServer, policy: Policy, *uids: int) -> list[tuple[int, bytes]]:
    with ImapSession(at(server), Secret(PASSWORD), "INBOX", policy) as imap:
        return list(imap.fetch(uids))


PROMPT = 20.0  # seconds, on the busiest machine: every other limit is a minute


def peak_mib() -> int:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


# -- time --------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [hostile.drip, hostile.drip_lines, hostile.silence])
def test_a_server_that_drips_or_keeps_silent_ends_at_the_deadline(
    certificates: Authority, trusting: Trusting, script: Script
) -> None:
    with ScriptedServer(script, certificates.good()) as server:
        begun = time.monotonic()
        error = failure(at(server), trusting(server, deadline=1.0))
    assert "did not answer in time" in error.message
    assert 0.9 < time.monotonic() - begun < PROMPT


def test_a_dripping_handshake_ends_at_the_deadline(trusting: Trusting) -> None:
    def drip_record(talk: Talk) -> None:
        talk.send(b"\x16\x03\x03\x40\x00")
        while True:
            talk.send(b"\x02")
            time.sleep(0.05)

    with ScriptedServer(drip_record) as server:
        begun = time.monotonic()
        error = failure(at(server), trusting(server, deadline=1.0))
    assert error.step == "tls"
    assert time.monotonic() - begun < PROMPT


def never_answers(talk: Talk) -> None:
    talk.line()


def half_a_handshake(talk: Talk) -> None:
    talk.send(b"\x16\x03\x03\x40\x00")
    while True:
        talk.line()  # a line end may stand anywhere in what the client sends


def half_a_message(talk: Talk) -> None:
    hostile.examine_then(lambda talk, _: talk.send(b"* 1 FETCH (UID 1 BODY[] {1000}\r\nhalf"))(talk)
    talk.line()


@pytest.mark.parametrize(
    ("script", "tls"), [(never_answers, True), (half_a_handshake, False), (half_a_message, True)]
)
def test_another_thread_can_end_a_session_wherever_it_waits(
    certificates: Authority, trusting: Trusting, script: Script, tls: bool
) -> None:
    with ScriptedServer(script, certificates.good() if tls else None) as server:
        policy = trusting(server, deadline=60.0)
        ender = threading.Timer(0.5, policy.interrupt.end)
        ender.start()
        begun = time.monotonic()
        with pytest.raises(MailError, match="did not answer in time"):
            fetched(server, policy, 1)
        assert time.monotonic() - begun < PROMPT
        with pytest.raises(MailError, match="did not answer in time"):  # nor does it begin again
            fetched(server, policy, 1)


def test_a_dripping_message_ends_at_the_deadline(certificates: Authority, trusting: Trusting) -> None:
    def answer(talk: Talk, _: bytes) -> None:
        talk.send(b"* 1 FETCH (UID 1 BODY[] {1000000}\r\n")
        while True:
            talk.send(b".")
            time.sleep(0.05)

    with ScriptedServer(hostile.examine_then(answer), certificates.good()) as server:
        begun = time.monotonic()
        with pytest.raises(MailError, match="did not answer in time"):
            fetched(server, trusting(server, deadline=1.0), 1)
    assert time.monotonic() - begun < PROMPT


def test_a_silence_ends_at_our_patience_long_before_the_deadline(
    certificates: Authority, trusting: Trusting
) -> None:
    with ScriptedServer(hostile.silence, certificates.good()) as server:
        begun = time.monotonic()
        failure(at(server), trusting(server, deadline=60.0, idle_timeout=0.5))
    assert time.monotonic() - begun < PROMPT


# -- memory --------------------------------------------------------------------------------


def test_a_literal_of_400_mb_is_refused_before_memory_is_taken(
    certificates: Authority, trusting: Trusting
) -> None:
    with ScriptedServer(hostile.examine_then(hostile.huge_literal), certificates.good()) as server:
        policy = trusting(server)
        before = peak_mib()
        with pytest.raises(MessageTooLarge) as caught:
            fetched(server, policy, 1)
    assert (caught.value.uid, caught.value.size) == (1, 400_000_000)
    assert peak_mib() - before < 20


@pytest.mark.parametrize("script", [hostile.endless_line, hostile.endless_answers])
def test_what_never_ends_is_cut_off_with_flat_memory(
    certificates: Authority, trusting: Trusting, script: Script
) -> None:
    with ScriptedServer(script, certificates.good()) as server:
        before = peak_mib()
        last = tried(at(server), trusting(server, max_answer=2**20))[-1]
    assert not last.ok
    assert peak_mib() - before < 20


def test_many_literals_in_one_answer_count_together(certificates: Authority, trusting: Trusting) -> None:
    def answer(talk: Talk, _: bytes) -> None:
        talk.send(b"* 1 FETCH (UID 1 BODY[] {600}\r\n" + bytes(600))
        talk.send(b" BODY[] {600}\r\n" + bytes(600) + b")\r\n")
        talk.line()

    with ScriptedServer(hostile.examine_then(answer), certificates.good()) as server:
        with pytest.raises(MessageTooLarge):
            fetched(server, trusting(server, max_message=1000), 1)


def test_a_session_has_a_total(certificates: Authority, trusting: Trusting) -> None:
    def answer(talk: Talk, _: bytes) -> None:
        while True:
            talk.send(b"* 1 FETCH (UID 1 BODY[] {100000}\r\n" + bytes(100_000) + b")\r\n")

    with ScriptedServer(hostile.examine_then(answer), certificates.good()) as server:
        with pytest.raises(MailError, match="in one session"):
            fetched(server, trusting(server, max_session=2**21), 1)


# -- lies --------------------------------------------------------------------------------


def test_another_protocol_is_told_apart(certificates: Authority, trusting: Trusting) -> None:
    with ScriptedServer(hostile.garbage, certificates.good()) as server:
        error = failure(at(server), trusting(server))
    assert "sent no IMAP greeting" in error.message


@pytest.mark.parametrize(
    "answer",
    [
        b"hello?\r\n",
        b"\r\n",
        b"* 1 FETCH (UID 1 BODY[] {99999999999999999999}\r\n",
        b"* 1 FETCH (UID 1 BODY[] {-1}\r\n)\r\na2 OK\r\n",
        b"a3 PERHAPS\r\n",
        b"* BYE gone\r\n",
        b"+ go on\r\n",
        b"",
        b"\xff" * 100_000,
    ],
)
def test_nonsense_in_the_middle_is_one_clear_error(
    certificates: Authority, trusting: Trusting, answer: bytes
) -> None:
    with ScriptedServer(
        hostile.examine_then(lambda talk, _: talk.send(answer)), certificates.good()
    ) as server:
        with pytest.raises(MailError) as caught:
            fetched(server, trusting(server, deadline=60.0), 1)
    assert caught.value.step == "fetch" and caught.value.message and caught.value.remedy


def test_messages_that_were_not_asked_for_or_come_twice_are_dropped(
    certificates: Authority, trusting: Trusting
) -> None:
    def answer(talk: Talk, tag: bytes) -> None:
        for uid, body in ((7, b"never asked"), (1, b"first"), (1, b"again")):
            talk.send(b"* 1 FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (uid, len(body), body))
        talk.send(b"* 1 FETCH (FLAGS (UID 2))\r\n* 5 EXISTS\r\n%s OK done\r\n" % tag)

    with ScriptedServer(hostile.examine_then(answer), certificates.good()) as server:
        assert fetched(server, trusting(server), 1, 2) == [(1, b"first")]


@pytest.mark.parametrize(
    "answer",
    [
        b"* 1 FETCH (UID 1 BODY[] {5}\r\nhello)\r\n",
        b"* 1 FETCH (BODY[] {5}\r\nhello UID 1)\r\n",
        b"* 1 fetch (FLAGS (\\Recent UID 9) body[] {5}\r\nhello uid 1 RFC822.SIZE 5)\r\n",
        b'* 1 FETCH (UID 1 BODY[] "hello")\r\n',
        b"* 1 FETCH (UID 1 BODY[] ~{5}\r\nhello)\r\n",
    ],
)
def test_a_message_is_found_however_the_answer_is_arranged(
    certificates: Authority, trusting: Trusting, answer: bytes
) -> None:
    def script(talk: Talk, tag: bytes) -> None:
        talk.send(answer + tag + b" OK done\r\n")

    with ScriptedServer(hostile.examine_then(script), certificates.good()) as server:
        assert fetched(server, trusting(server), 1) == [(1, b"hello")]


def test_messages_are_only_peeked_at_for_servers_that_forget_what_read_only_means(
    certificates: Authority, trusting: Trusting
) -> None:
    def answer(talk: Talk, tag: bytes) -> None:
        talk.send(tag + b" OK done\r\n")

    with ScriptedServer(hostile.examine_then(answer), certificates.good()) as server:
        fetched(server, trusting(server), 1, 2, 3, 7)
    assert b"UID FETCH 1:3,7 (UID BODY.PEEK[])\r\n" in server.received


# -- STARTTLS ------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [hostile.no_starttls, hostile.preauthenticated])
def test_starttls_that_is_not_offered_ends_it_before_any_password(
    certificates: Authority, trusting: Trusting, script: Script
) -> None:
    with ScriptedServer(script, certificates.good(), tls=False) as server:
        error = failure(at(server, "starttls"), trusting(server))
    assert error.step in ("tls", "connect")
    assert b"LOGIN" not in server.received and b"AUTHENTICATE" not in server.received


@pytest.mark.parametrize("script", [hostile.starttls_injection, hostile.starttls_injection_later])
def test_what_is_sent_in_the_clear_before_starttls_is_never_taken_for_encrypted(
    certificates: Authority, trusting: Trusting, script: Script
) -> None:
    with ScriptedServer(script, certificates.good(), tls=False) as server:
        error = failure(at(server, "starttls"), trusting(server))
    assert error.step == "tls"
    assert b"AUTHENTICATE" not in server.received


def test_capabilities_from_before_starttls_are_forgotten(certificates: Authority, trusting: Trusting) -> None:
    def script(talk: Talk) -> None:
        hostile.greet(talk, b"IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR")
        tag, _ = talk.command()
        talk.send(tag + b" OK begin\r\n")
        talk.encrypt()
        tag, _ = talk.command()
        talk.send(b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n%s OK\r\n" % tag)
        talk.line()

    with ScriptedServer(script, certificates.good(), tls=False) as server:
        error = failure(at(server, "starttls"), trusting(server))
    assert error.step == "login"
    assert b"AUTHENTICATE" not in server.received


# -- anything at all -------------------------------------------------------------------------

PIECES = [
    b"* ", b"a1 ", b"a2 ", b"a3 ", b"OK ", b"NO ", b"BYE ", b"FETCH (", b"UID 1 ", b"BODY[] ", b"{3}\r\n", b"{0}\r\n",
    b"{99999999}\r\n", b"~{1}\r\n", b'"', b"\\", b")", b"\r\n", b"\n", b"\0", b"\xff", b"FLAGS (", b"EXISTS", b"1 ",
    b"[UIDVALIDITY 7]", b"[CAPABILITY AUTH=PLAIN]", b"LIST () ", b"STATUS x (MESSAGES ", b"&AAA-", b"+ ", b"[", b"]",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), max_size=5))
def test_whatever_a_server_sends_ends_in_mail_or_in_one_clear_error(answers: list[bytes]) -> None:
    def script(talk: Talk) -> None:
        hostile.greet(talk)
        for answer in answers:
            tag, _ = talk.command()
            talk.send(answer + b"\r\n" + tag + b" OK done\r\n")

    with ScriptedServer(script) as server:
        policy = Policy(frozenset({server.port}), deadline=60)
        assert all(step.message for step in tried(at(server, "none"), policy))
        try:
            with ImapSession(at(server, "none"), Secret(PASSWORD), "INBOX", policy) as imap:
                everything = (imap.uids(0), imap.unseen(), imap.arrived_since(0), imap.sizes([1]))
                assert all(isinstance(part, list | dict) for part in everything)
                assert len(list(imap.fetch([1]))) <= 1
        except MailError as error:
            assert error.message and error.remedy
