"""A round that finds nothing writes one row once, and still nobody collects beside another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from panel import db
from panel.collect.lease import Lease, LeaseLost
from panel.collect.visit import Visit
from panel.mail.maildir import Maildir
from panel.models import Account, Collection
from tests.collect.conftest import PostOffice, letter


def written(what: Callable[[], object]) -> tuple[int, set[str]]:
    """How many rows `what` changes, and the tables that its statements name."""
    connection, statements = db.database.connection(), list[str]()
    before = connection.total_changes
    connection.set_trace_callback(statements.append)
    what()
    connection.set_trace_callback(None)
    writing = [text for text in statements if text.startswith(("UPDATE", "INSERT", "DELETE", "REPLACE"))]
    return connection.total_changes - before, {text.split('"')[1] for text in writing}


@pytest.fixture
def quiet(post: PostOffice) -> Account:
    account = post.add(letter(1))
    post.encrypt()
    post.collect(account)
    return account


def test_a_round_without_news_writes_one_row_once(post: PostOffice, quiet: Account) -> None:
    assert written(lambda: post.collect(quiet)) == (1, {"collection"})
    assert post.row(quiet).quiet_rounds == 1


def test_a_round_that_a_person_waits_for_is_seen_while_it_runs(
    post: PostOffice, quiet: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = Visit.run
    monkeypatch.setattr(Visit, "run", lambda self: (seen.append(post.row(quiet).leased_by), real(self))[1])
    post.collect(quiet)
    Collection.update(next_due_at=0).execute()
    post.collect(quiet)
    assert [holder is not None for holder in seen] == [False, True]


def between(
    monkeypatch: pytest.MonkeyPatch, step: str, owner: type[Any], other: Callable[[], object]
) -> None:
    """Have `other` happen once, just before the first call of `step`."""
    real, left = getattr(owner, step), [other]

    def first(self: Any, *arguments: Any) -> Any:
        while left:
            left.pop()()
        return real(self, *arguments)

    monkeypatch.setattr(owner, step, first)


@pytest.mark.parametrize(
    ("step", "owner"),
    [("uids", "mailbox"), ("renew", Lease), ("_fetch", "transfer"), ("sync_tmp", Maildir)],
)
def test_of_two_rounds_side_by_side_one_delivers(
    post: PostOffice, quiet: Account, monkeypatch: pytest.MonkeyPatch, step: str, owner: Any
) -> None:
    from panel.collect.transfer import Transfer
    from panel.mail.imap import ImapSession

    owner = {"mailbox": ImapSession, "transfer": Transfer}.get(owner, owner)
    post.deliver(quiet, letter(2))
    between(monkeypatch, step, owner, lambda: post.collector.collect(quiet.uuid, force=True))
    post.collector.collect(quiet.uuid, force=True)
    assert post.mail(quiet) == [letter(1), letter(2)]
    assert not list((post.spool(quiet) / "tmp").iterdir())
    assert len(post.fetched(quiet)) == 2


def test_files_that_another_collector_is_writing_are_not_removed(
    post: PostOffice, quiet: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began after this round looked, and before this round would have cleaned up."""
    post.deliver(quiet, letter(2))
    other = Lease(quiet.uuid)
    (post.spool(quiet) / "tmp" / "theirs").write_bytes(b"half a message")

    def take() -> None:
        assert other.take()

    between(monkeypatch, "is_clean", Maildir, take)
    assert post.collector.collect(quiet.uuid, force=True) is None
    assert (post.spool(quiet) / "tmp" / "theirs").exists()


def test_what_was_read_before_another_took_the_lease_is_not_acted_on(
    post: PostOffice, quiet: Account
) -> None:
    this, other = Lease(quiet.uuid), Lease(quiet.uuid)
    assert this.look()
    assert other.take() and other.release()
    with pytest.raises(LeaseLost):
        this.renew()
    assert not this.release(problem="mine")
    assert post.row(quiet).problem is None


def test_a_transaction_that_fails_leaves_the_lease_with_its_round(post: PostOffice, quiet: Account) -> None:
    lease = Lease(quiet.uuid)
    assert lease.look()
    with pytest.raises(ZeroDivisionError), lease.transaction():
        raise ZeroDivisionError
    assert lease.is_ours() and post.row(quiet).leased_by == lease.holder
    assert lease.release()


def test_a_failure_of_a_round_that_was_overtaken_is_not_stored(
    post: PostOffice, quiet: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(self: Visit) -> None:
        other = Lease(quiet.uuid)
        assert other.take() and other.release()
        raise ZeroDivisionError

    monkeypatch.setattr(Visit, "run", overtaken)
    with pytest.raises(ZeroDivisionError):
        post.collect(quiet)
    assert post.row(quiet).problem is None
