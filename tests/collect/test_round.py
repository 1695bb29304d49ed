"""What one round brings, what it leaves alone, and what a change of the numbers does."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from panel import db
from panel.collect import transfer
from panel.config import Settings
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.models import Account
from panel.secret import Secret
from panel.vault import credential
from tests.collect.conftest import PASSWORD, PostOffice, letter

LETTERS = [letter(number) for number in range(1, 6)]


def see(post: PostOffice, account: Account, number: int) -> None:
    """Mark the messages up to `number` as read, as a person's mail program would."""
    spool = post.dovecot.maildir(post.user(account))
    for path in sorted((spool / "new").iterdir())[:number]:
        path.rename(spool / "cur" / f"{path.name}:2,S")


def session_of(post: PostOffice, account: Account) -> ImapSession:
    opened = credential.open_for(post.endpoint(account), post.vault)
    return ImapSession(opened.server, opened.secret, account.folder, Policy.of(post.settings))


def limit(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    real = Policy.of

    def smaller(settings: Settings) -> Policy:
        return replace(real(settings), max_message=size)

    monkeypatch.setattr(Policy, "of", smaller)


# -- begin with --------------------------------------------------------------------------


def test_begin_all_brings_the_whole_mailbox(post: PostOffice) -> None:
    account = post.add(*LETTERS, begin="all")
    assert post.collect(account).delivered == 5
    assert post.mail(account) == LETTERS


def test_begin_now_brings_only_what_comes_from_now_on(post: PostOffice) -> None:
    account = post.add(*LETTERS[:3], begin="now")
    assert post.collect(account).delivered == 0
    post.deliver(account, *LETTERS[3:])
    assert post.collect(account).delivered == 2
    assert post.mail(account) == LETTERS[3:]


def test_begin_now_in_an_empty_mailbox_misses_nothing(post: PostOffice) -> None:
    account = post.add(begin="now")
    post.collect(account)
    post.deliver(account, LETTERS[0])
    assert post.collect(account).delivered == 1


def test_begin_unread_brings_the_unread_and_then_all_that_is_new(post: PostOffice) -> None:
    account = post.add(*LETTERS[:4], begin="unread")
    see(post, account, 2)
    older(post, account)
    assert post.collect(account).delivered == 2
    assert post.mail(account) == LETTERS[2:4]
    post.deliver(account, LETTERS[4])
    see(post, account, 3)
    post.collect(account)
    assert post.mail(account) == LETTERS[2:]


def older(post: PostOffice, account: Account) -> None:
    """Let the account have been made after what lies on the server by now."""
    Account.update(created_at=db.now() + 5).where(Account.uuid == account.uuid).execute()


# -- nothing twice, nothing over and over ------------------------------------------------


def test_a_second_round_brings_nothing_again(post: PostOffice) -> None:
    account = post.add(*LETTERS)
    post.collect(account)
    assert post.collect(account).delivered == 0
    assert post.mail(account) == LETTERS


def test_the_digest_is_that_of_the_message(post: PostOffice) -> None:
    account = post.add(LETTERS[0])
    post.collect(account)
    [row] = post.fetched(account)
    assert bytes(row.digest) == hashlib.sha256(LETTERS[0]).digest()
    assert (post.spool(account) / "new" / row.name).read_bytes() == LETTERS[0]


def test_mail_that_was_taken_away_does_not_return(post: PostOffice) -> None:
    account = post.add(*LETTERS)
    post.collect(account)
    for path in (post.spool(account) / "new").iterdir():
        path.unlink()
    post.collect(account)
    assert post.mail(account) == []


def test_two_messages_that_are_alike_both_come(post: PostOffice) -> None:
    account = post.add(LETTERS[0], LETTERS[0])
    post.collect(account)
    assert post.mail(account) == [LETTERS[0]] * 2


def test_nothing_on_the_server_changes(post: PostOffice) -> None:
    account = post.add(*LETTERS)
    post.collect(account)
    with session_of(post, account) as session:
        assert len(session.unseen()) == session.exists == 5
    assert not list(post.dovecot.maildir(post.user(account)).glob("cur/*:2,?*"))


def test_the_spool_is_private_and_its_names_tell_nothing_of_the_account(post: PostOffice) -> None:
    account = post.add(LETTERS[0])
    post.collect(account)
    for path in post.spool(account).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert post.user(account) not in str(path.relative_to(post.settings.mail_spool))


# -- the server numbers anew, or is another one --------------------------------------------


def test_after_new_numbers_nothing_comes_twice_and_what_is_new_comes(post: PostOffice) -> None:
    account = post.add(*LETTERS[:3])
    post.collect(account)
    post.deliver(account, LETTERS[3])
    post.dovecot.new_uidvalidity(post.user(account))
    assert post.collect(account).delivered == 1
    assert post.mail(account) == LETTERS[:4]
    assert not list((post.spool(account) / "tmp").iterdir())
    post.deliver(account, LETTERS[4])
    assert post.collect(account).delivered == 1
    assert post.mail(account) == LETTERS


def test_after_new_numbers_taken_mail_does_not_return_either(post: PostOffice) -> None:
    account = post.add(*LETTERS)
    post.collect(account)
    for path in (post.spool(account) / "new").iterdir():
        path.unlink()
    post.dovecot.new_uidvalidity(post.user(account))
    post.collect(account)
    assert post.mail(account) == []


def test_after_new_numbers_two_alike_of_which_one_is_new_are_two(post: PostOffice) -> None:
    account = post.add(LETTERS[0])
    post.collect(account)
    post.deliver(account, LETTERS[0])
    post.dovecot.new_uidvalidity(post.user(account))
    post.collect(account)
    assert post.mail(account) == [LETTERS[0]] * 2


@pytest.mark.parametrize("begin", ["now", "unread"])
def test_after_new_numbers_what_was_there_before_us_stays_out(post: PostOffice, begin: str) -> None:
    account = post.add(*LETTERS[:3], begin=begin)
    see(post, account, 3)
    for path in post.dovecot.maildir(post.user(account)).glob("cur/*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    post.collect(account)
    post.deliver(account, LETTERS[3])
    post.collect(account)
    post.deliver(account, LETTERS[4])
    post.dovecot.new_uidvalidity(post.user(account))
    post.collect(account)
    assert post.mail(account) == LETTERS[3:]


def test_another_host_with_the_same_mailbox_brings_nothing_twice(post: PostOffice) -> None:
    account = post.add(*LETTERS[:4])
    post.collect(account)
    post.deliver(account, LETTERS[4])
    endpoint = post.endpoint(account)
    endpoint.host = "127.0.0.1"
    endpoint.secret = Secret(PASSWORD)
    endpoint.save()
    assert post.collect(account).delivered == 1
    assert post.mail(account) == LETTERS


def test_new_numbers_may_change_again_halfway(post: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    account = post.add(*LETTERS)
    post.collect(account)
    post.dovecot.new_uidvalidity(post.user(account))
    monkeypatch.setattr(transfer, "RESERVE", 10_000.0)
    assert post.collect(account).more
    post.dovecot.new_uidvalidity(post.user(account))
    monkeypatch.undo()
    post.collect(account)
    assert post.mail(account) == LETTERS


# -- too large, not handed out, out of time --------------------------------------------------


def test_a_message_that_is_too_large_is_listed_and_the_others_come(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 10_000)
    large = [letter(10, b"x" * 12_000), letter(11, b"y" * 13_000)]
    account = post.add(LETTERS[0], large[0], LETTERS[1], large[1], LETTERS[2])
    post.collect(account)
    assert post.mail(account) == LETTERS[:3]
    assert [(row.uid, row.size) for row in post.skipped(account)] == [
        (2, len(large[0])),
        (4, len(large[1])),
    ]
    post.collect(account)
    assert len(post.skipped(account)) == 2


def test_a_message_that_is_listed_but_not_handed_out_is_listed_here_too(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = post.add(*LETTERS[:3])
    real = ImapSession.fetch

    def without_the_second(self: ImapSession, uids: Any) -> Iterator[tuple[int, bytes]]:
        return (one for one in real(self, uids) if one[0] != 2)

    monkeypatch.setattr(ImapSession, "fetch", without_the_second)
    post.collect(account)
    [row] = post.skipped(account)
    assert row.uid == 2
    assert "did not send it" in row.reason


def test_a_round_that_runs_out_of_time_goes_on_where_it_ended(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "RESERVE", 10_000.0)  # one message each
    account = post.add(*LETTERS[:3])
    outcome = post.collect(account)
    assert outcome.more and outcome.delivered == 1
    assert post.row(account).next_due_at <= db.now()
    post.collect(account)
    post.collect(account)
    assert post.mail(account) == LETTERS[:3]


def test_an_order_of_the_servers_own_loses_nothing(post: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    account = post.add(*LETTERS)
    real = ImapSession.fetch

    def backwards(self: ImapSession, uids: Any) -> Iterator[tuple[int, bytes]]:
        yield from sorted(real(self, uids), reverse=True)

    monkeypatch.setattr(ImapSession, "fetch", backwards)
    monkeypatch.setattr(transfer, "RESERVE", 10_000.0)
    for _ in LETTERS:
        post.collect(account)
    assert post.mail(account) == LETTERS


def test_an_id_that_sql_made_a_path_is_refused(post: PostOffice) -> None:
    account = post.add(LETTERS[0])
    post.sql("PRAGMA foreign_keys = 0")
    post.sql("UPDATE account SET uuid = '../../elsewhere' WHERE uuid = ?", account.uuid)
    post.sql("UPDATE endpoint SET account_id = '../../elsewhere'")
    with pytest.raises(Exception, match="not made by Mailkeep"):
        post.collector.collect("../../elsewhere", force=True)
    assert not (post.settings.mail_spool.parent.parent / "elsewhere").exists()
