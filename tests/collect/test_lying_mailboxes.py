"""Mail servers that answer oddly, or lie: no mail is lost, and no account stops another."""

from __future__ import annotations

import resource
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from panel import db
from panel.accounts import removal, service
from panel.accounts.rules import Mailbox
from panel.audit import Actor
from panel.errors import MailError, PanelError
from panel.models import Account, Skipped
from panel.secret import Secret
from tests.collect.conftest import PASSWORD, PostOffice, letter
from tests.servers.certificates import Authority
from tests.servers.hostile import Script, ScriptedServer, Talk, enter, greet
from tests.servers.imap import ImapMailbox

At = Callable[..., tuple[PostOffice, Account]]


@pytest.fixture
def at(post: PostOffice, certificates: Authority) -> At:
    """An account on a server that follows a script."""

    def go(script: Script, **over: Any) -> tuple[PostOffice, Account]:
        server = ScriptedServer(script, certificates.good())
        ports, ca_file = frozenset({server.port}), certificates.ca_file
        environ = {**post.environ, "PANEL_MAIL_PORTS": str(server.port), "PANEL_MAIL_CA_FILE": str(ca_file)}
        settings = replace(post.settings, mail_ports=ports, mail_ca_file=ca_file)
        here = replace(post, settings=settings, environ=environ)
        return here, here.add(port=server.port, **over)

    return go


def opened(talk: Talk, exists: int, uidnext: int) -> None:
    enter(talk)
    tag, _ = talk.command()
    talk.send(
        b"* %d EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n* OK [UIDNEXT %d] .\r\n%s OK .\r\n"
        % (exists, uidnext, tag)
    )


def mailbox(mail: dict[int, bytes], refused: dict[int, bytes], uidnext: int) -> Script:
    """Messages by UID; asking for one of `refused` is answered with that NO, the others of the set left out."""

    def script(talk: Talk) -> None:
        opened(talk, len(mail), uidnext)
        while True:
            tag, rest = talk.command()
            asked = rest.split(b" ")[2] if rest.startswith(b"UID FETCH") else b""
            no = next((no for uid, no in refused.items() if b"BODY" in rest and covers(asked, uid)), None)
            for number, (uid, raw) in enumerate(sorted(mail.items()), 1):
                if not asked or not covers(asked, uid) or (no and uid in refused):
                    continue
                body = b" BODY[] {%d}\r\n%s" % (len(raw), raw) if b"BODY" in rest else b""
                size = b" RFC822.SIZE %d" % len(raw) if b"SIZE" in rest else b""
                if no is None or uid < min(refused):
                    talk.send(b"* %d FETCH (UID %d%s%s)\r\n" % (number, uid, size, body))
            talk.send(tag + b" " + (no or b"OK .") + b"\r\n")

    return script


def covers(asked: bytes, uid: int) -> bool:
    for part in asked.split(b","):
        first, _, last = part.partition(b":")
        if int(first) <= uid <= (2**32 if last == b"*" else int(last or first)):
            return True
    return False


def test_one_message_that_cannot_be_had_hides_no_others_and_is_tried_again(at: At) -> None:
    refused = {2: b"NO Some messages could not be FETCHed (Failure)"}
    post, account = at(mailbox({1: b"one", 2: b"two", 3: b"three"}, refused, 4))
    post.collect(account)
    assert post.mail(account) == [b"one", b"three"]
    [skipped] = post.skipped(account)
    assert skipped.uid == 2 and "tries again" in skipped.reason and skipped.again_at
    post.collect(account)
    assert len(post.mail(account)) == 2  # not before its time
    refused.clear()
    Skipped.update(again_at=db.now()).execute()
    post.collect(account)
    assert post.mail(account) == [b"one", b"three", b"two"]
    assert post.skipped(account) == []


def test_a_message_that_somebody_removed_meanwhile_loses_no_other(at: At) -> None:
    gone = {1: b"NO [EXPUNGEISSUED] Some of the requested messages no longer exist."}
    post, account = at(mailbox({1: b"gone", 2: b"hello"}, gone, 3))
    post.collect(account)
    assert post.mail(account) == [b"hello"]


