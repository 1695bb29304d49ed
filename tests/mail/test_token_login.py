"""Logging in by access token as providers do it: what goes over the wire, and what is said of a refusal."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import EmailMessage

import pytest

from panel.errors import MailError
from panel.mail import imap, pop3, smtp
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.mail.pop3 import Pop3Session
from panel.mail.server import MailServer
from panel.mail.session import MailSession, ProbeStep
from panel.mail.smtp import SmtpSession
from panel.mail.smtp_relay import Reply, SmtpRelay
from panel.mail.throttling import UNNAMED
from panel.secret import Secret
from tests.servers.certificates import Authority
from tests.servers.hostile import ScriptedServer, Talk
from tests.servers.imap import ImapMailbox, plainly
from tests.servers.odd_smtp import SmtpScript
from tests.servers.pop3 import PopMailbox
from tests.servers.token_servers import (
    SERVERS,
    TokenImap,
    TokenPop3,
    TokenServer,
    TokenSmtp,
    exchange,
    gmail,
    rfc7628,
)

USER, TOKEN = "somebody@example.com", "ya29." + "vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg-" * 60
PROTOCOLS = ["imap", "pop3", "smtp"]
Script = Callable[[Talk], None]


@contextmanager
def at(
    script: Script, protocol: str, user: str = USER, **limits: float
) -> Iterator[tuple[MailServer, Policy]]:
    with ScriptedServer(script) as server:
        where = MailServer(protocol, "localhost", server.port, "none", user, "oauth")
        yield where, Policy(frozenset({server.port}), deadline=limits.get("deadline", 60))


def session(where: MailServer, policy: Policy, token: str = TOKEN) -> MailSession[object]:  # type: ignore[type-var]
    if where.protocol == "imap":
        return ImapSession(where, Secret(token), "INBOX", policy)  # type: ignore[return-value]
    kind = Pop3Session if where.protocol == "pop3" else SmtpSession
    return kind(where, Secret(token), policy)  # type: ignore[return-value]


def tried(where: MailServer, policy: Policy, token: str = TOKEN) -> list[ProbeStep]:
    if where.protocol == "imap":
        return list(imap.probe(where, Secret(token), "INBOX", policy))
    return list((pop3 if where.protocol == "pop3" else smtp).probe(where, Secret(token), policy))


def refused(
    script: Script, protocol: str, user: str = USER, token: str = TOKEN, **limits: float
) -> MailError:
    """What a session meets; nothing of the token is in it."""
    with at(script, protocol, user, **limits) as (where, policy):
        with pytest.raises(MailError) as caught:
            with session(where, policy, token) as opened:
                if isinstance(opened, ImapSession):
                    list(opened.fetch(opened.uids(0)))
    error = caught.value
    assert_keeps_quiet(error, token, where)
    return error


def assert_keeps_quiet(error: MailError, token: str, where: MailServer) -> None:
    told = f"{error!r} {error} {error.message} {error.remedy} {error.reason}"
    raw = token.encode()
    forms = [token, *(base64.b64encode(bytes(shift) + raw).decode() for shift in range(3))]
    for form in forms:
        middle = form[4:20]
        assert middle not in told


# -- let in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("provider", SERVERS)
def test_a_good_token_lets_in(provider: str, protocol: str) -> None:
    server = SERVERS[provider](protocol, TOKEN)
    with at(server, protocol) as (where, policy):
        steps = tried(where, policy)
    assert steps[-1].ok, steps[-1]
    assert server.sasl.tokens == [TOKEN] and server.sasl.users == [USER]
    assert next(step for step in steps if step.name == "login").message == f"Signed in to {USER}."


@pytest.mark.parametrize(
    ("provider", "wanted"), [("Exchange", b"XOAUTH2"), ("Gmail", b"XOAUTH2"), ("RFC 7628", b"OAUTHBEARER")]
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_token_goes_as_the_server_reads_it(provider: str, wanted: bytes, protocol: str) -> None:
    server = SERVERS[provider](protocol, TOKEN)
    with at(server, protocol) as (where, policy):
        assert tried(where, policy)[-1].ok
    command = next(line for line in server.commands if line.startswith(b"AUTH"))
    if protocol == "imap":  # SASL-IR
        assert command.startswith(b"AUTHENTICATE " + wanted + b" ") and len(command) > 2000
    else:  # in two steps always
        assert command == b"AUTH " + wanted


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_imap_without_sasl_ir_gets_the_token_after_a_prompt(mechanism: str) -> None:
    server = exchange("imap", TOKEN)
    assert isinstance(server, TokenImap)
    server.capabilities = b"IMAP4rev1 AUTH=" + mechanism.encode()
    with at(server, "imap") as (where, policy):
        assert tried(where, policy)[-1].ok
    assert b"AUTHENTICATE " + mechanism.encode() in server.commands


def test_a_server_that_takes_no_long_commands_gets_the_token_on_its_own_line() -> None:
    server = exchange("imap", TOKEN)
    assert isinstance(server, TokenImap)
    server.answer = lambda command: b"BAD Too long argument" if len(command) > 1000 else None
    with at(server, "imap") as (where, policy):
        assert tried(where, policy)[-1].ok


def test_a_server_that_asks_again_after_the_command_gets_the_token_once_more() -> None:
    def script(talk: Talk) -> None:
        talk.send(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] .\r\n")
        tag, rest = talk.command()
        talk.send(b"+ \r\n")
        again = talk.line()
        talk.send(tag + (b" OK" if rest == b"AUTHENTICATE XOAUTH2 " + again else b" NO") + b" .\r\n")
        talk.line()

    with at(script, "imap") as (where, policy):
        assert [step.ok for step in tried(where, policy) if step.name == "login"] == [True]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_mechanism_that_is_refused_as_such_is_followed_by_the_other(protocol: str) -> None:
    server = gmail(protocol, TOKEN)
    no = {"imap": b"NO [CANNOT] not by this", "pop3": b"-ERR unsupported\r\n", "smtp": b"504 5.5.4 no\r\n"}

    def answer(command: bytes) -> bytes | None:
        return no[protocol] if b"XOAUTH2" in command and command.startswith(b"AUTH") else None

    if isinstance(server, TokenPop3):
        server.sasl.good = set()  # scripted whole below

        def script(talk: Talk) -> None:
            talk.send(b"+OK\r\n")
            while line := talk.line():
                if line == b"CAPA":
                    talk.send(b"+OK\r\nSASL XOAUTH2 OAUTHBEARER\r\nUIDL\r\n.\r\n")
                elif line == b"AUTH XOAUTH2":
                    talk.send(no["pop3"])
                elif line == b"AUTH OAUTHBEARER":
                    talk.send(b"+ \r\n")
                    assert base64.b64decode(talk.line()).startswith(b"n,a=")
                    talk.send(b"+OK\r\n")
                else:
                    talk.send(b"+OK\r\n.\r\n")

        with at(script, protocol) as (where, policy):
            assert tried(where, policy)[-1].ok
        return
    server.answer = answer
    with at(server, protocol) as (where, policy):
        assert tried(where, policy)[-1].ok
    assert server.sasl.tokens == [TOKEN]


USERS = ["ärger@müller.example", "a,b=c@example.com", "with space@example.com", "--user", "🔑@example.com", "x",
         "x" * 1024, "'; DROP TABLE endpoint; --"]  # fmt: skip


@pytest.mark.parametrize("user", USERS, ids=lambda user: ascii(user[:12]))
@pytest.mark.parametrize("provider", ["Gmail", "RFC 7628"])
def test_every_user_arrives_as_it_is(provider: str, user: str) -> None:
    for protocol in PROTOCOLS:
        server = SERVERS[provider](protocol, TOKEN)
        with at(server, protocol, user) as (where, policy):
            assert tried(where, policy)[-1].ok
        escaped = user.replace("=", "=3D").replace(",", "=2C") if provider == "RFC 7628" else user
        assert server.sasl.users == [escaped]


# -- what never happens ----------------------------------------------------------------------


def _without_tokens(protocol: str) -> TokenServer | ImapMailbox | PopMailbox | SmtpScript:
    if protocol == "imap":
        return ImapMailbox({1: b"mail"}, capabilities=b"IMAP4rev1 AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH SASL-IR")
    if protocol == "pop3":
        return PopMailbox(capabilities=(b"USER", b"SASL PLAIN LOGIN", b"UIDL"))
    return SmtpScript(b"AUTH PLAIN LOGIN XOAUTH")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_without_a_mechanism_for_tokens_gets_none(protocol: str) -> None:
    with ScriptedServer(_without_tokens(protocol)) as server:
        where = MailServer(protocol, "localhost", server.port, "none", USER, "oauth")
        last = tried(where, Policy(frozenset({server.port}), deadline=60))[-1]
        assert (last.ok, last.name) == (False, "login")
        assert last.error is not None and last.error.reason == "no-token-login" and last.error.permanent
        assert b"AUTH" not in server.received and b"USER" not in server.received
        assert b"LOGIN" not in server.received


def test_a_pop3_server_that_reports_nothing_gets_no_token() -> None:
    server = PopMailbox(refuses={b"CAPA"})
    assert refused(server, "pop3").reason == "no-token-login"
    assert server.commands == [b"CAPA"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("provider", SERVERS)
def test_a_token_is_never_sent_as_a_password(provider: str, protocol: str) -> None:
    server = SERVERS[provider](protocol)
    refused(server, protocol)
    ways = [line.split(b" ")[:2] for line in server.commands if line.startswith((b"AUTH", b"LOGIN", b"USER"))]
    assert all(way[1] in (b"XOAUTH2", b"OAUTHBEARER") for way in ways)
    assert server.sasl.tokens == [TOKEN]  # once: the caller decides about a second try


@pytest.mark.parametrize("user", ["a\x01auth=Bearer x\x01", "a\0b", "a\r\nQUIT", "a\nb"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_user_with_control_characters_reaches_no_server(protocol: str, user: str) -> None:
    with ScriptedServer(exchange(protocol, TOKEN)) as server:
        where = MailServer(protocol, "localhost", server.port, "none", user, "oauth")
        with pytest.raises(MailError, match="username cannot be sent"):
            session(where, Policy(frozenset({server.port}), deadline=60)).__enter__()
        assert server.connections == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_token_never_leaves_this_machine_unencrypted(protocol: str) -> None:
    where = MailServer(protocol, "192.0.2.1", 993, "none", USER, "oauth")
    with pytest.raises(MailError, match="cross the network unencrypted") as caught:
        session(where, Policy(frozenset({993}), deadline=60)).__enter__()
    assert caught.value.permanent


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_token_goes_to_no_server_with_another_ones_certificate(
    certificates: Authority, protocol: str
) -> None:
    with ScriptedServer(exchange(protocol, TOKEN), certificates.wrong_name()) as server:
        where = MailServer(protocol, "localhost", server.port, "tls", USER, "oauth")
        policy = Policy(frozenset({server.port}), ca_file=certificates.ca_file, deadline=60)
        with pytest.raises(MailError, match="another name"):
            session(where, policy).__enter__()
        assert server.received == b""


def test_an_unknown_login_method_is_refused() -> None:
    where = MailServer("imap", "localhost", 993, "tls", USER, "gssapi")
    with pytest.raises(MailError, match="login method is not known"):
        session(where, Policy(frozenset({993}), deadline=60)).__enter__()


# -- refused: the sentences ------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("provider", SERVERS)
def test_a_refused_token_may_be_followed_by_a_fresh_one(provider: str, protocol: str) -> None:
    server = SERVERS[provider](protocol, "a fresh one")
    error = refused(server, protocol)
    assert (error.step, error.permanent, error.token_refused) == ("login", True, True)
    assert error.reason == "token-refused" and error.message.startswith("localhost refused the access token.")
    assert "password" not in error.message
    challenged = {"Exchange": [], "Gmail": [b""], "RFC 7628": [b"AQ=="]}
    assert server.sasl.endings == challenged[provider]


GOOGLE_ID = b" cf29mb85450632edb"
ROWS: dict[str, tuple[str, str, dict[str, object], str, str]] = {
    "5.7.139, mailbox": (
        "Exchange", "smtp",
        {"refusal": b"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. "
                    b"Visit https://aka.ms/smtp_auth_disabled for more information. [MN2PR05CA0004.namprd05]"},
        "smtp-auth-disabled", "SMTP sign-in switched off for this mailbox",
    ),
    "5.7.139, tenant": (
        "Exchange", "smtp",
        {"refusal": b"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. "
                    b"Visit https://aka.ms/smtp_auth_disabled for more information. [TY1PR01CA0183.jpnprd01]"},
        "smtp-auth-disabled-tenant", "switched off for the whole organization",
    ),
    "5.7.139, security defaults": (
        "Exchange", "smtp",
        {"refusal": b"535 5.7.139 Authentication unsuccessful, user is locked by your organization's security "
                    b"defaults policy. Contact your administrator. [BM1P287CA0015.INDP287]"},
        "sign-in-rules", "rules of the organization",
    ),
    "5.7.139, conditional access": (
        "Exchange", "smtp",
        {"refusal": b"535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be "
                    b"authenticated successfully. Contact your administrator. [LO4P123CA0387.GBRP123]"},
        "sign-in-rules", "rules of the organization",
    ),
    "Lookup failed": (
        "Gmail", "imap", {"refusal": b"NO Lookup failed" + GOOGLE_ID}, "no-mailbox", f"{USER} is no mailbox of localhost",
    ),
    "Lookup failed without a challenge": (
        "Gmail", "imap", {"refusal": b"NO Lookup failed" + GOOGLE_ID, "challenge": None},
        "no-mailbox", f"{USER} is no mailbox of localhost",
    ),
    "AUTH response line too long": (
        "Gmail", "smtp", {"refusal": b"500 5.5.2 AUTH response line too long" + GOOGLE_ID + b" - gsmtp", "challenge": None},
        "no-mailbox", f"{USER} is no mailbox of localhost",
    ),
    "token too long for POP3": (
        "Exchange", "pop3", {"refusal": b"-ERR Protocol error. Connection is closed. 10"},
        "token-too-long", "too long",
    ),
    "scope": (
        "RFC 7628", "imap",
        {"challenge": base64.b64encode(b'{"status":"insufficient_scope","scope":"mail"}')},
        "no-scope", "not for mail by this protocol",
    ),
    "IMAP switched off": (
        "Gmail", "imap", {"refusal": b"NO [ALERT] Your account is not enabled for IMAP use. Please visit", "challenge": None},
        "", "switched off for this mailbox",
    ),
    "not authorized": (
        "RFC 7628", "imap", {"refusal": b"NO [AUTHORIZATIONFAILED] no", "challenge": None},
        "not-connected", "does not let this user open the mailbox",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_a_refusal_that_another_token_would_meet_too_says_what_to_do(row: str) -> None:
    provider, protocol, said, reason, words = ROWS[row]
    server = SERVERS[provider](protocol)
    server.sasl = replace(server.sasl, **said)  # type: ignore[arg-type]
    error = refused(server, protocol)
    assert (error.reason, error.token_refused, error.permanent) == (reason, False, True)
    assert words in error.message and error.remedy
    assert "aka.ms" not in str(error) and "gsmtp" not in str(error)


@pytest.mark.parametrize(
    ("protocol", "said"),
    [("imap", b"BAD Invalid command"), ("pop3", b"-ERR syntax"), ("smtp", b"501 5.5.2 Syntax error")],
)
def test_a_token_refused_by_a_challenge_is_refused_however_the_command_ends(
    protocol: str, said: bytes
) -> None:
    server = gmail(protocol)
    server.sasl.refusal = said
    assert refused(server, protocol).token_refused and server.sasl.tokens == [TOKEN]


@pytest.mark.parametrize(
    ("user", "typed"),
    [("office@example.com", "office@example.com"), ("x; Remove-Mailbox y", "MAILBOX"), ("-Force", "MAILBOX"),
     ("$(y)@example.com", "MAILBOX"), ("ärger@example.com", "MAILBOX"), ("{0}", "MAILBOX")],
)  # fmt: skip
def test_a_command_to_be_copied_holds_nothing_that_a_shell_would_read(user: str, typed: str) -> None:
    provider, protocol, said, *_ = ROWS["5.7.139, mailbox"]
    server = SERVERS[provider](protocol)
    server.sasl = replace(server.sasl, **said)  # type: ignore[arg-type]
    remedy = refused(server, protocol, user).remedy
    assert f"Set-CASMailbox -Identity {typed} -SmtpClientAuthenticationDisabled $false" in remedy


def test_a_yandex_that_names_two_causes_may_get_a_fresh_token() -> None:
    server = exchange("imap")
    server.sasl.refusal = (
        b"NO [AUTHENTICATIONFAILED] AUTHENTICATE invalid credentials or IMAP is disabled sc=x"
    )
    assert refused(server, "imap").token_refused


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("imap", b"NO [UNAVAILABLE] Temporary authentication failure"),
        ("imap", b"NO [INUSE] later"),
        ("pop3", b"-ERR [SYS/TEMP] Temporary authentication failure"),
        ("smtp", b"454 4.7.0 Temporary authentication failure"),
        ("smtp", b"432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"),
    ],
)
def test_a_refusal_for_now_costs_no_refresh(protocol: str, said: bytes) -> None:
    server = exchange(protocol)
    server.sasl.refusal = said
    error = refused(server, protocol)
    assert (error.permanent, error.token_refused) == (False, False)


@pytest.mark.parametrize("command", [b"EXAMINE", b"UID FETCH", b"AUTHENTICATE"])
def test_not_connected_is_named_at_whatever_step_it_comes(command: bytes) -> None:
    server = exchange("imap", TOKEN)
    assert isinstance(server, TokenImap)
    no = b"BAD User is authenticated but not connected."
    server.answer = lambda line: no if line.startswith(command) else None
    error = refused(server, "imap")
    assert (error.reason, error.token_refused, error.permanent) == ("not-connected", False, False)
    assert "accepted the login, but cannot open the mailbox" in error.message


def test_not_connected_is_named_in_a_test_of_the_connection() -> None:
    server = exchange("imap", TOKEN)
    assert isinstance(server, TokenImap)
    no = b"BAD User is authenticated but not connected."
    server.answer = lambda line: no if line.startswith((b"EXAMINE", b"STATUS", b"LIST")) else None
    with at(server, "imap") as (where, policy):
        last = tried(where, policy)[-1]
    assert last.name == "folder" and last.error is not None and last.error.reason == "not-connected"


STOREDRV = (
    b"430 4.2.0 STOREDRV; mailbox logon failure; STOREDRV.Submission.Exception:ConnectionFailedTransientException."
    b"MapiExceptionLogonFailed; Failed to process message due to a transient exception with message "
    b"[BeginDiagnosticData]Cannot open mailbox. Server = XXXX281MB3300.DEUP281.PROD.OUTLOOK.COM\r\n"
)


@pytest.mark.parametrize(
    ("command", "said", "reason", "remedy"),
    [
        (b".", STOREDRV, "service-principal", "object ID of the Enterprise application"),
        (b".", b"430 4.2.0 STOREDRV\r\n", "service-principal", "object ID of the Enterprise application"),
        (
            b"MAIL", b"550 5.7.60 SMTP; Client does not have permissions to send as this sender\r\n",
            "send-as", "Grant Send As",
        ),
        (
            b".", b"554 5.2.252 SendAsDenied; a@example.com not allowed to send as b@example.com; STOREDRV."
            b"Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied\r\n",
            "send-as", "Grant Send As",
        ),
    ],
)  # fmt: skip
def test_what_exchange_says_of_a_message_is_said_in_our_words(
    command: bytes, said: bytes, reason: str, remedy: str
) -> None:
    server = exchange("smtp", TOKEN)
    assert isinstance(server, TokenSmtp)
    if command == b".":
        server.after_data = said
    else:
        server.answer = lambda line: said if line.startswith(command) else None
    message = EmailMessage()
    message["From"] = message["To"] = USER
    with at(server, "smtp") as (where, policy), pytest.raises(MailError) as caught:
        with SmtpSession(where, Secret(TOKEN), policy) as opened:
            opened.send(message, USER, [USER])
    assert (caught.value.reason, caught.value.token_refused) == (reason, False)
    assert remedy in caught.value.remedy and caught.value.permanent
    assert not any(word in str(caught.value) for word in ("XXXX281", "a@example.com", "STOREDRV"))


# -- throttled at every step -----------------------------------------------------------------

THROTTLED = b"Request is throttled. Suggested Backoff Time: 299970 milliseconds"


@pytest.mark.parametrize("command", [b"CAPABILITY", b"AUTHENTICATE", b"EXAMINE", b"UID FETCH"])
def test_exchange_is_obeyed_at_every_step_of_imap(command: bytes) -> None:
    server = exchange("imap", TOKEN)
    assert isinstance(server, TokenImap)
    server.answer = lambda line: b"BAD " + THROTTLED if line.startswith(command) else None
    error = refused(server, "imap")
    assert (error.retry_after, error.token_refused, error.permanent) == (300, False, False)
    assert server.commands[-1].startswith(command)


@pytest.mark.parametrize("verb", [b"CAPA", b"AUTH", b"UIDL", b"LIST"])
def test_exchange_is_obeyed_at_every_step_of_pop3(verb: bytes) -> None:
    server = exchange("pop3", TOKEN)
    assert isinstance(server, TokenPop3)
    if verb == b"AUTH":
        server.sasl = replace(server.sasl, good=set(), refusal=b"-ERR " + THROTTLED)
    server.says[verb] = b"-ERR " + THROTTLED + b"\r\n"
    error = refused(server, "pop3")
    assert (error.retry_after, error.token_refused) == (300, False)


@pytest.mark.parametrize("verb", [b"EHLO", b"AUTH", b"MAIL", b"RCPT", b"DATA"])
def test_exchange_is_obeyed_at_every_step_of_smtp(verb: bytes) -> None:
    server = exchange("smtp", TOKEN)
    assert isinstance(server, TokenSmtp)
    said = b"421 4.3.2 " + THROTTLED + b"\r\n"
    server.answer = lambda line: said if line.upper().startswith(verb) else None
    message = EmailMessage()
    message["From"] = message["To"] = USER
    with at(server, "smtp") as (where, policy), pytest.raises(MailError) as caught:
        with SmtpSession(where, Secret(TOKEN), policy) as opened:
            opened.send(message, USER, [USER])
    assert (caught.value.retry_after, caught.value.token_refused) == (300, False)


def test_google_is_obeyed_too() -> None:
    server = gmail("smtp")
    server.sasl.refusal = b"454 4.7.0 Too many login attempts, please try again later." + GOOGLE_ID
    assert refused(server, "smtp").retry_after == UNNAMED


# -- sessions that end by the clock ------------------------------------------------------------

ENDINGS = [
    b"* BYE Session invalidated - AccessTokenExpired",
    b"* BYE Session expired, please login again.",
    b"* BYE [ALERT] Session expired" + GOOGLE_ID,
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("command", [b"EXAMINE", b"UID FETCH 1:*", b"the message"])
def test_a_session_that_ends_with_its_token_is_no_failure(ending: bytes, command: bytes) -> None:
    server = exchange("imap", TOKEN)
    assert isinstance(server, TokenImap)
    if command == b"the message":
        server.fetched = lambda number, uid, raw, items: (
            ending + b"\r\n" if b"BODY" in items else plainly(number, uid, raw, items)
        )

    def answer(line: bytes) -> bytes | None:
        if line.startswith(command):
            server.noise = ending + b"\r\n"
        return None

    server.answer = answer
    error = refused(server, "imap")
    assert error.session_ended and not error.permanent and not error.token_refused
    assert b"LOGOUT" not in server.commands[-1]


def test_a_session_that_never_began_did_not_end_by_the_clock() -> None:
    for at_login in (b"* BYE Session invalidated - AccessTokenExpired\r\n", b""):
        server = exchange("imap")
        server.sasl.before_refusal = lambda talk, said=at_login: talk.send(said)  # type: ignore[misc]
        error = refused(server, "imap")
        assert not error.session_ended and error.token_refused


def test_a_goodbye_for_another_reason_is_a_failure() -> None:
    server = exchange("imap", TOKEN)
    assert isinstance(server, TokenImap)
    server.answer = lambda line: (
        None if not line.startswith(b"EXAMINE") else b"OK\r\n* BYE Connection closed. 14"
    )
    assert not refused(server, "imap").session_ended


def test_pop3_and_smtp_say_so_too() -> None:
    pop = exchange("pop3", TOKEN)
    assert isinstance(pop, TokenPop3)
    pop.says[b"UIDL"] = b"-ERR Session invalidated - AccessTokenExpired\r\n"
    assert refused(pop, "pop3").session_ended


# -- hostile ---------------------------------------------------------------------------------


def reflecting(form: Callable[[bytes], bytes], where: str) -> Callable[[str], TokenServer]:
    """A server that sends the token back in the challenge, or behind the refusal."""

    def made(protocol: str) -> TokenServer:
        server = gmail(protocol)
        back = form(TOKEN.encode())
        if where == "challenge":
            server.sasl.challenge = back
        else:
            server.sasl.refusal = server.sasl.refusal.splitlines()[-1] + b" " + back
        return server

    return made


REFLECTED: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda token: token,
    "its beginning": lambda token: token[:40],
    "base64": base64.b64encode,
    "the response": lambda token: base64.b64encode(
        b"user=%s\x01auth=Bearer %s\x01\x01" % (USER.encode(), token)
    ),
    "base64 in JSON in base64": lambda token: base64.b64encode(
        b'{"status":"401","x":"' + base64.b64encode(token) + b'"}'
    ),
    "as the status": lambda token: base64.b64encode(b'{"status":"%s"}' % token[5:40].replace(b"-", b"_")),
}


@pytest.mark.parametrize("where", ["challenge", "refusal"])
@pytest.mark.parametrize("form", REFLECTED)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_token_that_comes_back_is_shown_to_nobody(protocol: str, form: str, where: str) -> None:
    server = reflecting(REFLECTED[form], where)(protocol)
    error = refused(server, protocol)
    assert error.step == "login"
    with at(reflecting(REFLECTED[form], where)(protocol), protocol) as (endpoint, policy):
        last = tried(endpoint, policy)[-1]
    assert TOKEN[5:20] not in f"{last.message} {last.remedy}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "challenge",
    [b"not base64!", b"====", b"\xff\xfe\0", base64.b64encode(b"[" * 6000), b"", b"e30=", b"A" * 7000],
    ids=["no base64", "padding", "binary", "deep", "empty", "no status", "long"],
)
def test_a_challenge_of_any_kind_is_answered_and_the_refusal_read(protocol: str, challenge: bytes) -> None:
    for server in (gmail(protocol), rfc7628(protocol)):
        server.sasl.challenge = challenge
        assert refused(server, protocol).token_refused


PROMPT = {"imap": b"+ ", "pop3": b"+ ", "smtp": b"334 "}


def _challenging(protocol: str, challenges: Callable[[Talk], None]) -> Script:
    server = gmail(protocol)
    server.sasl.before_refusal = challenges
    return server


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_challenge_without_an_end_is_cut_off(protocol: str) -> None:
    def endless(talk: Talk) -> None:
        talk.send(PROMPT[protocol] + b"A" * 1_000_000 + b"\r\n")

    server = gmail(protocol)
    server.sasl.challenge = None
    server.sasl.before_refusal = endless
    error = refused(server, protocol, deadline=60)
    assert "may not be a mail server" in error.message and not error.token_refused


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_challenge_after_the_challenge_ends_it(protocol: str) -> None:
    answers: list[bytes] = []

    def more(talk: Talk) -> None:
        for _ in range(100_000):
            talk.send(PROMPT[protocol] + b"e30=\r\n")
            answers.append(talk.line())

    error = refused(_challenging(protocol, more), protocol, deadline=60)
    assert "sent an answer that is not" in error.message
    assert len(answers) <= 1 and not any(TOKEN.encode() in base64.b64decode(one) for one in answers if one)


@pytest.mark.parametrize("flood", [b"* OK still thinking\r\n", b"* 1 EXISTS\r\n", b"nonsense\r\n", b"\r\n"])
def test_a_flood_instead_of_an_answer_ends(flood: bytes) -> None:
    def script(talk: Talk) -> None:
        talk.send(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] .\r\n")
        talk.command()
        while True:
            talk.send(flood * 5000)

    with ScriptedServer(script) as server:
        where = MailServer("imap", "localhost", server.port, "none", USER, "oauth")
        policy = Policy(frozenset({server.port}), deadline=60, max_answer=1_000_000)
        with pytest.raises(MailError) as caught:
            session(where, policy).__enter__()
    assert not caught.value.token_refused and "in time" not in caught.value.message


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_hangs_up_in_the_middle_did_not_refuse_the_token(protocol: str) -> None:
    def hang_up(talk: Talk) -> None:
        raise EOFError

    server = gmail(protocol)
    server.sasl.challenge = None
    server.sasl.before_refusal = hang_up
    error = refused(server, protocol)
    assert not error.token_refused and not error.permanent and not error.session_ended


def test_a_server_that_lets_in_without_looking_is_not_believed() -> None:
    def pop(talk: Talk) -> None:
        talk.send(b"+OK\r\n")
        while line := talk.line():
            talk.send(b"+OK\r\nSASL XOAUTH2\r\n.\r\n" if line == b"CAPA" else b"+OK\r\n")

    assert "not POP3" in refused(pop, "pop3").message
    smtp_script = SmtpScript(
        b"AUTH XOAUTH2", answer=lambda c: b"235 in\r\n" if c.startswith(b"AUTH") else None
    )
    assert "not SMTP" in refused(smtp_script, "smtp").message


def test_a_relay_gives_on_no_word_that_could_repeat_the_token() -> None:
    server = exchange("smtp", TOKEN)
    assert isinstance(server, TokenSmtp)
    server.answer = lambda line: (
        b"550 5.7.1 You are " + TOKEN[:60].encode() + b"\r\n" if b"RCPT" in line else None
    )
    with at(server, "smtp") as (where, policy), SmtpRelay(where, Secret(TOKEN), policy) as relay:
        assert relay.mail(USER).ok and relay.rcpt(USER) == Reply(550, "5.7.1")
        server.answer = lambda line: None
        assert relay.rcpt(USER).ok and relay.data(io.BytesIO(b"x")).ok
