"""IMAP servers as they are: blanks, case, order and width differ, and odd lines come; mail comes all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from panel.errors import MailError
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.secret import Secret
from tests.mail.conftest import PASSWORD, at, tried
from tests.servers.hostile import ScriptedServer, Talk
from tests.servers.imap import ImapMailbox, plainly

MAIL = {5: b"five", 7: b"seven", 9: b"nine"}
Opened = Callable[[ImapMailbox], AbstractContextManager[ImapSession]]


@pytest.fixture
def opened() -> Opened:
    """The INBOX of a mailbox, on a server of this machine, without encryption: it is quicker."""

    @contextmanager
    def go(mailbox: ImapMailbox) -> Iterator[ImapSession]:
        with ScriptedServer(mailbox) as server:
            policy = Policy(frozenset({server.port}), deadline=60)
            with ImapSession(at(server, "none"), Secret(PASSWORD), "INBOX", policy) as imap:
                yield imap

    return go


# -- how a folder is told of ---------------------------------------------------------------

OPENED = {
    "two blanks": b"*  %(exists)d   EXISTS\r\n*  OK  [UIDVALIDITY   1]  .\r\n* OK [ UIDNEXT %(uidnext)d ]\r\n",
    "tabs": b"*\t%(exists)d\tEXISTS\r\n* OK\t[UIDVALIDITY\t1] .\r\n*\tOK [UIDNEXT\t%(uidnext)d]\r\n",
    "lower case": b"* %(exists)d exists\r\n* ok [uidvalidity 1] .\r\n* Ok [UidNext %(uidnext)d] .\r\n",
    "leading zeros": b"* 000%(exists)d EXISTS\r\n* OK [UIDVALIDITY 0001] .\r\n* OK [UIDNEXT 0%(uidnext)d] .\r\n",
    "another order": b"* OK [UIDNEXT %(uidnext)d] .\r\n* OK [UIDVALIDITY 1] .\r\n* %(exists)d EXISTS\r\n",
    "no EXISTS": b"* OK [UIDVALIDITY 1] .\r\n* OK [UIDNEXT %(uidnext)d] .\r\n",
    "no UIDNEXT": b"* %(exists)d EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n",
    "nothing at all": b"",
    "an EXISTS that lies": b"* 0 EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n",
    "an EXISTS beyond all measure": b"* 99999999999999999999 EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n",
    "a UIDNEXT that is too low": b"* %(exists)d EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n* OK [UIDNEXT 1] .\r\n",
    "blanks before the star": b"  * %(exists)d EXISTS\r\n * OK [UIDVALIDITY 1] .\r\n",
    "other answers between": b"* FLAGS (\\Seen)\r\n* 0 RECENT\r\n* %(exists)d EXISTS\r\n* OK [UNSEEN 1] .\r\n",
}


@pytest.mark.parametrize("how", OPENED)
@pytest.mark.parametrize("status", [True, False], ids=["with STATUS", "without STATUS"])
def test_no_mail_is_missed_however_the_folder_is_told_of(opened: Opened, how: str, status: bool) -> None:
    mailbox = ImapMailbox(MAIL, opened=OPENED[how])
    if not status:
        mailbox.status = None
    with opened(mailbox) as imap:
        assert imap.uids(0) == [5, 7, 9]
        assert imap.uids(7) == [9]
        assert dict(imap.fetch(imap.uids(0))) == MAIL


def test_an_empty_folder_is_empty_though_its_server_lists_nothing(opened: Opened) -> None:
    for searched in (lambda uids: b"* SEARCH\r\n", lambda uids: b"* search \r\n", lambda uids: b""):
        with opened(ImapMailbox({}, searched=searched)) as imap:
            assert imap.uids(0) == imap.unseen() == imap.arrived_since(0) == []


@pytest.mark.parametrize("asked", ["uids", "unseen", "arrived_since"])
def test_silence_is_never_nothing_new(opened: Opened, asked: str) -> None:
    """It tells that three messages are there, and lists none."""
    silent = ImapMailbox(MAIL, fetched=lambda *_: b"", searched=lambda _: b"")
    with opened(silent) as imap:
        with pytest.raises(MailError, match="did not report which messages"):
            getattr(imap, asked)(*[] if asked == "unseen" else [0])


@pytest.mark.parametrize("refusal", [b"NO no such messages", b"BAD invalid set", b"NO"])
def test_a_fetch_that_is_refused_is_no_end_where_search_tells(opened: Opened, refusal: bytes) -> None:
    """Some servers refuse a set of UIDs that names no message."""
    mailbox = ImapMailbox(MAIL, answer=lambda command: refusal if command.endswith(b"(UID)") else None)
    with opened(mailbox) as imap:
        assert [imap.uids(after) for after in (0, 7, 9)] == [[5, 7, 9], [9], []]


@pytest.mark.parametrize(
    "searched",
    [
        b"* SEARCH 5 seven 9\r\n",
        b"* SEARCH 5 18446744073709551616\r\n",
        b"* ESEARCH ALL 1:x\r\n",
        b"* SEARCH -1\r\n",
    ],
)
def test_a_list_that_cannot_be_read_is_an_error(opened: Opened, searched: bytes) -> None:
    mailbox = ImapMailbox(MAIL, fetched=lambda *_: b"", searched=lambda _: searched)
    with opened(mailbox) as imap, pytest.raises(MailError, match="in a readable form"):
        imap.uids(0)


SEARCHED = {
    "several lines": b"* SEARCH 5\r\n* SEARCH 7 9\r\n",
    "with MODSEQ": b"* SEARCH 5 7 9 (MODSEQ 917162500)\r\n",
    "out of order, twice": b"*  search  9 5\t7 5\r\n",
    "an empty line first": b"* SEARCH\r\n* SEARCH 5 7 9\r\n",
    "ESEARCH": b'* ESEARCH (TAG "a5") UID ALL 5,7,9\r\n',
    "ESEARCH in two lines": b'* ESEARCH (TAG "a5") UID ALL 5\r\n* esearch uid all 9,7:7\r\n',
}


@pytest.mark.parametrize("how", SEARCHED)
def test_messages_without_numbers_are_searched_for(opened: Opened, how: str) -> None:
    nameless = ImapMailbox(
        MAIL,
        fetched=lambda number, *_: b"* %d FETCH (FLAGS ())\r\n" % number,
        searched=lambda _: SEARCHED[how],
    )
    with opened(nameless) as imap:
        assert imap.uids(0) == imap.unseen() == [5, 7, 9]


# -- how a message is told of -----------------------------------------------------------------

FETCHED: dict[str, Callable[[int, int, bytes, bytes], bytes]] = {
    "blanks": lambda n, uid, raw, _: b"*  %d  FETCH  ( UID   %d  BODY[]  {%d}\r\n%s )\r\n" % (n, uid, len(raw), raw),
    "tabs": lambda n, uid, raw, _: b"*\t%d\tFETCH\t(UID\t%d\tBODY[]\t{%d}\r\n%s)\r\n" % (n, uid, len(raw), raw),
    "no blank": lambda n, uid, raw, _: b"* %d FETCH(UID %d BODY[] {%d}\r\n%s)\r\n" % (n, uid, len(raw), raw),
    "lower case": lambda n, uid, raw, _: b"* %d fetch (body[] {%d}\r\n%s uid %d)\r\n" % (n, len(raw), raw, uid),
    "literal8": lambda n, uid, raw, _: b"* %d FETCH (UID %d BODY[] ~{%d}\r\n%s)\r\n" % (n, uid, len(raw), raw),
    "quoted": lambda n, uid, raw, _: b'* %d FETCH (BODY[] "%s" UID 00%d)\r\n' % (n, raw, uid),
    "more items": lambda n, uid, raw, _: (
        b'* %d FETCH (FLAGS (\\Seen UID 1 $(x)) X ("UID 2" (NIL)) UID %d BODY[] {%d}\r\n%s MODSEQ (3))\r\n'
        % (n, uid, len(raw), raw)
    ),
    "unsolicited between": lambda n, uid, raw, items: (
        b"* 99 FETCH (FLAGS (\\Seen))\r\n* 4 EXISTS\r\n* 3 EXPUNGE\r\n" + plainly(n, uid, raw, items)
    ),
    "twice": lambda *all: plainly(*all) * 2,
    "no brackets": lambda n, uid, raw, _: b"* %d FETCH UID %d BODY[] {%d}\r\n%s\r\n" % (n, uid, len(raw), raw),
    "BODY.PEEK": lambda n, uid, raw, _: b"* %d FETCH (UID %d BODY.PEEK[] {%d}\r\n%s)\r\n" % (n, uid, len(raw), raw),
}  # fmt: skip


@pytest.mark.parametrize("how", FETCHED)
def test_a_message_is_found_however_it_is_told_of(opened: Opened, how: str) -> None:
    with opened(ImapMailbox(MAIL, fetched=FETCHED[how])) as imap:
        assert imap.uids(0) == [5, 7, 9]
        assert dict(imap.fetch([5, 7, 9])) == MAIL
        assert set(imap.sizes([5, 7, 9, 10])) == {5, 7, 9}


@pytest.mark.parametrize("uid", [2**31, 2**32 - 1, 2**32, 1_713_632_002_544, 2**62])
def test_numbers_may_be_as_wide_as_the_database_holds(opened: Opened, uid: int) -> None:
    with opened(ImapMailbox({uid: b"wide"})) as imap:
        assert imap.uids(0) == [uid] and dict(imap.fetch([uid])) == {uid: b"wide"}


@pytest.mark.parametrize("told", [b"2049394029384029384092834", b"x", b"NIL", b"-5"])
def test_a_message_without_a_number_is_an_error_never_gone(opened: Opened, told: bytes) -> None:
    mailbox = ImapMailbox(
        {5: b"five"},
        fetched=lambda n, _, raw, __: b"* %d FETCH (UID %s BODY[] {%d}\r\n%s)\r\n" % (n, told, len(raw), raw),
    )
    with opened(mailbox) as imap:
        assert imap.uids(0) == [5] and imap.sizes([5]) == {5: 0}, "SEARCH tells"
        with pytest.raises(MailError, match="did not report which message it sent"):
            dict(imap.fetch([5]))


@pytest.mark.parametrize(
    "body", [b"BODY[] NIL", b"BODY[] hello", b"BODY[] ()", b"BODY[", b"BODY[TEXT] {1}\r\nx"]
)
def test_a_message_that_does_not_come_is_not_gone(opened: Opened, body: bytes) -> None:
    mailbox = ImapMailbox(MAIL, fetched=lambda n, uid, *_: b"* %d FETCH (UID %d %s)\r\n" % (n, uid, body))
    with opened(mailbox) as imap:
        assert dict(imap.fetch([5, 7])) == {} and imap.sizes([5, 7]) == {5: 0, 7: 0}


def test_a_date_or_a_flag_that_is_not_told_leaves_no_message_out(opened: Opened) -> None:
    mailbox = ImapMailbox(
        MAIL, fetched=lambda n, uid, *_: b'* %d FETCH (UID %d INTERNALDATE "%s")\r\n' % (n, uid, b"\xff soon")
    )
    with opened(mailbox) as imap:
        assert imap.arrived_since(2**40) == imap.unseen() == [5, 7, 9]


# -- lines that answer nothing ---------------------------------------------------------------------

NOISE = {
    "a blank line": b"\r\n  \r\n",
    "not IMAP": b"hello?\r\n)\r\n",
    "a go-ahead": b"+ go ahead\r\n+\r\n",
    "another tag": b"a999 OK done\r\nA1 NO what?\r\n",
    "an alert in 8 bits": b"* OK [ALERT] Wartung um f\xfcnf \xff\xfe\x00\r\n* NO disk nearly full\r\n",
    "UIDVALIDITY 0": b"* OK [UIDVALIDITY 0]\r\n* OK [UIDVALIDITY x\r\n* OK [\r\n* OK ]\r\n* OK\r\n",
    "a code without an end": b"* OK [CAPABILITY" + b" X" * 20_000 + b"\r\n",
    "unknown answers": b'* XWARN "a (b" {3}\r\nabc more\r\n* 5 FLIES\r\n*\r\n* \r\n* BAD your fault\r\n',
    "capabilities of no kind": b'* CAPABILITY\r\n* CAPABILITY \xff ( "\r\n',
    "a status of another folder": b"* STATUS other (MESSAGES 0)\r\n* LIST () NIL x\r\n* ENABLED\r\n* ID NIL\r\n",
}


@pytest.mark.parametrize("what", NOISE)
def test_a_line_that_answers_nothing_stops_no_mail(opened: Opened, what: str) -> None:
    mailbox = ImapMailbox(MAIL, noise=NOISE[what], opened=OPENED["another order"] + NOISE[what])
    with opened(mailbox) as imap:
        assert imap.uidvalidity == 1
        assert dict(imap.fetch(imap.uids(0))) == MAIL
        assert imap.uids(9) == []


def test_lines_that_answer_nothing_are_not_read_for_ever(opened: Opened) -> None:
    with pytest.raises(MailError, match="not IMAP"):
        with opened(ImapMailbox(MAIL, noise=b"what?\r\n" * 1001)):
            pass


def test_commands_may_be_completed_out_of_turn(opened: Opened) -> None:
    mail = {uid: b"mail %d" % uid for uid in range(1, 201)}
    waiting: list[bytes] = []

    class Turned(ImapMailbox):
        def __call__(self, talk: Talk) -> None:
            tell = talk.send

            def send(data: bytes) -> None:
                if (
                    b" OK done" in data
                    and self.commands[-1].startswith(b"UID FETCH")
                    and b"PEEK" in self.commands[-1]
                ):
                    waiting.append(data)
                    if len(waiting) == 2:
                        tell(waiting[1] + waiting[0])
                else:
                    tell(data)

            talk.send = send  # type: ignore[method-assign]
            super().__call__(talk)

    with opened(Turned(mail)) as imap:
        assert dict(imap.fetch(imap.uids(0))) == mail


@pytest.mark.parametrize("told", [b"0", b"", b"x", b"99999999999999999999999", b"-1"])
def test_a_uidvalidity_that_is_none_is_asked_for(opened: Opened, told: bytes) -> None:
    mailbox = ImapMailbox(MAIL, opened=b"* 3 EXISTS\r\n* OK [UIDVALIDITY " + told + b"]\r\n")
    mailbox.status = b"uidvalidity 0033"
    with opened(mailbox) as imap:
        assert imap.uidvalidity == 33
    mailbox.status = None
    with opened(mailbox) as imap:
        assert imap.uidvalidity == 0 and imap.uids(0) == [5, 7, 9]


@pytest.mark.parametrize("last_words", [b"* BYE that was all\r\n", b"", b"* BYE [SERVERBUG]\r\n"])
def test_how_the_server_ends_a_session_whose_work_is_done_is_no_error(
    opened: Opened, last_words: bytes
) -> None:
    class Ending(ImapMailbox):
        def __call__(self, talk: Talk) -> None:
            def answer(command: bytes) -> None:
                if b"PEEK" in command:
                    for number, (uid, raw) in enumerate(self.mail.items(), 1):
                        talk.send(plainly(number, uid, raw, command))
                    talk.send(last_words)
                    raise EOFError

            self.answer = answer
            super().__call__(talk)

    with opened(Ending(MAIL)) as imap:
        assert dict(imap.fetch([5, 7, 9])) == MAIL
        assert imap.sizes([]) == {} and imap.ended


# -- the trial ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (b"MESSAGES 3 UNSEEN 1", "holds 3 messages, 1 of them unread."),
        (b"  unseen 001\tmessages 1 ", "holds 1 message, 1 of them unread."),
        (b"UIDNEXT 5", "holds 3 messages."),
        (None, "holds 3 messages."),
    ],
)
def test_a_trial_counts_or_asks(status: bytes | None, says: str) -> None:
    with ScriptedServer(ImapMailbox(MAIL, status=status)) as server:
        last = tried(at(server, "none"), Policy(frozenset({server.port})))[-1]
    assert last.ok and says in last.message


def test_a_trial_that_cannot_count_says_so() -> None:
    with ScriptedServer(ImapMailbox(MAIL, status=None, opened=b"* OK [UIDVALIDITY 1] .\r\n")) as server:
        last = tried(at(server, "none"), Policy(frozenset({server.port})))[-1]
    assert not last.ok and "did not report how many messages" in last.message
