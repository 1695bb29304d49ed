"""SMTP servers as they are: what is handed over, what is refused and by whom, and how it ends."""

from __future__ import annotations

import base64
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from panel.accounts.rules import address_of
from panel.errors import BadInput, MailError
from panel.mail import smtp as sending
from panel.mail.policy import Policy
from panel.mail.server import MailServer, address_to_wire
from panel.secret import Secret
from tests.servers.hostile import ScriptedServer, Talk
from tests.servers.odd_smtp import SmtpScript

USER, PASSWORD = "somebody@example.com", "correct horse battery staple"
SECRET = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())


def note(sender: str, *recipients: str, text: str = "All is “fine” – really…\n") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = sender, ", ".join(recipients)
    message["Subject"] = "Zwei “Hinweise”"
    message.set_content(text)
    return message


def hand_over(
    script: Callable[[Talk], None], sender: str = USER, *recipients: str, text: str = "ü…\n"
) -> None:
    to = recipients or ("you@example.org",)
    with ScriptedServer(script) as server:
        where = MailServer("smtp", "localhost", server.port, "none", USER)
        policy = Policy(frozenset({server.port}), deadline=60)
        sending.send(where, Secret(PASSWORD), policy, note(sender, *to, text=text), sender, to)


def log_in(script: SmtpScript, password: str = PASSWORD) -> str:
    with ScriptedServer(script) as server:
        where = MailServer("smtp", "localhost", server.port, "none", USER)
        last = list(sending.probe(where, Secret(password), Policy(frozenset({server.port}), deadline=60)))[-1]
    return "ok" if last.ok else last.message


# -- addresses and letters --------------------------------------------------------------------


@pytest.mark.parametrize(
    "offers", [b"AUTH PLAIN", b"AUTH PLAIN\r\nSMTPUTF8\r\n8BITMIME"], ids=["plain", "SMTPUTF8"]
)
@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("info@müller.example", b"xn--mller-kva.example"),
        ("info@mail.BÜCHER.example", b"mail.xn--bcher-kva.example"),
        ("info@例え.テスト", b"xn--r8jz45g.xn--zckzah"),
    ],
)
def test_a_domain_goes_as_every_server_takes_it(offers: bytes, address: str, domain: bytes) -> None:
    script = SmtpScript(offers)
    hand_over(script, address, address)
    assert b"MAIL FROM:<info@" + domain + b">" in script.commands
    assert b"RCPT TO:<info@" + domain + b">" in script.commands
    sent = b"\n".join(script.data)
    assert sent.isascii()
    told = message_from_bytes(sent, policy=default)
    assert {told["From"].addresses[0].addr_spec, told["To"].addresses[0].addr_spec} == {
        f"info@{domain.decode()}"
    }


def test_letters_before_the_at_need_a_server_that_takes_them() -> None:
    script = SmtpScript()
    with pytest.raises(MailError, match="before the @ is in ASCII") as caught:
        hand_over(script, "ärger@müller.example")
    assert caught.value.permanent and not any(c.startswith(b"MAIL") for c in script.commands)
    script = SmtpScript(b"AUTH PLAIN\r\nSMTPUTF8")
    hand_over(script, "ärger@müller.example")
    assert "MAIL FROM:<ärger@müller.example> SMTPUTF8".encode() in script.commands


@pytest.mark.parametrize("text", ["All is “fine” – really…\n", "x" * 3000 + "\n", "ü" * 3000, ".\n..\n.ü\n"])
def test_a_body_is_seven_bits_and_says_the_same(text: str) -> None:
    script = SmtpScript()
    hand_over(script, text=text)
    sent = b"\r\n".join(line.removeprefix(b".") for line in script.data)
    assert sent.isascii() and max(map(len, script.data)) < 998
    assert message_from_bytes(sent, policy=default).get_content().strip("\n") == text.strip("\n")
    assert "BODY=" not in repr(script.commands)


BAD = [
    "a@b..example", "a@" + "ü" * 60 + ".example", "a@" + "x" * 300, "a@" + "x." * 200 + "example", "a@.example",
    "a@b.example..", "a@" + "x" * 64 + ".example", "a@ü..example", "@example.org", "a@", "a",
    "a b@example.org", "a@exa mple.org", "a>b@example.org", "a@b\r\nRCPT TO:<c@d>", "a@" + "ü" * 10_000,
    "a@xn--\u0301.example", "a@\u2024.example", "",
]  # fmt: skip


@pytest.mark.parametrize("address", BAD, ids=lambda address: ascii(address[:24]))
def test_what_cannot_be_an_address_is_a_clear_error(address: str) -> None:
    for use in (address_to_wire, address_of, sending.probe_message):
        if use is address_of and ">" in address:
            continue  # it may be stored, but not sent from
        with pytest.raises(BadInput) as caught:
            use(address)
        assert caught.value.field == "address" and len(str(caught.value)) < 400
    script = SmtpScript()
    with pytest.raises(MailError, match="cannot be an email address"):
        with ScriptedServer(script) as server:
            where = MailServer("smtp", "localhost", server.port, "none", USER)
            policy = Policy(frozenset({server.port}), deadline=60)
            sending.send(where, Secret(PASSWORD), policy, note(USER, USER), USER, [address])
    assert script.data == []


@pytest.mark.parametrize(
    "address", ["a@b.example", "a@localhost", "a.b+c@[127.0.0.1]", "ü@b_c.example", "a@B.Example"]
)
def test_what_can_be_an_address_stays_as_it_is(address: str) -> None:
    assert address_to_wire(address) == address_of(address) == address


