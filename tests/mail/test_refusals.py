"""A server's no: whose fault it is, whether it is for good, and which way of logging in is tried next."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from panel.errors import MailError
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.secret import Secret
from tests.mail.conftest import PASSWORD, at, tried
from tests.servers.hostile import ScriptedServer, Talk
from tests.servers.imap import ImapMailbox

TRANSIENT = [
    b"UNAVAILABLE",
    b"INUSE",
    b"SERVERBUG",
    b"LIMIT",
    b"CONTACTADMIN",
    b"unavailable",
    b" InUse ",
    b"OVERQUOTA",
]
LASTING = [b"AUTHENTICATIONFAILED", b"AUTHORIZATIONFAILED", b"EXPIRED", b"PRIVACYREQUIRED", b"NOPERM"]
SECRET = base64.b64encode(b"\0somebody@example.com\0" + PASSWORD.encode())


def refusing(verb: bytes, status: bytes, **over: object) -> ImapMailbox:
    """A mailbox with a message in it that answers `verb` with `status`."""
    mailbox = ImapMailbox({1: b"mail"}, **over)  # type: ignore[arg-type]
    mailbox.answer = lambda command: status if command.upper().startswith(verb) else None
    return mailbox


def error_of(mailbox: Callable[[Talk], None], folder: str = "INBOX", password: str = PASSWORD) -> MailError:
    """What a round meets there."""
    with ScriptedServer(mailbox) as server, pytest.raises(MailError) as caught:
        policy = Policy(frozenset({server.port}), deadline=60)
        with ImapSession(at(server, "none"), Secret(password), folder, policy) as imap:
            list(imap.fetch(imap.uids(0)))
    return caught.value


# -- for good, or for now ----------------------------------------------------------------------


@pytest.mark.parametrize("verb", [b"AUTHENTICATE", b"EXAMINE", b"UID FETCH"])
@pytest.mark.parametrize("code", TRANSIENT)
def test_a_refusal_for_now_is_not_for_good(verb: bytes, code: bytes) -> None:
    error = error_of(refusing(verb, b"NO [%s] later, please" % code))
    assert not error.permanent
    assert "username or password" not in error.message and "There is no folder" not in error.message
    if code.strip().upper() == b"LIMIT":  # obeyed: see test_throttling
        assert error.retry_after
    else:
        assert f"Its code: {code.decode().strip().upper()}." in error.message


@pytest.mark.parametrize("verb", [b"AUTHENTICATE", b"EXAMINE"])
@pytest.mark.parametrize("code", LASTING)
def test_a_refusal_for_good_is_for_good(verb: bytes, code: bytes) -> None:
    error = error_of(refusing(verb, b"NO [%s] never" % code))
    assert error.permanent or (verb, code) == (b"EXAMINE", b"PRIVACYREQUIRED")
    assert error.step == ("login" if verb == b"AUTHENTICATE" else "folder")


@pytest.mark.parametrize(
    "words",
    [b"Temporary authentication failure", b"Server Unavailable. 15", b"Mailbox is busy", b"Too many connections",
     b"[X-WHATEVER] internal error, try again later", b"[ALERT] Too many simultaneous connections. (Failure)", b"[ALERT"],
)  # fmt: skip
def test_without_a_code_the_words_or_the_command_decide(words: bytes) -> None:
    assert not error_of(refusing(b"EXAMINE", b"NO " + words)).permanent
    assert error_of(refusing(b"AUTHENTICATE", b"NO " + words)).permanent == (words == b"[ALERT")


@pytest.mark.parametrize("code", [b"", b"[NONEXISTENT] ", b"[nonexistent]"])
def test_a_folder_that_is_not_there_is_said_to_be_missing(code: bytes) -> None:
    error = error_of(
        ImapMailbox(known=frozenset(), answer=lambda c: b"NO " + code if b"Sent" in c else None), "Sent"
    )
    assert error.permanent and error.message.startswith("There is no folder “Sent” in this mailbox.")


@pytest.mark.parametrize("status", [b"NO no such mailbox", b"BAD what?", b"BAD", b"NO"])
def test_inbox_is_never_said_to_be_missing(status: bytes) -> None:
    error = error_of(refusing(b"EXAMINE", status))
    assert "INBOX" in error.message and "cannot be opened" in error.message and not error.permanent


def test_a_folder_is_not_said_to_be_missing_by_a_server_that_lists_none() -> None:
    mailbox = ImapMailbox(answer=lambda c: b"BAD not now" if c.startswith((b"EXAMINE", b"LIST")) else None)
    error = error_of(mailbox, "Support")
    assert "There is no folder" not in error.message and not error.permanent


@pytest.mark.parametrize("verb", [b"EXAMINE", b"UID FETCH"])
def test_not_connected_is_no_missing_folder(verb: bytes) -> None:
    error = error_of(refusing(verb, b"BAD User is authenticated but not connected."))
    assert "accepted the login, but cannot open the mailbox" in error.message and not error.permanent
    assert "INBOX" not in error.message and "full access" in error.remedy


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (
            b"NO [ALERT] Application-specific password required: https://support.example/",
            "requires an app password",
        ),
        (
            b"NO [ALERT] Your account is not enabled for IMAP use. Please visit",
            "access by mail programs switched off",
        ),
        (b"NO [WEBALERT https://a.example/] Web login required.", "sign in with a web browser first"),
        (b"NO LOGIN failed. BasicAuthBlocked", "accepts no password for this mailbox"),
    ],
)
def test_an_answer_that_is_known_has_a_sentence_of_ours(status: bytes, says: str) -> None:
    error = error_of(refusing(b"AUTHENTICATE", status))
    assert says in error.message and error.permanent and "https" not in str(error)


def test_a_server_that_understands_nothing_is_not_asked_for_each_message() -> None:
    mailbox = ImapMailbox(dict.fromkeys(range(1, 500), b"mail"))
    mailbox.answer = lambda c: b"BAD Request is not for me" if b"PEEK" in c else None
    assert "refused to hand out mail" in error_of(mailbox).message
    assert sum(b"PEEK" in command for command in mailbox.commands) < 8


def test_a_refused_password_is_told_from_a_session_that_ends() -> None:
    def script(talk: Talk) -> None:
        talk.send(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n")
        tag, _ = talk.command()
        talk.send(b"* BYE Too many failures\r\n%s NO [AUTHENTICATIONFAILED] no\r\n" % tag)

    error = error_of(script)
    assert error.permanent and "refused the username or password" in error.message


# -- the way of logging in ----------------------------------------------------------------------------

ALL = b"IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=LOGIN"


def log_in(mailbox: ImapMailbox, password: str = PASSWORD) -> tuple[str, bytes]:
    """How the trial's step login went, and all that the server was sent."""
    with ScriptedServer(mailbox) as server:
        policy = Policy(frozenset({server.port}), deadline=60)
        steps = {step.name: step for step in tried(at(server, "none"), policy, password)}
        return ("ok" if steps["login"].ok else steps["login"].message), server.received


