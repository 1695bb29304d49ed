"""Nothing that a server says is compared with the password; once it has it, nothing of its words is kept."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable

import pytest

from panel.errors import MailError
from panel.mail import pop3, smtp
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.mail.refusal import shown
from panel.mail.server import MailServer
from panel.mail.session import ProbeStep
from panel.secret import Secret
from tests.mail.conftest import at, tried
from tests.servers.certificates import Authority
from tests.servers.hostile import Script, ScriptedServer, Talk
from tests.servers.imap import ImapMailbox
from tests.servers.odd_smtp import SmtpScript

PASSWORD = "Zugspitze2962"
ECHOES = {
    "as it is": PASSWORD,
    "backwards": PASSWORD[::-1],
    "base32": base64.b32encode(PASSWORD.encode()).decode(),
    "base85": base64.b85encode(PASSWORD.encode()).decode(),
    "per cent": "".join(f"%{ord(letter):02x}" for letter in PASSWORD),
    "in pieces": "/".join(PASSWORD),
    "rot13": PASSWORD.translate({ord("Z"): "M", ord("u"): "h"}),
    "decimal": "-".join(str(ord(letter)) for letter in PASSWORD),
}


ECHO = " ".join(ECHOES.values()).encode()  # all of them at once


def probe(
    protocol: str, server: ScriptedServer, security: str = "none", password: str = PASSWORD
) -> list[ProbeStep]:
    where = MailServer(protocol, "localhost", server.port, security, "somebody@example.com")
    policy = Policy(frozenset({server.port}), deadline=60)
    if protocol == "imap":
        return tried(at(server, security), policy, password)
    return list((smtp if protocol == "smtp" else pop3).probe(where, Secret(password), policy))


# -- before the password was sent ------------------------------------------------------------------

GREETINGS = {"imap": b"* BYE %s\r\n", "pop3": b"-ERR %s\r\n", "smtp": b"421 %s\r\n"}


@pytest.mark.parametrize("protocol", GREETINGS)
@pytest.mark.parametrize("security", ["none", "starttls"])
def test_a_guess_in_a_greeting_is_shown_whether_it_is_right_or_wrong(protocol: str, security: str) -> None:
    """A man in the middle before TLS must not learn from what is shown or stored which guess was right."""
    guesses = b"Zugspitze2962 Watzmann2713"

    def greet(talk: Talk) -> None:
        talk.send(GREETINGS[protocol] % guesses)
        talk.line()

    said = set()
    for password in ("Zugspitze2962", "Watzmann2713", "x"):
        with ScriptedServer(greet) as server:
            last = probe(protocol, server, security, password)[-1]
            said.add((last.name, last.message, last.remedy))
    [(_, says, _)] = said
    assert guesses.decode() in says


def test_words_are_shown_on_one_line_escaped_and_not_for_ever() -> None:
    assert shown(b"a\r\nb\x1b[31mc\xff\xc2\x9b\xe2\x80\xae") == "a\\r\\nb\\x1b[31mc\\xff\\x9b\\u202e"
    assert len(shown(b"d" * 100_000)) == 200


# -- afterwards ---------------------------------------------------------------------------------------


def imap_at(verb: bytes, answer: bytes) -> ImapMailbox:
    mailbox = ImapMailbox({1: b"mail"})
    mailbox.answer = lambda command: answer if command.startswith(verb) else None
    return mailbox


def imap_scripts() -> dict[str, Script]:
    answers = (b"NO %b", b"NO [%b] no", b"BAD [ALERT] %b", b"NO [UNAVAILABLE %b] %b", b"OK [%b] %b", b"%b")
    verbs = (b"AUTHENTICATE", b"EXAMINE", b"SELECT", b"LIST", b"UID FETCH", b"UID SEARCH", b"UID STORE")
    scripts: dict[str, Script] = {
        f"{verb!r}, {answer!r}": imap_at(verb, answer.replace(b"%b", ECHO))
        for place, verb in enumerate(verbs)
        for answer in answers[place % 2 :: 2]
    }
    scripts["BYE"] = imap_at(b"SELECT", b"\r\n* BYE [%b] %b" % (ECHO, ECHO))
    folders = b'* LIST () "/" "%b"\r\n' % ECHO.replace(b"\\", b"").replace(b'"', b"")
    scripts["a folder"] = ImapMailbox(folders=folders, known=frozenset())
    told = b"* %b EXISTS\r\n* OK [UIDVALIDITY %b]\r\n" % (ECHO, ECHO)
    scripts["a number"] = ImapMailbox({1: b"mail"}, opened=told.replace(b"%", b"%%"))
    fetched = b"* 1 FETCH (UID %b BODY[] NIL)\r\n" % ECHO
    scripts["a UID"] = ImapMailbox({1: b"mail"}, fetched=lambda *_: fetched)
    return scripts


def require_no_echo(error: MailError) -> None:
    said = f"{error} {error!r} {error.__context__!r}".casefold()
    assert not [how for how, echo in ECHOES.items() if echo.casefold() in said], said


@pytest.mark.parametrize("name", imap_scripts())
def test_no_error_of_a_round_holds_an_echo(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedServer(imap_scripts()[name]) as server:
        policy = Policy(frozenset({server.port}), deadline=60)
        try:
            with ImapSession(at(server, "none"), Secret(PASSWORD), "INBOX", policy, writable=True) as imap:
                list(imap.fetch(imap.unseen()))
                imap.mark_seen([1])
        except MailError as error:
            require_no_echo(error)
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("verb", [b"AUTH", b"MAIL", b"RCPT", b"DATA"])
@pytest.mark.parametrize(
    "reply", [b"550 %b", b"550-5.7.1 %b\r\n550 %b", b"450 4.%b", b"250-%b\r\n599 %b", b"%b"]
)
def test_no_error_of_sending_holds_an_echo(verb: bytes, reply: bytes) -> None:
    said = reply.replace(b"%b", ECHO) + b"\r\n"

    def answer(command: bytes) -> bytes | None:
        return said if command.startswith(verb) and verb != b"AUTH" else None

    script = SmtpScript(answer=answer)
    if verb == b"AUTH":
        script.password_reply = said
    with ScriptedServer(script) as server, pytest.raises(MailError) as caught:
        where = MailServer("smtp", "localhost", server.port, "none", "a@example.com")
        policy = Policy(frozenset({server.port}), deadline=60)
        message = smtp.probe_message("a@example.com")
        smtp.send(where, Secret(PASSWORD), policy, message, "a@example.com", ["a@example.com"])
    require_no_echo(caught.value)


def test_a_folder_is_named_to_who_looks_on_and_in_no_error_of_a_round() -> None:
    """The names are needed to choose one; what is stored, logged or sent as a notice holds none of them."""
    mailbox = ImapMailbox(folders=b'* LIST () "/" "Zugspitze2962"\r\n', known=frozenset())
    with ScriptedServer(mailbox) as server:
        policy = Policy(frozenset({server.port}), deadline=60)
        assert "Zugspitze2962" in tried(at(server, "none"), policy, folder="Support")[-1].remedy
        with pytest.raises(MailError) as caught:
            with ImapSession(at(server, "none"), Secret(PASSWORD), "Support", policy):
                pass
    assert "Zugspitze" not in str(caught.value) and "use “Test connection”" in caught.value.remedy


def test_with_starttls_nothing_of_before_is_kept(
    certificates: Authority, trusting: Callable[..., Policy]
) -> None:
    """An alert of before TLS is forgotten with all else; the refusal shows a code alone."""

    def script(talk: Talk) -> None:
        talk.send(b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR ID] Zugspitze2962\r\n")
        tag, _ = talk.command()
        talk.send(tag + b" OK begin\r\n")
        talk.encrypt()
        tag, _ = talk.command()
        talk.send(b"* CAPABILITY IMAP4rev1\r\n%s OK\r\n" % tag)
        tag, rest = talk.command()
        assert rest.startswith(b"LOGIN ")
        talk.send(tag + b" NO [AUTHENTICATIONFAILED] Zugspitze2962\r\n")

    with ScriptedServer(script, certificates.good(), tls=False) as server:
        last = tried(at(server, "starttls"), trusting(server), PASSWORD)[-1]
    assert last.message == "localhost refused the username or password. Its code: AUTHENTICATIONFAILED."
