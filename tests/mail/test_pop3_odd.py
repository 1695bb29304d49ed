"""POP3 servers as they are: odd blanks, missing answers, codes of every kind, ways of logging in that are not."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator

import pytest

from panel.errors import MailError
from panel.mail import pop3
from panel.mail.policy import Policy
from panel.mail.pop3 import Pop3Session, received_at
from panel.mail.server import MailServer
from panel.secret import Secret
from tests.mail.conftest import PASSWORD
from tests.servers.certificates import Authority
from tests.servers.hostile import Script, ScriptedServer, Talk
from tests.servers.pop3 import PopMailbox

MAIL = [("one", b"Subject: 1\r\n\r\nx\r\n"), ("two", b"Subject: 2\r\n\r\n.\r\n")]
Open = Callable[..., Pop3Session]


@pytest.fixture
def opened(certificates: Authority) -> Iterator[Open]:
    servers: list[ScriptedServer] = []

    def make(script: Script, password: str = PASSWORD) -> Pop3Session:
        servers.append(server := ScriptedServer(script, certificates.good()))
        policy = Policy(frozenset({server.port}), ca_file=certificates.ca_file, deadline=60, idle_timeout=120)
        return Pop3Session(
            MailServer("pop3", "localhost", server.port, "tls", "me"), Secret(password), policy
        )

    yield make
    for server in servers:
        server.stop()


def failure(session: Pop3Session) -> MailError:
    with pytest.raises(MailError) as caught, session:
        pass
    return caught.value


@pytest.mark.parametrize(
    "says",
    [
        {b"UIDL": b"+OK  2  1234\r\n1  one\r\n2\ttwo\r\n.\r\n", b"LIST": b"+ok\r\n2   17\r\n1 17  \r\n.\r\n"},
        {b"UIDL": b"+OK\t2\r\n2 two\r\n1 one\r\n.\r\n", b"LIST": b"+OK\r\n1 17 extra\r\n2 17 a b c\r\n.\r\n"},
        {b"STAT": b"+OK 0 0\r\n"},
        {b"CAPA": b"-ERR what?\r\n"},
        {b"CAPA": b"+OK\r\n.\r\n"},
        {b"CAPA": b"+Ok\r\nX\r\n\r\n\xff\xfe\r\nUIDL  \r\nSASL  PLAIN\r\nSASL LOGIN\r\nSASL\r\n.\r\n"},
        {b"CAPA": b"+OK\r\n" + b"X-" + b"y" * 60_000 + b"\r\nUIDL\r\nSASL PLAIN\r\n.\r\n"},
        {b"RETR 1": b"\r\n* hello\r\n+OK\tfollows\r\n" + b"Subject: 1\r\n\r\nx\r\n.\r\n"},
    ],
)  # fmt: skip
def test_what_is_odd_and_harmless_is_read(opened: Open, says: dict[bytes, bytes]) -> None:
    with opened(PopMailbox(mail=list(MAIL), says=says)) as box:
        assert [(one.place, one.uidl) for one in box.listed] == [(1, "one"), (2, "two")]
        assert [raw for _, raw, _ in box.fetch([1, 2])] == [raw for _, raw in MAIL]


@pytest.mark.parametrize(
    "greeting", [b"+OK\r\n", b"+ok hi\r\n", b"+OK\thi\r\n", b"+OK " + b"x" * 60_000 + b"\r\n"]
)
def test_a_greeting_is_one_however_it_is_written(opened: Open, greeting: bytes) -> None:
    with opened(PopMailbox(mail=list(MAIL), greeting=greeting)) as box:
        assert len(box.listed) == 2


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ({b"LIST": b"+OK\r\nno list\r\nat all\r\n.\r\n"}, "not POP3"),
        ({b"LIST": b"+OK\r\n1 -5\r\n2 0x10\r\n.\r\n"}, "not POP3"),
        ({b"UIDL": b"+OK\r\nnothing\r\n.\r\n"}, "not POP3"),
        ({b"UIDL": b"-ERR [SYS/TEMP] away\r\n"}, "does not list the mailbox by unique-ids"),
        ({b"LIST": b"-ERR [SYS/TEMP] away\r\n"}, "does not list the mailbox with its sizes"),
        ({b"UIDL": b"-ERR later\r\n"}, "does not list the mailbox by unique-ids"),
    ],
)
def test_a_listing_that_cannot_be_read_is_never_an_empty_mailbox(
    opened: Open, says: dict[bytes, bytes], message: str
) -> None:
    assert message in failure(opened(PopMailbox(mail=list(MAIL), says=says))).message


def test_messages_that_only_stat_tells_of_are_asked_for(opened: Open) -> None:
    silent = {b"UIDL": b"+OK\r\n.\r\n", b"LIST": b"+OK\r\n.\r\n"}
    with opened(PopMailbox(mail=list(MAIL), says=silent)) as box:
        assert [(one.place, one.named) for one in box.listed] == [(1, False), (2, False)]


@pytest.mark.parametrize(
    ("answer", "permanent", "message"),
    [
        (b"-ERR [IN-USE] locked", False, "cannot open the mailbox now"),
        (b"-ERR [in-use] locked", False, "cannot open the mailbox now"),
        (b"-ERR [LOGIN-DELAY 60] wait", False, "requires a pause of 1 minute"),
        (b"-ERR [SYS/TEMP] later", False, "cannot open the mailbox now"),
        (b"-ERR\t[SYS/PERM] broken", True, "cannot open the mailbox now"),
        (b"-ERR maildrop already locked", False, "cannot open the mailbox now"),
        (b"-ERR Service temporarily unavailable", False, "cannot open the mailbox now"),
        (b"-ERR [AUTH] wrong", True, "refused the username or password"),
        (b"-ERR Invalid login or password, try again", True, "refused the username or password"),
        (b"-ERR", True, "refused the username or password"),
        (b"-ERR [X-OTHER] no", True, "refused the username or password"),
    ],
)
@pytest.mark.parametrize("sasl", [True, False])
def test_what_is_not_the_passwords_fault_is_not_called_so(
    opened: Open, answer: bytes, permanent: bool, message: str, sasl: bool
) -> None:
    offers = (b"UIDL", b"SASL PLAIN") if sasl else (b"UIDL",)
    box = PopMailbox(mail=list(MAIL), capabilities=offers, says={b"PASS": answer + b"\r\n"})
    error = failure(opened(box))
    assert (error.step, error.permanent) == ("login", permanent)
    assert message in error.message


def ways(refused: dict[bytes, bytes], offers: bytes = b"SASL PLAIN LOGIN") -> tuple[Script, list[bytes]]:
    """A server that answers these commands so, and to all others lets in who knows the password."""
    tried: list[bytes] = []
    right = base64.b64encode(b"\0me\0" + PASSWORD.encode())

    def script(talk: Talk) -> None:
        talk.send(b"+OK\r\n")
        while True:
            line = talk.line()
            verb = line.split()[0]
            if verb in (b"AUTH", b"USER", b"PASS"):
                at_once = verb == b"AUTH" and line.count(b" ") > 1
                tried.append(b" ".join(line.split()[: 1 + (verb == b"AUTH")]) + b" =" * at_once)
            key = tried[-1] if tried and verb in (b"AUTH", b"USER", b"PASS") else verb
            if key in refused:
                talk.send(refused[key] + b"\r\n")
            elif line == b"CAPA":
                talk.send(b"+OK\r\n" + offers + b"\r\nUIDL\r\n.\r\n")
            elif line == b"AUTH PLAIN":
                talk.send(b"+ \r\n")
                talk.send(b"+OK\r\n" if talk.line() == right else b"-ERR [AUTH] no\r\n")
            elif line == b"AUTH LOGIN":
                talk.send(b"+ VXNlcm5hbWU6\r\n")
                user = talk.line()
                talk.send(b"+ UGFzc3dvcmQ6\r\n")
                given = (base64.b64decode(user), base64.b64decode(talk.line()))
                talk.send(b"+OK\r\n" if given == (b"me", PASSWORD.encode()) else b"-ERR [AUTH] no\r\n")
            elif verb in (b"UIDL", b"LIST"):
                talk.send(b"+OK\r\n.\r\n")
            else:
                talk.send(b"+OK\r\n")

    return script, tried


NO = b"-ERR Unrecognized authentication type"


@pytest.mark.parametrize(
    ("refused", "offers", "tried"),
    [
        ({}, b"SASL PLAIN LOGIN", [b"AUTH PLAIN"]),
        ({}, b"sasl  login   plain", [b"AUTH PLAIN"]),
        ({}, b"SASL LOGIN", [b"AUTH LOGIN"]),
        ({b"AUTH PLAIN": b"-ERR initial response expected"}, b"SASL PLAIN", [b"AUTH PLAIN", b"AUTH PLAIN ="]),
        ({b"AUTH PLAIN": NO, b"AUTH PLAIN =": NO}, b"SASL PLAIN LOGIN", [b"AUTH PLAIN", b"AUTH PLAIN =", b"AUTH LOGIN"]),
        (
            {b"AUTH PLAIN": NO, b"AUTH PLAIN =": NO, b"AUTH LOGIN": b"-ERR"},
            b"SASL PLAIN LOGIN",
            [b"AUTH PLAIN", b"AUTH PLAIN =", b"AUTH LOGIN", b"USER", b"PASS"],
        ),
        ({}, b"SASL CRAM-MD5 XOAUTH2", [b"USER", b"PASS"]),
        ({b"CAPA": b"-ERR", b"USER": b"-ERR unknown command"}, b"", [b"USER", b"AUTH PLAIN"]),
    ],
)  # fmt: skip
def test_a_refused_way_of_logging_in_is_no_refused_password(
    opened: Open, refused: dict[bytes, bytes], offers: bytes, tried: list[bytes]
) -> None:
    script, seen = ways(refused, offers)
    with opened(script):
        assert seen == tried


def test_a_refused_password_is_tried_by_no_other_way(opened: Open) -> None:
    script, seen = ways({})
    error = failure(opened(script, "wrong"))
    assert "refused the username or password" in error.message and error.permanent
    assert seen == [b"AUTH PLAIN"]


def test_where_each_way_is_refused_it_says_so(opened: Open) -> None:
    no = dict.fromkeys((b"AUTH PLAIN", b"AUTH PLAIN =", b"AUTH LOGIN", b"USER"), NO)
    error = failure(opened(ways(no)[0]))
    assert "refused each login method" in error.message and error.permanent
    error = failure(opened(ways(no)[0], "Grüße"))
    assert "only ASCII characters" in error.message


@pytest.mark.parametrize(
    "header",
    [
        b"Received: by \xe4\xf6;\r\n Mon, 2 Nov 2026 10:00:00 +0100\r\nSubject: x",
        b"received: by a; Mon, 2 Nov 2026 09:00:00 GMT",
    ],
)
def test_a_date_is_read_beside_8_bit(header: bytes) -> None:
    assert received_at(header + b"\r\n\r\n") == 1793610000.0


@pytest.mark.parametrize(
    "header",
    [
        b"", b"\0" * 1000, b"Received: by a", b"Received: by a; \xe4\xf6", b"Received:" + b";" * 100_000,
        b"Received: a; Mon, 2 Nov 99999999999 10:00:00 +9999", b"Received: a;" + b" (" * 100_000, b"\xff" * 10**6,
    ],
)  # fmt: skip
def test_a_date_that_cannot_be_read_is_none(header: bytes) -> None:
    begun = time.process_time()
    assert received_at(header) is None
    assert time.process_time() - begun < 5


# -- the most a server can send ---------------------------------------------------------


def listing(lines: int, line: Callable[[int], bytes]) -> bytes:
    return b"+OK\r\n" + b"".join(line(number) for number in range(1, lines + 1)) + b".\r\n"


WORST = {
    "a greeting of 100 KB": PopMailbox(greeting=b"+OK " + b"x" * 100_000 + b"\r\n"),
    "a greeting of codes": PopMailbox(greeting=b"-ERR " + b"[" * 60_000 + b"\r\n"),
    "a refusal of 60 KB of codes": PopMailbox(says={b"PASS": b"-ERR " + b" [a" * 20_000 + b"\r\n"}),
    "a refusal of 60 KB of blanks": PopMailbox(says={b"PASS": b"-ERR " + b" " * 60_000 + b"\r\n"}),
    "a name of 60 KB": PopMailbox(says={b"UIDL": b"+OK\r\n1 " + b"x " * 30_000 + b"\r\n.\r\n"}),
    "a number of 60 KB": PopMailbox(says={b"UIDL": b"+OK\r\n" + b"1" * 60_000 + b"\r\n.\r\n"}),
    "STAT of a billion": PopMailbox(
        says={b"UIDL": b"+OK\r\n.\r\n", b"LIST": b"+OK\r\n.\r\n", b"STAT": b"+OK 1000000000 1\r\n"}
    ),
    "lines that answer nothing": PopMailbox(says={b"UIDL": b"hm\r\n" * 10_000}),
}


@pytest.mark.parametrize("box", WORST.values(), ids=WORST)
def test_the_worst_is_cut_short(opened: Open, box: PopMailbox) -> None:
    begun = time.process_time()
    failure(opened(box))
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("verb", [b"UIDL", b"LIST"])
def test_more_messages_than_there_can_be_are_not_listed(
    opened: Open, monkeypatch: pytest.MonkeyPatch, verb: bytes
) -> None:
    monkeypatch.setattr(pop3, "MOST_MESSAGES", 1000)
    many = listing(1001, lambda number: b"%d %d\r\n" % (number, number))
    assert "more than a mail server can have" in failure(opened(PopMailbox(says={verb: many}))).message