def taking(*ways: bytes, refusal: bytes = b"BAD no such command", **over: object) -> ImapMailbox:
    """Takes only these ways of logging in."""
    mailbox = ImapMailbox({1: b"mail"}, **{"capabilities": ALL, **over})  # type: ignore[arg-type]

    def answer(command: bytes) -> bytes | None:
        way = b" ".join(command.split(b" ")[:2]) if command.startswith(b"AUTHENTICATE") else command[:5]
        way += b" IR" if command.startswith(b"AUTHENTICATE PLAIN ") else b""
        is_a_way = command.startswith((b"AUTHENTICATE", b"LOGIN"))
        return refusal if is_a_way and way not in ways else None

    mailbox.answer = answer
    return mailbox


@pytest.mark.parametrize(
    "way",
    [b"AUTHENTICATE PLAIN IR", b"AUTHENTICATE PLAIN", b"AUTHENTICATE LOGIN", b"LOGIN"],
    ids=bytes.decode,
)
@pytest.mark.parametrize(
    "refusal",
    [b"BAD no such command", b"NO [CANNOT] not by this", b"NO mechanism not supported", b"BAD [CLIENTBUG] syntax",
     b"NO AUTHENTICATE PLAIN is unsupported"],
)  # fmt: skip
def test_a_refused_mechanism_is_followed_by_the_next(way: bytes, refusal: bytes) -> None:
    assert log_in(taking(way, refusal=refusal))[0] == "ok"


@pytest.mark.parametrize("refusal", [b"NO AUTHENTICATE failed.", b"NO [AUTHENTICATIONFAILED] 535", b"NO"])
def test_what_is_refused_before_the_password_was_sent_is_the_mechanism(refusal: bytes) -> None:
    mailbox = taking(b"LOGIN", refusal=refusal, capabilities=b"IMAP4rev1 AUTH=PLAIN")
    assert log_in(mailbox)[0] == "ok"


def test_an_initial_response_that_is_not_offered_is_tried_at_last() -> None:
    mailbox = taking(
        b"AUTHENTICATE PLAIN IR", refusal=b"NO 535", capabilities=b"IMAP4rev1 AUTH=PLAIN LOGINDISABLED"
    )
    assert log_in(mailbox)[0] == "ok"


def test_all_mechanisms_refused_is_no_wrong_password() -> None:
    says, received = log_in(taking(refusal=b"BAD no"))
    assert "refused each login method that it offers" in says and "username or password" not in says
    assert received.count(SECRET) == 1 and received.count(b'LOGIN "') == 1


@pytest.mark.parametrize(
    "refusal",
    [b"NO [AUTHENTICATIONFAILED] no", b"NO wrong", b"NO [EXPIRED] no", b"NO", b"BAD Invalid credentials",
     b"BAD LOGIN failed: wrong password", b"NO [UNAVAILABLE] later", b"NO Authentication mechanism: bad password",
     b"NO application-specific password required: unsupported mechanism"],
)  # fmt: skip
def test_a_refused_password_is_never_sent_again(refusal: bytes) -> None:
    says, received = log_in(taking(refusal=refusal))
    assert (
        says != "ok"
        and received.count(SECRET) == 1
        and b"LOGIN" not in received.replace(b"LOGINDISABLED", b"")
    )


