"""One collector an account at a time, and nobody waits for the dead."""

from __future__ import annotations

import socket
import subprocess

import pytest

from panel import db
from panel.collect import transfer
from panel.collect.lease import Lease, LeaseLost
from panel.mail.maildir import Maildir
from panel.models import Account, Collection
from panel.models.collection import LEASE_SECONDS
from tests.collect.conftest import PostOffice, due_uuids, letter


def hold(account: Account, holder: str, until: int) -> None:
    Collection.insert(account=account).on_conflict_ignore().execute()
    Collection.update(leased_by=holder, leased_until=until).where(Collection.account == account).execute()


def test_an_account_that_another_machine_collects_is_left_alone(post: PostOffice) -> None:
    account = post.add(letter(1))
    hold(account, "elsewhere:1:abc", db.now() + 100)
    assert due_uuids() == []
    assert post.collector.collect(account.uuid, force=True) is None
    assert not post.fetched(account)
    assert post.row(account).leased_by == "elsewhere:1:abc"


def test_a_lease_that_ran_out_is_taken_over(post: PostOffice) -> None:
    account = post.add(letter(1))
    hold(account, "elsewhere:1:abc", db.now() - 1)
    assert due_uuids() == [account.uuid]
    assert post.collect(account).delivered == 1
    assert post.row(account).leased_by is None


def test_the_lease_of_a_living_process_here_is_respected_and_that_of_a_dead_one_is_not(
    post: PostOffice,
) -> None:
    account = post.add(letter(1))
    with subprocess.Popen(["sleep", "60"]) as process:
        hold(account, f"{socket.gethostname()}:{process.pid}:abc", db.now() + 100)
        assert due_uuids() == []
        process.kill()
    assert due_uuids() == [account.uuid]
    assert post.collect(account).delivered == 1


def test_of_two_that_want_it_one_gets_it(post: PostOffice) -> None:
    account = post.add()
    Collection.create(account=account)
    one, other = Lease(account.uuid), Lease(account.uuid)
    assert one.take()
    assert not other.take()
    with pytest.raises(LeaseLost):
        other.renew()
    other.release()
    one.renew()
    one.release()
    assert other.take()


def test_a_lease_is_renewed_with_each_commit(post: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BATCH", 1)
    account = post.add(*[letter(number) for number in range(4)])
    seen = []
    real = Maildir.publish

    def publish(self: Maildir, names: list[str]) -> None:
        seen.append(int(post.row(account).leased_until) - db.now())
        Collection.update(leased_until=db.now() + 1).execute()
        real(self, names)

    monkeypatch.setattr(Maildir, "publish", publish)
    post.collect(account)
    assert len(seen) == 4
    assert all(left >= LEASE_SECONDS - 2 for left in seen)


def test_who_has_lost_the_lease_commits_nothing_more(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "BATCH", 2)
    account = post.add(*[letter(number) for number in range(6)])
    real, calls = Maildir.sync_tmp, []

    def sync_tmp(self: Maildir) -> None:
        real(self)
        calls.append(1)
        if len(calls) == 2:
            hold(account, "elsewhere:1:abc", db.now() + 100)

    monkeypatch.setattr(Maildir, "sync_tmp", sync_tmp)
    assert post.collector.collect(account.uuid, force=True) is None
    row = post.row(account)
    assert len(post.fetched(account)) == 2
    assert row.leased_by == "elsewhere:1:abc"
    assert row.problem is None and row.last_success_at is None


def test_an_account_removed_meanwhile_ends_its_round(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = post.add(letter(1))
    real = Maildir.sync_tmp

    def sync_tmp(self: Maildir) -> None:
        real(self)
        Account.delete().execute()

    monkeypatch.setattr(Maildir, "sync_tmp", sync_tmp)
    assert post.collector.collect(account.uuid, force=True) is None