def test_a_server_restored_from_its_backup_is_read_anew(at: At) -> None:
    mail = {99: b"old", 100: b"older"}
    uidnext = [101]
    post, account = at(lambda talk: mailbox(mail, {}, uidnext[0])(talk))
    post.collect(account)
    mail.clear()
    mail |= {50: b"old", 51: b"NEW"}
    uidnext[0] = 52
    assert post.collect(account).delivered == 1
    assert post.mail(account) == [b"NEW", b"old", b"older"]


def huge_size(talk: Talk) -> None:
    opened(talk, 1, 2)
    while True:
        tag, rest = talk.command()
        if b"BODY" in rest:
            talk.send(b"* 1 FETCH (UID 1 BODY[] {99999999999999999999}\r\n")
        else:
            talk.send(b"* 1 FETCH (UID 1)\r\n%s OK\r\n" % tag)


def test_a_size_beyond_all_measure_is_listed_and_ends_nothing(at: At) -> None:
    post, account = at(huge_size)
    post.collect(account)
    assert [skipped.uid for skipped in post.skipped(account)] == [1]


def test_an_error_that_nobody_expected_ends_only_its_own_account(post: PostOffice) -> None:
    bad, good = post.add(letter(1)), post.add(letter(2))
    post.sql("UPDATE account SET created_at = 'x', folder = 5 WHERE uuid = ?", bad.uuid)
    post.sql("UPDATE account SET folder = x'00ff' WHERE uuid = ?", bad.uuid)
    process = post.process("--once")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert f"{good.address}: 1 new." in output, output
    assert post.mail(good) == [letter(2)]


def test_an_account_removed_while_its_server_is_slow_is_no_error(at: At) -> None:
    asked, removed = threading.Event(), threading.Event()

    def slow(talk: Talk) -> None:
        enter(talk)
        talk.command()
        asked.set()
        removed.wait(60)

    post, account = at(slow)
    errors: list[Exception] = []

    def collect() -> None:
        with db.database.connection_context():
            try:
                post.collector.collect(account.uuid, force=True)
            except Exception as error:  # noqa: BLE001 - looked at below
                errors.append(error)

    thread = threading.Thread(target=collect)
    thread.start()
    assert asked.wait(60)
    removal.remove(account.uuid, Actor())
    removed.set()
    thread.join()
    assert all(isinstance(error, PanelError) for error in errors), errors


def test_a_password_mended_while_the_old_one_is_being_refused_is_tried_at_once(at: At) -> None:
    tried, mended = threading.Event(), threading.Event()

    def refuse(talk: Talk) -> None:
        greet(talk)
        tag, _ = talk.command()
        tried.set()
        mended.wait(60)
        talk.send(tag + b" NO [AUTHENTICATIONFAILED] wrong\r\n")

    post, account = at(refuse)

    def collect() -> None:
        with db.database.connection_context(), pytest.raises(MailError):
            post.collector.collect(account.uuid, force=True)

    thread = threading.Thread(target=collect)
    thread.start()
    assert tried.wait(60)
    service.set_password(post.vault, account.uuid, Secret("the right one"), service.Seen(), Actor())
    mended.set()
    thread.join()
    assert post.row(account).next_due_at <= db.now() and post.row(account).problem is None


def test_keep_chosen_in_the_middle_of_a_round_is_kept_to(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    from panel.collect import after

    account = post.add(letter(1), letter(2))
    Account.update(on_server="delete").execute()
    real = after.apply_pending

    def settle(*arguments: object) -> None:
        service.edit(post.vault, account.uuid, Mailbox(account.address), None, None, service.Seen(), Actor())
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(after, "apply_pending", settle)
    post.collect(account)
    box = post.dovecot.maildir(post.user(account))
    assert len([path for part in ("cur", "new") for path in (box / part).iterdir()]) == 2


def endless_uids(talk: Talk) -> None:
    opened(talk, 10, 4294967295)
    talk.command()
    for begin in range(1, 4_000_000, 20_000):
        talk.send(b"".join(b"* 1 FETCH (UID %d)\r\n" % uid for uid in range(begin, begin + 20_000)))


def test_more_messages_than_the_folder_holds_cost_no_memory(at: At) -> None:
    post, account = at(endless_uids)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MailError, match="more than a mail server can have"):
        post.collect(account)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


