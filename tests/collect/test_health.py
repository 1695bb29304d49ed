"""How it went is noted, errors back off, and due is who should be."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from panel import db
from panel.collect import due
from panel.collect.visit import Visit
from panel.errors import MailError, SpoolError
from panel.mail.throttling import asked_to_wait
from panel.models import Account, Collection
from panel.secret import Secret
from tests.collect.conftest import PASSWORD, PostOffice, due_uuids, letter
from tests.running import free_port

MINUTE = 60


def set_endpoint(post: PostOffice, account: Account, password: str = PASSWORD, **over: object) -> None:
    endpoint = post.endpoint(account)
    for name, value in over.items():
        setattr(endpoint, name, value)
    endpoint.secret = Secret(password)
    endpoint.save()


def wait_of(post: PostOffice, account: Account) -> int:
    """Seconds until the next try after one more failure."""
    with pytest.raises(MailError):
        post.collect(account)
    return int(post.row(account).next_due_at) - db.now()


def test_a_success_is_noted_and_the_next_round_is_an_interval_away(post: PostOffice) -> None:
    account = post.add(letter(1))
    before = db.now()
    post.collect(account)
    row = post.row(account)
    assert row.problem is None and row.failures == 0
    assert row.last_success_at is not None and before <= row.last_success_at <= db.now()
    assert before + account.interval <= row.next_due_at <= db.now() + account.interval
    assert row.leased_by is None


@pytest.mark.parametrize("asked_before", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_what_is_asked_for_while_a_round_runs_is_done_by_one_that_follows(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch, asked_before: bool, fails: bool
) -> None:
    account = post.add(letter(1))
    post.collect(account)
    real, asked = Visit.run, [True]

    def run(visit: Visit) -> None:
        real(visit)
        if asked.pop():
            post.deliver(account, letter(2))  # after its search
            due.make_due(account.uuid)
        if fails:
            raise MailError("connect", "The connection broke.")

    monkeypatch.setattr(Visit, "run", run)
    if asked_before:
        due.make_due(account.uuid)
    with pytest.raises(MailError) if fails else nullcontext():
        post.collect(account)
    assert due_uuids() == [account.uuid]
    asked.append(False)
    with pytest.raises(MailError) if fails else nullcontext():
        post.collect(account)
    assert post.mail(account) == [letter(1), letter(2)]
    assert due_uuids() == [], "it was asked for once"


def test_an_error_that_may_pass_is_tried_again_after_1_2_5_15_and_60_minutes(post: PostOffice) -> None:
    closed = free_port()
    account = post.add(port=closed)
    waits = [wait_of(post.reaching(closed), account) for _ in range(6)]
    assert [round(wait / MINUTE) for wait in waits] == [1, 2, 5, 15, 60, 60]
    row = post.row(account)
    assert "refused the connection" in (row.problem or "") and row.remedy
    assert not row.permanent
    assert row.failures == 6


def test_a_refused_password_is_tried_less_often(post: PostOffice) -> None:
    account = post.add()
    set_endpoint(post, account, "wrong")
    assert round(wait_of(post, account) / MINUTE) == 15
    assert post.row(account).permanent
    assert "refused the username or password" in (post.row(account).problem or "")


@pytest.mark.parametrize(("asked", "waits"), [(7200, 7200), (86400, 86400), (5, 60)])
def test_a_server_that_wants_to_be_left_alone_is(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch, asked: int, waits: int
) -> None:
    account = post.add(letter(1))
    throttled = asked_to_wait("fetch", "imap.example.com", asked)

    def refuse(*_: object) -> None:
        raise throttled

    monkeypatch.setattr("panel.collect.transfer.Transfer.run", refuse)
    assert waits - 2 <= wait_of(post, account) <= waits
    assert due_uuids() == []
    assert "requires a pause" in (post.row(account).problem or "")


def test_a_success_clears_the_problem_and_the_first_failure_keeps_its_time(post: PostOffice) -> None:
    account = post.add(letter(1))
    post.collect(account)
    succeeded = post.row(account).last_success_at
    set_endpoint(post, account, "wrong")
    for _ in range(2):
        wait_of(post, account)
    row = post.row(account)
    assert row.failing_since is not None and row.last_success_at == succeeded
    set_endpoint(post, account)
    post.collect(account)
    row = post.row(account)
    assert (row.problem, row.remedy, row.permanent, row.failing_since, row.failures) == (
        None,
        None,
        False,
        None,
        0,
    )


def test_a_spool_that_cannot_be_written_is_named_and_nothing_is_counted_as_fetched(post: PostOffice) -> None:
    account = post.add(letter(1))
    post.settings.mail_spool.write_text("in the way")
    with pytest.raises(SpoolError):
        post.collect(account)
    assert "cannot be made" in (post.row(account).problem or "")
    post.settings.mail_spool.unlink()
    post.collect(account)
    assert post.mail(account) == [letter(1)]


def test_an_unknown_error_is_stored_too(post: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    account = post.add(letter(1))
    monkeypatch.setattr("panel.collect.transfer.Transfer.run", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        post.collect(account)
    assert "unknown error" in (post.row(account).problem or "")


# -- due ----------------------------------------------------------------------------------


def test_a_new_account_is_due(post: PostOffice) -> None:
    account = post.add()
    assert due_uuids() == [account.uuid]


def test_an_account_that_was_just_collected_is_not_due(post: PostOffice) -> None:
    account = post.add()
    post.collect(account)
    assert due_uuids() == []
    assert post.collector.collect(account.uuid) is None


def test_a_paused_account_is_not_due_and_not_collected(post: PostOffice) -> None:
    account = post.add(letter(1))
    Account.update(paused_at=db.now()).execute()
    assert due_uuids() == []
    assert post.collector.collect(account.uuid, force=True) is None
    assert not post.spool(account).exists()


def test_an_account_that_backs_off_is_due_when_its_time_has_come_or_somebody_asks(post: PostOffice) -> None:
    account = post.add()
    set_endpoint(post, account, "wrong")
    wait_of(post, account)
    assert due_uuids() == []
    due.make_due(account.uuid)
    assert due_uuids() == [account.uuid]


def test_the_longest_waiting_is_first(post: PostOffice) -> None:
    accounts = [post.add() for _ in range(3)]
    for number, account in enumerate(accounts):
        post.collect(account)
        Collection.update(next_due_at=100 - number).where(Collection.account == account).execute()
    assert due_uuids() == [account.uuid for account in reversed(accounts)]


def test_an_account_that_is_gone_is_nobodys_error(post: PostOffice) -> None:
    account = post.add()
    account.delete_instance()
    assert post.collector.collect(account.uuid) is None


@pytest.mark.parametrize("ahead", [3600, 3 * 86_400, 10 * 365 * 86_400])
@pytest.mark.parametrize("fails", [False, True])
def test_a_round_under_a_clock_that_was_ahead_keeps_no_mail_back(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch, ahead: int, fails: bool
) -> None:
    account = post.add(letter(1))
    right = db.now
    with monkeypatch.context() as wrong:
        wrong.setattr(db, "now", lambda: right() + ahead)
        if fails:
            wrong.setattr("panel.collect.transfer.Transfer.run", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                post.collector.collect(account.uuid)
        else:
            assert post.collect(account).delivered == 1
        assert due_uuids() == []
    assert due_uuids() == [account.uuid]
    post.deliver(account, letter(2))
    outcome = post.collector.collect(account.uuid)
    assert outcome and outcome.delivered == 1 + fails
    row = post.row(account)
    assert row.last_success_at is not None and row.problem is None
    assert 0 < row.next_due_at - db.now() <= account.interval
    assert due_uuids() == []
