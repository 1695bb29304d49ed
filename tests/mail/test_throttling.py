"""A server that asks to be left alone is left alone: at once, and for as long as it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from panel.errors import MailError
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.mail.pop3 import Pop3Session
from panel.mail.server import MailServer
from panel.mail.throttling import LONGEST, UNNAMED, suggested
from panel.secret import Secret
from tests.mail.conftest import PASSWORD
from tests.servers.certificates import Authority
from tests.servers.hostile import Script, ScriptedServer, Talk, enter

Trusting = Callable[..., Policy]
EXCHANGE = b"Request is throttled. Suggested Backoff Time: 299970 milliseconds"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (EXCHANGE, 300),
        (b"Request is throttled. Suggested Backoff Time: 1 milliseconds", 1),
        (b"[THROTTLED] Suggested backoff time 45 sec", 45),
        (b"[THROTTLED] slow down", UNNAMED),
        (b"[LIMIT] LOGIN Rate limit hit. Please try again later", UNNAMED),
        (b"[UNAVAILABLE] Too many simultaneous connections. (Failure)", UNNAMED),
        (b"[ALERT] Account exceeded command or bandwidth limits. (Failure)", UNNAMED),
        (b"[LOGIN-DELAY] minimum time between mail checks violation", UNNAMED),
        (b"Too many login attempts, please try again later. cf29mb85450632edb - gsmtp", UNNAMED),
        (b"[LOGIN-DELAY 900] wait", 900),
        (b"[LOGIN-DELAY] Wait 10 minutes between logins", 600),
        (b"[SYS/TEMP] Server busy, retry after 2 hours", 7200),
        (b"Server is busy; try again in 90 seconds", 90),
        (b"Throttled. Backoff: 999999999999 hours", LONGEST),
        (b"Throttled. Backoff: 0 ms", 1),
        (b"[AUTHENTICATIONFAILED] Too many login failures, wait 15 minutes", 900),
    ],
)  # fmt: skip
def test_what_a_server_asks_for(said: bytes, seconds: int) -> None:
    assert suggested(said) == seconds


@pytest.mark.parametrize(
    "said",
    [
        b"[AUTHENTICATIONFAILED] Invalid credentials; try again in 3 minutes",
        b"[UNAVAILABLE] Temporary authentication failure",
        b"Server error. Please try again later",
        b"User is authenticated but not connected.",
        b"[SYS/TEMP] storage is away", b"[SYS/PERM] mailbox is gone", b"[IN-USE] locked by 10.0.0.1", b"no such folder", b"", b"\xff" * 2000,
    ],
)  # fmt: skip
def test_another_refusal_is_left_to_others(said: bytes) -> None:
    assert suggested(said) is None


def test_only_the_beginning_of_a_line_is_looked_at() -> None:
    assert suggested(b"x" * 100_000 + b" throttled") is None
    assert suggested(b"throttled, wait " + b"9" * 60_000) == LONGEST


# -- nothing more is asked in that session ---------------------------------------------------


def _throttled(server: ScriptedServer, protocol: str, policy: Policy) -> MailError:
    where = MailServer(protocol, server.host, server.port, "tls", "somebody")
    with pytest.raises(MailError) as caught:
        if protocol == "imap":
            with ImapSession(where, Secret(PASSWORD), "INBOX", policy) as session:
                session.uids(0)
        else:
            with Pop3Session(where, Secret(PASSWORD), policy) as pop:
                pop.delete([one.place for one in pop.listed])
    return caught.value


def _imap(*, greeting: bytes = b"", login: bytes = b"", opening: bytes = b"", fetch: bytes = b"") -> Script:
    """Answers with what is given at that point, and with OK to all that comes after it."""

    def script(talk: Talk) -> None:
        if greeting:
            talk.send(greeting)
            return
        talk.send(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n")
        for said, usual in (
            (login, b""), (opening, b"* 3 EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n"), (fetch, b""), (b"", b""),
        ):  # fmt: skip
            tag, _ = talk.command()
            talk.send(said.replace(b"TAG", tag) + b"\r\n" if said else usual + tag + b" OK done\r\n")
        talk.line()

    return script


IMAP = {
    "the greeting": (_imap(greeting=b"* BYE [THROTTLED] wait 30 seconds\r\n"), 30, 0),
    "a NO to the login": (_imap(login=b"TAG NO [LIMIT] wait 40 seconds"), 40, 1),
    "a BAD to the login": (_imap(login=b"TAG BAD " + EXCHANGE), 300, 1),
    "a BAD to opening": (_imap(opening=b"TAG BAD " + EXCHANGE), 300, 2),
    "a BYE to opening": (_imap(opening=b"* BYE Account exceeded command or bandwidth limits."), UNNAMED, 2),
    "an untagged BAD": (_imap(fetch=b"* BAD " + EXCHANGE), 300, 3),
    "a NO to fetching": (_imap(fetch=b"TAG NO [THROTTLED] Backoff 20 s"), 20, 3),
}


@pytest.mark.parametrize("where", IMAP)
def test_imap_asks_nothing_more(certificates: Authority, trusting: Trusting, where: str) -> None:
    script, seconds, asked = IMAP[where]
    with ScriptedServer(script, certificates.good()) as server:
        error = _throttled(server, "imap", trusting(server))
        assert (error.retry_after, error.permanent) == (seconds, False)
        assert "requires a pause" in error.message
        assert server.received.count(b"\r\n") == asked


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (b"[SYS/TEMP] busy, try again in 7 minutes", 420), (b"[SYS/TEMP] storage is away", None),
        (EXCHANGE, 300),
    ],
)  # fmt: skip
def test_pop3_asks_not_forty_times_to_delete_what_cannot_be_deleted_now(
    certificates: Authority, trusting: Trusting, said: bytes, seconds: int | None
) -> None:
    def script(talk: Talk) -> None:
        talk.send(b"+OK\r\n")
        while line := talk.line():
            if line.startswith(b"DELE"):
                talk.send(b"-ERR " + said + b"\r\n")
            elif line in (b"UIDL", b"LIST"):
                talk.send(b"+OK\r\n" + b"".join(b"%d %d\r\n" % (n, n) for n in range(1, 42)) + b".\r\n")
            else:
                talk.send(b"+OK\r\n.\r\n" if line == b"CAPA" else b"+OK\r\n")

    with ScriptedServer(script, certificates.good()) as server:
        error = _throttled(server, "pop3", trusting(server))
        assert (error.step, error.retry_after) == ("after", seconds)
        assert server.received.count(b"DELE") == 1
        assert (b"QUIT" in server.received) == (seconds is None)  # it does what was marked before


@pytest.mark.parametrize("line", [b"-ERR [LOGIN-DELAY] wait 50 seconds", b"-ERR too many connections"])
def test_a_pop3_server_may_say_so_before_anybody_logs_in(
    certificates: Authority, trusting: Trusting, line: bytes
) -> None:
    with ScriptedServer(lambda talk: talk.send(line + b"\r\n"), certificates.good()) as server:
        error = _throttled(server, "pop3", trusting(server))
        assert error.retry_after in (50, UNNAMED)
        assert server.received == b""


def test_an_ok_with_such_words_is_an_ok(certificates: Authority, trusting: Trusting) -> None:
    def script(talk: Talk) -> None:
        enter(talk)
        tag, _ = talk.command()
        talk.send(b"* 0 EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n%s OK [THROTTLED] wait 9 minutes\r\n" % tag)
        while tag:
            tag, _ = talk.command()
            talk.send(b"* SEARCH\r\n%s OK [THROTTLED] wait 9 minutes\r\n" % tag)

    with ScriptedServer(script, certificates.good()) as server:
        where = MailServer("imap", server.host, server.port, "tls", "somebody")
        with ImapSession(where, Secret(PASSWORD), "INBOX", trusting(server)) as session:
            assert session.uids(0) == []
