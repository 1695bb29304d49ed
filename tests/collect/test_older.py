"""Promises of mail that was older than its mailbox: it can be collected later, once and completely."""

from __future__ import annotations

import pytest

from panel import db
from panel.collect import older
from panel.collect.lease import Lease
from panel.errors import Refused
from panel.models import Account, Collection, Skipped, Uidl
from tests.collect.conftest import PostOffice, letter

LETTERS = [letter(number) for number in range(1, 8)]
KINDS = pytest.mark.parametrize("protocol", ["imap", "pop3"])


def started(post: PostOffice, protocol: str, *before: bytes, begin: str = "now") -> Account:
    """A mailbox that held `before` when it was collected first, with all its mail older than the account."""
    more = {"protocol": "pop3", "port": post.dovecot.pop3_port} if protocol == "pop3" else {}
    account = post.add(*before, begin=begin, **more)
    post.collect(account)
    return account


@pytest.fixture
def post(post: PostOffice) -> PostOffice:
    return post.reaching(post.dovecot.tls_port, post.dovecot.pop3_port)


@KINDS
def test_a_first_round_counts_what_new_mail_only_leaves_on_the_server(
    post: PostOffice, protocol: str
) -> None:
    account = started(post, protocol, *LETTERS[:3])
    assert post.row(account).older == 3
    assert post.mail(account) == []


@KINDS
def test_older_mail_comes_later_and_nothing_comes_twice(post: PostOffice, protocol: str) -> None:
    account = started(post, protocol, *LETTERS[:3])
    post.deliver(account, *LETTERS[3:5])
    assert post.collect(account).delivered == 2
    older.collect_older(account.uuid)
    assert post.collect(account).delivered == 3
    assert post.mail(account) == LETTERS[:5]
    assert post.row(account).older is None
    post.deliver(account, *LETTERS[5:])
    assert post.collect(account).delivered == 2
    assert post.collect(account).delivered == 0
    assert post.mail(account) == LETTERS


def test_the_cursor_ends_where_it_was_so_that_later_rounds_list_nothing_again(post: PostOffice) -> None:
    account = started(post, "imap", *LETTERS[:3])
    post.deliver(account, *LETTERS[3:5])
    post.collect(account)
    before = post.row(account).last_uid
    older.collect_older(account.uuid)
    post.collect(account)
    assert post.row(account).last_uid == before


def test_a_number_of_pop3_is_not_given_to_another_message_afterwards(post: PostOffice) -> None:
    account = started(post, "pop3", *LETTERS[:2])
    post.deliver(account, *LETTERS[2:4])
    post.collect(account)
    for path in post.dovecot.maildir(post.user(account)).glob("*/*"):
        if path.parent.name in ("new", "cur") and path.read_bytes() in LETTERS[2:4]:
            path.unlink()
    post.collect(account)
    Uidl.delete().where(Uidl.gone_at.is_null(False)).execute()  # as after a month
    older.collect_older(account.uuid)
    post.deliver(account, *LETTERS[4:6])
    assert post.collect(account).delivered == 4
    assert post.mail(account) == LETTERS[:6]


def test_unread_mail_may_be_followed_by_what_was_read(post: PostOffice) -> None:
    account = started(post, "imap", *LETTERS[:2], begin="unread")
    first = len(post.mail(account))
    older.collect_older(account.uuid)
    assert post.collect(account).delivered == 2 - first
    assert post.mail(account) == LETTERS[:2]


def test_a_round_under_way_is_not_disturbed(post: PostOffice) -> None:
    account = started(post, "imap", *LETTERS[:1])
    lease = Lease(account.uuid)
    assert lease.take()
    with pytest.raises(Refused, match="at this moment"):
        older.collect_older(account.uuid)
    assert Account.get_by_id(account.uuid).begin == "now"
    lease.release()


def test_a_round_that_read_the_mailbox_just_before_collects_the_older_mail_too(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = started(post, "imap", *LETTERS[:2])
    real = Lease.look
    asked: list[Lease] = []

    def late(self: Lease) -> bool:
        if not asked:
            asked.append(self)
            older.collect_older(account.uuid)
        return real(self)

    monkeypatch.setattr(Lease, "look", late)
    assert post.collect(account).delivered == 2


def test_a_mailbox_that_was_never_opened_is_refused(post: PostOffice) -> None:
    account = post.add(*LETTERS[:1], begin="now")
    with pytest.raises(Refused, match="not collected yet"):
        older.collect_older(account.uuid)


def test_what_was_skipped_is_tried_again_when_a_person_asks(post: PostOffice) -> None:
    account = started(post, "imap", *LETTERS[:1], begin="all")
    post.deliver(account, LETTERS[1])
    row = post.row(account)
    values = {"uidvalidity": row.uidvalidity, "uid": row.last_uid + 1, "size": 1, "reason": "Too large."}
    Skipped.create(account=account, at=db.now(), **values)
    Collection.update(last_uid=row.last_uid + 1).where(Collection.account == account).execute()
    assert post.collect(account).delivered == 0
    assert older.retry_skipped(account.uuid) == 1
    assert post.collect(account).delivered == 1
    assert post.skipped(account) == []
