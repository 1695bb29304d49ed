"""Mail servers that answer oddly, or lie: no mail is lost, and no account stops another."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from panel import db
from panel.accounts import service
from panel.accounts.rules import Mailbox
from panel.activity.service import Actor
from panel.errors import MailError, PanelError
from panel.models import Account, Skipped
from panel.secret import Secret
from tests.collect.conftest import PostOffice, letter
from tests.servers.certificates import Authority
from tests.servers.hostile import Script, ScriptedServer, Talk, enter, greet

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
    assert skipped.uid == 2 and "tried again" in skipped.reason and skipped.again_at
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
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert f"{good.address}: 1 new." in output, output
    assert post.mail(good) == [letter(2)]


def test_an_account_removed_while_its_server_is_slow_is_no_error(at: At) -> None:
    removed = threading.Event()

    def slow(talk: Talk) -> None:
        enter(talk)
        talk.command()
        removed.wait(20)

    post, account = at(slow)
    errors: list[Exception] = []

    def collect() -> None:
        with db.database.connection_context():
            try:
                post.collector.collect(account.uuid, anyway=True)
            except Exception as error:  # noqa: BLE001 - looked at below
                errors.append(error)

    thread = threading.Thread(target=collect)
    thread.start()
    time.sleep(1)
    service.remove(account.uuid, Actor())
    removed.set()
    thread.join()
    assert all(isinstance(error, PanelError) for error in errors), errors


def test_a_password_mended_while_the_old_one_is_being_refused_is_tried_at_once(at: At) -> None:
    mended = threading.Event()

    def refuse(talk: Talk) -> None:
        greet(talk)
        tag, _ = talk.command()
        mended.wait(20)
        talk.send(tag + b" NO [AUTHENTICATIONFAILED] wrong\r\n")

    post, account = at(refuse)

    def collect() -> None:
        with db.database.connection_context(), pytest.raises(MailError):
            post.collector.collect(account.uuid, anyway=True)

    thread = threading.Thread(target=collect)
    thread.start()
    time.sleep(1)
    service.set_password(account.uuid, Secret("the right one"), service.ANYTHING, Actor())
    mended.set()
    thread.join()
    assert post.row(account).next_due_at <= db.now() and post.row(account).problem is None


def test_keep_chosen_in_the_middle_of_a_round_is_kept_to(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    from panel.collect import after

    account = post.add(letter(1), letter(2))
    Account.update(on_server="delete").execute()
    real = after.settle

    def settle(*arguments: object) -> None:
        service.edit(account.uuid, Mailbox(account.address), None, None, service.ANYTHING, Actor())
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(after, "settle", settle)
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
    with pytest.raises(MailError, match="more than can be true"):
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
    with pytest.raises(MailError, match="hands out no mail now"):
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