class Storage:
    """A POP3 server whose storage is away for a while."""

    away = True

    def __call__(self, talk: Talk) -> None:
        talk.send(b"+OK hi\r\n")
        answers = {
            b"CAPA": b"+OK\r\nUIDL\r\nSASL PLAIN\r\n.\r\n", b"UIDL": b"+OK\r\n1 aa\r\n2 bb\r\n.\r\n",
            b"LIST": b"+OK\r\n1 20\r\n2 20\r\n.\r\n", b"AUTH": b"+ \r\n",
        }  # fmt: skip
        while True:
            line = talk.line()
            if line.startswith(b"RETR"):
                talk.send(
                    b"-ERR [SYS/TEMP] storage is away\r\n"
                    if self.away
                    else b"+OK\r\nSubject: %s\r\n.\r\n" % line
                )
            else:
                talk.send(answers.get(line[:4], b"+OK\r\n"))


def test_a_storage_that_is_away_for_a_while_loses_no_mail(at: At) -> None:
    storage = Storage()
    post, account = at(storage, protocol="pop3")
    with pytest.raises(MailError, match="refused to hand out mail"):
        post.collect(account)
    assert post.row(account).problem and not post.skipped(account)
    storage.away = False
    assert post.collect(account).delivered == 2


def test_a_collector_in_the_shell_survives_a_lying_server(at: At) -> None:
    post, _ = at(huge_size)
    process = post.process()
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=6)
    process.kill()
    process.communicate()


# -- servers that do not say, or say it oddly ---------------------------------------------

UNTOLD = b"* %(exists)d EXISTS\r\n* OK [UIDVALIDITY 0] .\r\n* OK [UIDNEXT %(uidnext)d] .\r\n"


@pytest.mark.parametrize("begin", ["all", "now", "unread"])
@pytest.mark.parametrize(
    "opened",
    [
        UNTOLD,
        b"",
        b"* OK [UIDVALIDITY 7]\r\n* NO [UIDNOTSTICKY] .\r\n",
        b"* %(exists)d EXISTS\r\n* OK [UIDVALIDITY 99999999999999999999]\r\n",
    ],
)
def test_without_a_uidvalidity_nothing_is_lost_and_nothing_comes_twice(
    at: At, opened: bytes, begin: str
) -> None:
    mailbox = ImapMailbox({}, opened=opened, status=None)
    post, account = at(mailbox, begin=begin)
    assert post.collect(account).delivered == 0
    mailbox.mail |= {1: b"one", 2: b"two", 3: b"three"}
    assert post.collect(account).delivered == 3
    assert post.collect(account).delivered == 0
    mailbox.mail[4] = b"four"
    assert post.collect(account).delivered == 1
    # Numbers move up, as where they are only places: the message that has the last number is another one.
    mailbox.mail = {1: b"two", 2: b"three", 3: b"four", 4: b"five"}
    assert post.collect(account).delivered == 1
    del mailbox.mail[4]
    assert post.collect(account).delivered == 0
    mailbox.mail[4] = b"six"
    assert post.collect(account).delivered == 1
    mailbox.mail.clear()
    assert post.collect(account).delivered == 0
    mailbox.mail |= {1: b"six", 2: b"seven"}
    assert post.collect(account).delivered == 1
    assert post.mail(account) == sorted([b"one", b"two", b"three", b"four", b"five", b"six", b"seven"])
    assert post.row(account).problem is None


def test_without_a_uidvalidity_old_mail_is_not_fetched_again_in_each_round(at: At) -> None:
    mailbox = ImapMailbox({uid: b"mail %d" % uid for uid in range(1, 30)}, opened=UNTOLD, status=None)
    post, account = at(mailbox)
    post.collect(account)
    mailbox.commands.clear()
    assert post.collect(account).delivered == 0
    assert [command for command in mailbox.commands if b"PEEK" in command] == [
        b"UID FETCH 29 (UID BODY.PEEK[])"
    ]


