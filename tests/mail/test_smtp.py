"""Promises of sending: the right server, the password exactly, and no word of it in what is told."""

from __future__ import annotations

import time
from email import message_from_bytes
from email.message import EmailMessage

import pytest

from panel.errors import MailError
from panel.mail import smtp as sending
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.mail.session import ProbeStep
from panel.secret import Secret
from tests.servers.certificates import Authority, Certificate
from tests.servers.hostile import Script, ScriptedServer, Talk
from tests.servers.smtp import SmtpServer

USER, PASSWORD = "somebody@example.com", "correct horse battery staple"
TYPED = [
    " leading", "trailing ", "Grüße", "🗝️🔑", "\"double\" 'single'", "back\\slash", "100% %s", "x", "x" * 1024,
    "--leading", "tab\tand\r\nlines",
]  # fmt: skip


@pytest.fixture
def policy(smtp: SmtpServer, certificates: Authority) -> Policy:
    smtp.users[USER.encode()] = PASSWORD.encode()
    return Policy(frozenset({smtp.tls_port, smtp.starttls_port}), ca_file=certificates.ca_file, deadline=60)


def at(port: int, security: str = "tls", user: str = USER) -> MailServer:
    return MailServer("smtp", "localhost", port, security, user)


def tried(endpoint: MailServer, policy: Policy, password: str = PASSWORD) -> list[ProbeStep]:
    return list(sending.probe(endpoint, Secret(password), policy))


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_trial_goes_four_steps(smtp: SmtpServer, policy: Policy, security: str) -> None:
    port = smtp.tls_port if security == "tls" else smtp.starttls_port
    steps = tried(at(port, security), policy)
    assert [(step.name, step.ok) for step in steps] == [
        ("name", True), ("connect", True), ("tls", True), ("login", True),
    ]  # fmt: skip
    assert "TLSv1" in steps[2].message


@pytest.mark.parametrize("typed", TYPED, ids=lambda t: ascii(t[:12]))
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_password_reaches_the_server_exactly_as_typed(
    certificates: Authority, typed: str, mechanism: str
) -> None:
    other = {"PLAIN": "LOGIN", "LOGIN": "PLAIN"}[mechanism]
    server = SmtpServer(certificates.good(), auth_exclude_mechanism=[other])
    try:
        server.users["Jürgen".encode()] = typed.encode()
        limits = Policy(frozenset({server.tls_port}), ca_file=certificates.ca_file, deadline=60)
        assert tried(at(server.tls_port, user="Jürgen"), limits, typed)[-1].ok
        assert not tried(at(server.tls_port, user="Jürgen"), limits, typed + "x")[-1].ok
    finally:
        server.stop()


def test_a_port_without_tls_is_told_no_port_of_imap(smtp: SmtpServer, policy: Policy) -> None:
    last = tried(at(smtp.starttls_port), policy)[-1]
    assert "does not begin with TLS" in last.message
    assert last.remedy == "Check the port: SMTP uses 465 (TLS) or 587 (STARTTLS)."


def test_a_refused_password_is_named_and_permanent(smtp: SmtpServer, policy: Policy) -> None:
    last = tried(at(smtp.tls_port), policy, "wrong")[-1]
    assert (last.name, last.ok) == ("login", False)
    assert "refused the username or password" in last.message and "Enter the new password" in last.remedy


def test_a_message_arrives_as_it_was_written(smtp: SmtpServer, policy: Policy) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = USER, "you@example.com", "Größe"
    message.set_content(".a line that begins with a dot\n..two\n" + "ü" * 2000 + "\n.\n")
    endpoint, secret = at(smtp.tls_port), Secret(PASSWORD)
    sending.send(endpoint, secret, policy, message, USER, ["you@example.com"])
    [taken] = smtp.taken
    assert (taken.sender, taken.recipients) == (USER, ["you@example.com"])
    got = message_from_bytes(taken.data)
    text = got.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().replace("\r\n", "\n") == message.get_content()


def test_the_probe_message_goes_to_oneself_and_asks_for_no_answer(smtp: SmtpServer, policy: Policy) -> None:
    message = sending.probe_message("ärger@bücher.example")
    sending.send(
        at(smtp.tls_port), Secret(PASSWORD), policy, message, "ärger@bücher.example", ["ärger@bücher.example"]
    )
    [taken] = smtp.taken
    assert taken.recipients == ["ärger@bücher.example"]
    assert b"Auto-Submitted: auto-generated" in taken.data


