"""Promises of the message log: each delivery once, nothing that a sender writes stops it, none kept too long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from peewee import QueryEvent

from panel import db
from panel.errors import MailError
from panel.mail.maildir import Maildir
from panel.mail.policy import Policy
from panel.messages import record
from panel.models import Account, Collection, LoggedMessage, MailCount, MailTotal, RoundLog, Skipped
from tests.collect.conftest import PASSWORD, PostOffice, letter, post  # noqa: F401

LETTER = (
    b"From: =?utf-8?q?Am=C3=A9lie?= <amelie@example.com>\r\nSubject: =?utf-8?q?arriv=C3=A9e?=\r\n"
    b"Message-ID: <1@example.com>\r\n\r\nHello.\r\n"
)


def logged(account: Account) -> list[LoggedMessage]:
    return list(LoggedMessage.select().where(LoggedMessage.account == account).order_by(LoggedMessage.id))


def rounds(account: Account) -> list[RoundLog]:
    return list(RoundLog.select().where(RoundLog.account == account).order_by(RoundLog.id))


def counted(account: Account) -> int:
    return sum(row.delivered for row in MailCount.select().where(MailCount.account == account))


def small(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    real = Policy.of
    monkeypatch.setattr(Policy, "of", lambda settings: replace(real(settings), max_message=size))


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_delivered_message_is_logged_and_counted_once(post: PostOffice, protocol: str) -> None:
    here = post.reaching(post.dovecot.tls_port, post.dovecot.pop3_port)
    port = post.dovecot.pop3_port if protocol == "pop3" else post.dovecot.tls_port
    account = here.add(LETTER, protocol=protocol, port=port)
    begun = db.now()
    here.collect(account)
    here.collect(account)
    [row] = logged(account)
    assert (row.sender, row.sender_name, row.subject) == ("amelie@example.com", "Amélie", "arrivée")
    assert (row.message_id, row.size, row.reason, row.waiting) == ("<1@example.com>", len(LETTER), None, True)
    assert begun <= row.at <= db.now()
    assert row.fetched == here.fetched(account)[0]
    assert (here.spool(account) / "new" / row.fetched.name).exists()
    assert counted(account) == MailTotal.get().delivered == 1


def test_a_message_that_returns_under_another_number_is_not_logged_again(post: PostOffice) -> None:
    account = post.add(LETTER)
    post.collect(account)
    post.dovecot.new_uidvalidity(post.user(account))
    post.deliver(account, letter(2))
    post.collect(account)
    assert [row.subject for row in logged(account)] == ["arrivée", "2"]
    assert counted(account) == 2


def test_what_a_failing_disk_delays_is_logged_once(post: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    account = post.add(LETTER)
    monkeypatch.setattr(Maildir, "publish", lambda self, names: Maildir.write(self, "no/such/place", b""))
    with pytest.raises(Exception, match="cannot be written"):
        post.collect(account)
    monkeypatch.undo()
    post.collect(account)
    assert post.mail(account) == [LETTER]
    assert len(logged(account)) == counted(account) == 1
    assert [row.error is None for row in rounds(account)] == [False]  # the second brought nothing new


def test_with_no_days_neither_sender_nor_subject_is_written(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = replace(post, settings=replace(post.settings, message_log_days=0))
    small(monkeypatch, 10_000)
    account = off.add(LETTER, letter(2, b"x" * 12_000))
    off.collect(account)
    assert not logged(account)
    assert counted(account) == 1 and len(off.skipped(account)) == 1
    db.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    path = post.settings.database_url.removeprefix("sqlite:///")
    with open(path, "rb") as file:
        assert b"amelie@" not in file.read()


def test_a_skipped_message_is_logged_once_and_why_until_it_is_delivered(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 10_000)
    account = post.add(LETTER, letter(2, b"x" * 12_000))
    for _ in range(2):
        post.collect(account)
    first, second = logged(account)
    assert (second.reason, second.waiting, second.fetched) == (
        post.skipped(account)[0].reason, False, None,
    )  # fmt: skip
    assert (first.reason, second.size > 12_000) == (None, True)
    monkeypatch.undo()
    Skipped.update(again_at=1).execute()
    post.collect(account)
    assert [(row.subject, row.reason) for row in logged(account)] == [("arrivée", None), ("2", None)]
    assert counted(account) == 2


@pytest.mark.parametrize(
    "head",
    [
        b"Subject: " + b"x" * 2**20, b"Subject: =?utf-8?b?" + b"w7" * 50_000 + b"?=", b"From: \x00\xff\r\nSubject: \xed\xa0\x80",
        b"From:", b"X: \r\n" * 5_000, b"Subject: =?utf-7?q?+2AA-?=\r\nFrom: =?hex?q?zz?=",
    ],
)  # fmt: skip
def test_a_header_that_nobody_can_read_delays_no_mail(post: PostOffice, head: bytes) -> None:
    raw = head + b"\r\n\r\nHello.\r\n"
    account = post.add()
    (mail := post.dovecot).add_user(post.user(account), PASSWORD)
    mail.deliver(post.user(account), raw)
    assert post.collect(account).delivered == 1
    assert len(logged(account)) == counted(account) == 1


def test_a_removed_mailbox_takes_its_lines_along_but_not_the_total(post: PostOffice) -> None:
    account = post.add(LETTER)
    post.collect(account)
    account.delete_instance()
    for table in (LoggedMessage, MailCount, RoundLog):
        assert not table.select().exists()
    assert MailTotal.get().delivered == 1


# -- rounds --------------------------------------------------------------------------------


def test_rounds_with_news_are_kept_and_those_without_are_counted(post: PostOffice) -> None:
    account = post.add(letter(1), letter(2))
    post.collect(account)
    post.collect(account)
    post.collect(account)
    assert post.row(account).quiet_rounds == 2
    post.deliver(account, letter(3))
    post.collect(account)
    first, second = rounds(account)
    assert (first.found, first.delivered, first.quiet, first.error) == (2, 2, 0, None)
    assert (second.found, second.delivered, second.quiet) == (1, 1, 2)
    assert second.took > 0 and post.row(account).quiet_rounds == 0


def test_a_round_without_news_writes_one_row_when_it_ends(post: PostOffice) -> None:
    account = post.add()
    post.collect(account)
    seen: list[QueryEvent] = []
    db.database.obj.query_hooks.append(seen.append)
    try:
        post.collect(account)
    finally:
        db.database.obj.query_hooks.remove(seen.append)
    written = [event.sql for event in seen if event.sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE"))]
    (ended,) = written
    assert '"quiet_rounds"' in ended


def test_the_same_failure_again_and_again_is_one_line(post: PostOffice) -> None:
    account = post.add(letter(1))
    post.collect(account)
    post.dovecot.add_user(post.user(account), "changed")
    for _ in range(3):
        with pytest.raises(MailError):
            post.collect(account)
    good, bad = rounds(account)
    assert good.error is None and bad.times == 3 and bad.delivered == 0
    assert bad.error == post.row(account).problem
    post.dovecot.add_user(post.user(account), PASSWORD)
    post.collect(account)
    post.dovecot.add_user(post.user(account), "changed")
    with pytest.raises(MailError):
        post.collect(account)
    assert [(row.times, row.quiet) for row in rounds(account)] == [(1, 0), (3, 0), (1, 1)]


def test_a_mailbox_keeps_its_newest_rounds_only(post: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "ROUNDS", 2)
    account, other = post.add(), post.add(letter(9))
    post.collect(other)
    for number in range(4):
        post.deliver(account, letter(number))
        post.collect(account)
    assert len(rounds(account)) == 2 and len(rounds(other)) == 1
    assert Collection.get_by_id(account.uuid).quiet_rounds == 0