@pytest.mark.parametrize("uidnext", [1, 2, 4_294_967_295, 2**62])
def test_a_uidnext_that_lies_hides_no_new_mail_and_brings_no_old(at: At, uidnext: int) -> None:
    old = b'* %d FETCH (UID %d INTERNALDATE "17-Jul-1996 02:44:25 -0700"'

    def fetched(number: int, uid: int, raw: bytes, items: bytes) -> bytes:
        date = b"1996" if raw.startswith(b"old") else b"2096"
        body = b" BODY[] {%d}\r\n%s" % (len(raw), raw) if b"BODY" in items else b""
        return old.replace(b"1996", date) % (number, uid) + body + b")\r\n"

    mailbox = ImapMailbox({7: b"old 1", 8: b"old 2"}, uidnext=uidnext, fetched=fetched)
    post, account = at(mailbox, begin="now")
    assert post.collect(account).delivered == 0
    mailbox.mail[9] = b"new"
    assert post.collect(account).delivered == 1
    assert post.collect(account).delivered == 0
    assert post.mail(account) == [b"new"]


@pytest.mark.parametrize(
    "opened",
    [b"*  3 EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n", b"* 3 exists\r\n* OK [UIDVALIDITY  1713632002544] .\r\n",
     b"* OK [UIDVALIDITY 1] .\r\n* OK [UIDNEXT 4] .\r\n", b"* 0 EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n"],
)  # fmt: skip
def test_a_round_is_no_success_before_the_mail_is_here(at: At, opened: bytes) -> None:
    mailbox = ImapMailbox({1: b"one", 2: b"two", 3: b"three"}, opened=opened)
    post, account = at(mailbox)
    assert post.collect(account).delivered == 3
    mailbox.mail[4] = b"four"
    assert post.collect(account).delivered == 1


def test_a_round_whose_answers_cannot_be_read_is_a_failure_with_a_name(at: At) -> None:
    mailbox = ImapMailbox(
        {1: b"one"}, fetched=lambda *_: b"* 1 FLETCH (UID 1)\r\n", searched=lambda _: b"* SERCH 1\r\n"
    )
    post, account = at(mailbox)
    with pytest.raises(MailError, match="did not report which messages the folder holds"):
        post.collect(account)
    row = post.row(account)
    assert row.last_success_at is None and "did not report" in str(row.problem) and not row.permanent


def test_a_message_whose_size_is_not_told_is_not_taken_for_gone(at: At) -> None:
    """It is not handed out, and FETCH says nothing of it: SEARCH tells that it is there."""
    mailbox = ImapMailbox({1: b"one", 2: b"two"})
    mailbox.fetched = lambda n, uid, raw, items: b"" if uid == 2 and items != b"(UID)" else (
        b"* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (n, uid, len(raw), raw)
    )  # fmt: skip
    post, account = at(mailbox)
    assert post.collect(account).delivered == 1
    [skipped] = post.skipped(account)
    assert skipped.uid == 2 and skipped.again_at


def test_numbers_of_63_bits_are_kept(at: At) -> None:
    mailbox = ImapMailbox(
        {2**63 - 3: b"one"}, opened=b"* 1 EXISTS\r\n* OK [UIDVALIDITY %d]\r\n" % (2**63 - 2)
    )
    post, account = at(mailbox)
    assert [post.collect(account).delivered for _ in range(2)] == [1, 0]
    mailbox.mail[2**63 - 2] = b"two"
    assert post.collect(account).delivered == 1


@pytest.mark.parametrize(
    ("status", "seconds"),
    [(b"NO [UNAVAILABLE] later", 60), (b"NO [SERVERBUG] oops", 60), (b"NO Internal error", 60), (b"BAD not connected", 60),
     (b"NO [NOPERM] no", 900)],
)  # fmt: skip
def test_a_refusal_for_now_is_tried_again_soon(at: At, status: bytes, seconds: int) -> None:
    mailbox = ImapMailbox(answer=lambda command: status if command.startswith(b"EXAMINE") else None)
    post, account = at(mailbox)
    with pytest.raises(MailError):
        post.collect(account)
    assert 0 <= seconds - (post.row(account).next_due_at - db.now()) <= 10


def test_names_that_a_server_makes_up_are_not_stored(at: At, caplog: pytest.LogCaptureFixture) -> None:
    made_up = PASSWORD.encode()[::-1]
    mailbox = ImapMailbox(folders=b'* LIST () "/" "%s"\r\n' % made_up, known=frozenset())
    post, account = at(mailbox)
    Account.update(folder="Support").execute()
    with pytest.raises(MailError, match="There is no folder “Support”"):
        post.collect(account)
    row = post.row(account)
    assert made_up.decode() not in f"{row.problem} {row.remedy} {caplog.text}"