@pytest.mark.parametrize(
    ("capabilities", "way"),
    [
        (b"IMAP4rev1 AUTH=LOGIN PLAIN", b"AUTHENTICATE PLAIN"),
        (b"IMAP4rev1 AUTH=PLAIN LOGIN", b"AUTHENTICATE LOGIN"),
        (b"imap4rev1 auth=plain sasl-ir", b"AUTHENTICATE PLAIN IR"),
        (b"IMAP4rev1 AUTH=CRAM-MD5,PLAIN", b"AUTHENTICATE PLAIN"),
        (b"IMAP4rev1  AUTH=XOAUTH2\tAUTH=LOGIN LOGINDISABLED", b"AUTHENTICATE LOGIN"),
        (b"IMAP4rev1", b"LOGIN"),
        (b"\xff{} AUTH= AUTH", b"LOGIN"),
        (b"", b"LOGIN"),
    ],
)
def test_offers_are_read_as_servers_write_them(capabilities: bytes, way: bytes) -> None:
    assert log_in(taking(way, refusal=b"NO [CANNOT] no", capabilities=capabilities))[0] == "ok"


def test_a_password_beyond_ascii_goes_by_sasl_login() -> None:
    mailbox = taking(b"AUTHENTICATE LOGIN", capabilities=b"IMAP4rev1 AUTH=LOGIN")
    says, received = log_in(mailbox, "pässwörd")
    assert says == "ok" and base64.b64encode("pässwörd".encode()) in received


def test_a_server_that_asks_again_after_an_initial_response_gets_it() -> None:
    def script(talk: Talk) -> None:
        talk.send(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n")
        tag, _ = talk.command()
        talk.send(b"+ \r\n")
        assert talk.line() == SECRET
        talk.send(b"+ and?\r\n")
        assert talk.line() == b"*"
        talk.send(tag + b" NO [AUTHENTICATIONFAILED] no\r\n")

    assert "refused the username or password" in error_of(script).message


# -- who we are, and what is offered later --------------------------------------------------------------


def wants_id(**over: object) -> ImapMailbox:
    """NetEase's: nothing is opened before ID."""
    mailbox = ImapMailbox({1: b"mail"}, **over)  # type: ignore[arg-type]

    def answer(command: bytes) -> bytes | None:
        known = any(one.startswith(b'ID ("name"') for one in mailbox.commands)
        return (
            b"NO Unsafe Login. Please contact kefu@188.com"
            if command[:4] in (b"EXAM", b"STAT") and not known
            else None
        )

    mailbox.answer = answer
    return mailbox


@pytest.mark.parametrize(
    "over",
    [
        {"capabilities": b"IMAP4rev1 ID AUTH=PLAIN SASL-IR"},
        {"capabilities": b"IMAP4rev1 AUTH=PLAIN SASL-IR", "later": b"IMAP4rev1 ID"},
    ],
    ids=["offered at once", "offered after login"],
)
def test_a_server_that_wants_to_know_who_we_are_is_told(over: dict[str, bytes]) -> None:
    mailbox = wants_id(**over)
    with ScriptedServer(mailbox) as server:
        policy = Policy(frozenset({server.port}), deadline=60)
        with ImapSession(at(server, "none"), Secret(PASSWORD), "INBOX", policy) as imap:
            assert imap.uids(0) == [1]
        assert tried(at(server, "none"), policy)[-1].ok
    [said] = {command for command in mailbox.commands if command.startswith(b"ID")}
    assert said == b'ID ("name" "Mailkeep" "version" "1.0" "vendor" "Mailkeep")'


def test_who_does_not_offer_id_is_not_sent_it_and_the_refusal_is_named() -> None:
    error = error_of(wants_id())
    assert "does not let mail programs open this mailbox" in error.message and error.permanent


def test_a_refused_id_ends_nothing() -> None:
    mailbox = ImapMailbox({1: b"mail"}, capabilities=b"IMAP4rev1 ID AUTH=PLAIN SASL-IR")
    mailbox.answer = lambda command: b"BAD no ID" if command.startswith(b"ID") else None
    assert log_in(mailbox)[0] == "ok"


@pytest.mark.parametrize("by_code", [True, False])
def test_what_is_offered_only_after_logging_in_is_used(by_code: bool) -> None:
    mailbox = ImapMailbox({1: b"mail"}, later=b"IMAP4rev1 UIDPLUS MOVE")
    if by_code:
        mailbox.answer = lambda c: b"OK [CAPABILITY IMAP4rev1 MOVE] in" if c.startswith(b"AUTH") else None
    with ScriptedServer(mailbox) as server:
        policy = Policy(frozenset({server.port}), deadline=60)
        with ImapSession(at(server, "none"), Secret(PASSWORD), "INBOX", policy, writable=True) as imap:
            imap.move([1], "Done")
    assert b'UID MOVE 1 "Done"' in mailbox.commands
    assert mailbox.commands.count(b"CAPABILITY") == (0 if by_code else 1)