def test_a_refused_recipient_is_told_with_the_servers_codes(smtp: SmtpServer, policy: Policy) -> None:
    smtp.refused.add("nobody@example.com")
    message = sending.probe_message("nobody@example.com")
    with pytest.raises(MailError, match=r"550 5\.1\.1") as caught:
        sending.send(at(smtp.tls_port), Secret(PASSWORD), policy, message, USER, ["nobody@example.com"])
    assert caught.value.permanent and smtp.taken == []


@pytest.mark.parametrize("address", ["a>b@example.com", "a\r\nRCPT TO:<x@y>", "a b@example.com"])
def test_an_address_cannot_smuggle_a_command(smtp: SmtpServer, policy: Policy, address: str) -> None:
    with pytest.raises(MailError, match="cannot be an email address"):
        sending.send(
            at(smtp.tls_port), Secret(PASSWORD), policy, sending.probe_message(USER), address, [USER]
        )
    assert smtp.taken == []


# -- servers that lie ----------------------------------------------------------------


def scripted(script: Script, certificate: Certificate, *, tls: bool = True) -> ScriptedServer:
    return ScriptedServer(script, certificate, tls=tls)


def hello(talk: Talk, capabilities: bytes) -> None:
    talk.send(b"220 ready\r\n")
    talk.line()
    talk.send(b"250-hello\r\n250 %s\r\n" % capabilities)


def no_starttls(talk: Talk) -> None:
    hello(talk, b"AUTH PLAIN")
    talk.line()


def injecting(talk: Talk) -> None:
    hello(talk, b"STARTTLS")
    talk.line()
    talk.send(b"220 go\r\n250 AUTH PLAIN\r\n")
    talk.encrypt()
    talk.line()


def refusing_after_starttls(talk: Talk) -> None:
    hello(talk, b"STARTTLS")
    talk.line()
    talk.send(b"220 go\r\n")
    talk.encrypt()
    talk.line()
    talk.send(b"421 4.3.0 not now\r\n")


def echoing(talk: Talk) -> None:
    hello(talk, b"AUTH PLAIN")
    talk.line()
    talk.send(b"334 \r\n")
    talk.send(b"535 I do not take " + talk.line() + b"\r\n")


def dripping(talk: Talk) -> None:
    while True:
        talk.send(b"2")
        time.sleep(0.1)


def endless(talk: Talk) -> None:
    talk.send(b"220 ready\r\n")
    talk.line()
    while True:
        talk.send(b"250-more\r\n" * 1000)


@pytest.mark.parametrize(
    ("script", "tls", "says"),
    [
        (no_starttls, False, "does not begin STARTTLS"),
        (refusing_after_starttls, False, "cannot open the mailbox now. It says: 421 4.3.0 not now"),
        (injecting, False, "more before the encryption than it may"),
        (echoing, True, "refused the username or password. Its code: 535."),
        (dripping, True, "did not answer in time"),
        (endless, True, "not SMTP"),
        (lambda talk: talk.send(b"* OK IMAP\r\n"), True, "not SMTP"),
        (lambda talk: talk.send(b"421 busy\r\n"), True, "accepts no connections now"),
    ],
)
def test_a_server_that_lies_gets_no_password_further_and_a_sentence(
    certificates: Authority, script: Script, tls: bool, says: str
) -> None:
    with scripted(script, certificates.good(), tls=tls) as server:
        limits = Policy(
            frozenset({server.port}), ca_file=certificates.ca_file, deadline=1.5 if "in time" in says else 60
        )
        last = tried(at(server.port, "tls" if tls else "starttls"), limits)[-1]
        assert not last.ok and says in last.message
        assert PASSWORD not in last.message + last.remedy
        if script is not echoing:
            assert b"AUTH" not in server.received


def test_a_certificate_for_another_name_ends_it_before_the_password(certificates: Authority) -> None:
    with scripted(echoing, certificates.wrong_name()) as server:
        limits = Policy(frozenset({server.port}), ca_file=certificates.ca_file, deadline=60)
        last = tried(at(server.port), limits)[-1]
        assert last.name == "tls" and "another name" in last.message
        assert b"AUTH" not in server.received