# -- after the work ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "after", [b"250 taken\r\n421 bye\r\n", b"250\r\n", b"250-it\r\n250-is\r\n250 mine\r\n", b"250\tOK\r\n", b"  250 x\r\n",
              b"250:done\r\n", b"250-one\r\n\r\n250\r\n", b"250 \xff\xfe\r\n"],
)  # fmt: skip
def test_what_the_server_does_after_it_took_the_message_is_no_error(after: bytes) -> None:
    def vanishing(talk: Talk) -> None:
        script = SmtpScript(after_data=after)
        script.answer = lambda command: talk.close() if command == b"QUIT" else None
        script(talk)

    hand_over(vanishing)

    def hanging_up(talk: Talk) -> None:
        answered = SmtpScript(after_data=after)
        reply = answered._reply

        def last(talk: Talk, command: bytes) -> bytes:
            said = reply(talk, command)
            if command == b"DATA":
                talk.send(said)
                raise EOFError
            return said

        answered._reply = last  # type: ignore[method-assign]
        answered(talk)

    hand_over(hanging_up)


@pytest.mark.parametrize(
    ("reply", "code", "permanent"),
    [
        (b"550 5.1.1 no correct horse battery staple here\r\n", "550 5.1.1", True),
        (b"450-4.2.0 wait\r\n450 4.2.0 elpats yrettab esroh tcerroc\r\n", "450 4.2.0", False),
        (b"554 5.7.1234 x\r\n", "554", True),
        (b"421 correct horse\r\n", "421", False),
    ],
)
def test_of_a_refused_message_the_codes_are_told(reply: bytes, code: str, permanent: bool) -> None:
    with pytest.raises(MailError) as caught:
        hand_over(SmtpScript(answer=lambda command: reply if command.startswith(b"RCPT") else None))
    assert caught.value.message == f"localhost did not take the message. Its code: {code}."
    assert caught.value.permanent == permanent


# -- logging in --------------------------------------------------------------------------------------


def taking(*ways: bytes, refusal: bytes, offers: bytes = b"AUTH PLAIN LOGIN") -> SmtpScript:
    """Takes only these ways of logging in."""

    def answer(command: bytes) -> bytes | None:
        way = b"AUTH PLAIN IR" if command.startswith(b"AUTH PLAIN ") else command
        return refusal if command.startswith(b"AUTH") and way not in ways else None

    return SmtpScript(offers, answer=answer)


@pytest.mark.parametrize("way", [b"AUTH PLAIN", b"AUTH PLAIN IR", b"AUTH LOGIN"], ids=bytes.decode)
@pytest.mark.parametrize(
    "refusal", [b"504 unrecognized\r\n", b"503-5.5.1 no\r\n503 no\r\n", b"500\r\n", b"538 5.7.11 x\r\n"]
)
def test_a_refused_mechanism_is_followed_by_the_next(way: bytes, refusal: bytes) -> None:
    assert log_in(taking(way, refusal=refusal)) == "ok"


@pytest.mark.parametrize(
    "refusal", [b"535 5.7.8 no\r\n", b"534 5.7.9 weak\r\n", b"535\r\n", b"530 5.7.0 no\r\n"]
)
def test_what_is_refused_before_the_password_was_sent_is_the_mechanism(refusal: bytes) -> None:
    assert log_in(taking(b"AUTH PLAIN IR", refusal=refusal)) == "ok"


@pytest.mark.parametrize("refusal", [b"535 5.7.8 no\r\n", b"534-5.7.9 Application-specific password required\r\n534 x\r\n",
                                     b"454 4.7.0 later\r\n", b"550 5.7.1 locked\r\n"])  # fmt: skip
def test_a_refused_password_is_never_sent_again(refusal: bytes) -> None:
    script = SmtpScript(password_reply=refusal)
    says = log_in(script)
    assert says != "ok" and "each login method" not in says
    assert script.commands.count(SECRET) == 1 and script.commands[-1] in (SECRET, b"QUIT")


def test_all_mechanisms_refused_is_no_wrong_password() -> None:
    says = log_in(taking(refusal=b"504 no\r\n"))
    assert "refused each login method that it offers" in says and "username or password" not in says


@pytest.mark.parametrize(
    ("offers", "way"),
    [
        (b"AUTH=LOGIN PLAIN", b"AUTH PLAIN"),
        (b"AUTH=PLAIN", b"AUTH PLAIN"),
        (b"AUTH CRAM-MD5\r\nAUTH LOGIN", b"AUTH LOGIN"),
        (b"AUTH LOGIN\r\nAUTH=LOGIN PLAIN", b"AUTH PLAIN"),
        (b"auth login plain", b"AUTH PLAIN"),
        (b"AUTH\tLOGIN", b"AUTH LOGIN"),
        (b"X-JUNK \xff\r\n\r\nAUTH  PLAIN ", b"AUTH PLAIN"),
    ],
)
def test_offers_are_read_as_servers_write_them(offers: bytes, way: bytes) -> None:
    assert log_in(taking(way, refusal=b"504 no\r\n", offers=offers)) == "ok"


@pytest.mark.parametrize(
    "greeting", [b"220-one\r\n220-two\r\n220 three\r\n", b"220\r\n", b"\r\n220 late\r\n", b"220-x\r\n220\r\n"]
)
def test_greetings_are_read_as_servers_write_them(greeting: bytes) -> None:
    assert log_in(SmtpScript(greeting=greeting)) == "ok"
