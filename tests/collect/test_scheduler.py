"""No slow mail server keeps another mailbox's mail waiting, and who gives way goes on where it stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from panel import db
from panel.collect import due, transfer
from panel.collect.control import RoundControl
from panel.collect.due import DueAccount
from panel.collect.scheduler import Limits, Scheduler
from panel.errors import PanelError
from panel.models import Account, Collection
from panel.models.prepared import Prepared, given
from tests.collect.conftest import PostOffice, due_uuids, letter
from tests.running import wait_until
from tests.servers.hostile import ScriptedServer, Talk, enter

FAST = Limits(
    login_seconds=0.4, slice_seconds=0.8, hang_seconds=0.2, yield_penalty=2.0
)  # for tests: seconds become tenths


# -- rules, with rounds that only pretend ---------------------------------------------------


class Pretended:
    """Rounds that wait until they are let go, interrupted, or asked to give way."""

    def __init__(self, limits: Limits = FAST, **over: Any) -> None:
        self.controls: dict[str, RoundControl] = {}
        self.begun: list[str] = []
        self.let_go: set[str] = set()
        self.scheduler = Scheduler(self._collect, limits, **over)

    def _collect(self, uuid: str, control: RoundControl) -> None:
        self.begun.append(uuid)
        self.controls[uuid] = control
        if uuid.startswith("good"):
            control.mailbox_open, control.result = True, "worked"
            return
        if uuid.startswith("large"):
            control.mailbox_open = control.delivered = True
        while not (
            control.interrupt.ended or uuid in self.let_go or (control.delivered and control.should_yield)
        ):
            time.sleep(0.01)
        control.result = "worked" if control.delivered or uuid in self.let_go else "failed"

    def offer(self, *waiting: DueAccount) -> None:
        self.scheduler.offer(waiting)

    def end(self) -> None:
        self.let_go |= set(self.controls)
        for control in self.controls.values():
            control.interrupt.end()
        assert self.scheduler.stop(60)


@pytest.fixture
def pretended() -> Iterator[Callable[..., Pretended]]:
    made: list[Pretended] = []

    def make(*arguments: Any, **over: Any) -> Pretended:
        made.append(Pretended(*arguments, **over))
        return made[-1]

    yield make
    for each in made:
        each.end()


def at(name: str, host: str = "", since: int = 0, *, worked: bool = False) -> DueAccount:
    return DueAccount(name, host or f"{name}.example", 993, since, worked)


def count(begun: list[str], kind: str) -> int:
    return sum(name.startswith(kind) for name in begun)


def test_servers_that_never_worked_share_half_of_the_rounds(pretended: Callable[..., Pretended]) -> None:
    rounds = pretended(Limits())
    rounds.offer(*(at(f"hung{n}") for n in range(50)), *(at(f"good{n}", worked=True) for n in range(20)))
    wait_until(lambda: count(rounds.begun, "good") == 20, "the good ones")
    wait_until(lambda: count(rounds.begun, "hung") == 32, "half of the rounds")


def test_one_server_has_eight_rounds_whatever_its_names(pretended: Callable[..., Pretended]) -> None:
    rounds = pretended(Limits(), address_of=lambda host, port: "192.0.2.1")
    rounds.offer(*(at(f"slow{n}", worked=True) for n in range(30)))
    wait_until(lambda: len(rounds.begun) == 8, "eight")
    rounds.offer(*(at(f"slow{n}", worked=True) for n in range(30)))
    time.sleep(0.2)
    assert len(rounds.begun) == 8


def test_a_server_is_slowed_when_most_of_its_rounds_fail_and_not_for_one(
    pretended: Callable[..., Pretended],
) -> None:
    rounds = pretended(replace(FAST, login_seconds=0.1, slice_seconds=0.1))
    same = partial(at, host="one.example")
    rounds.offer(*(same(f"good{n}") for n in range(3)), same("hung0"))
    wait_until(lambda: len(rounds.begun) == 4, "all")
    rounds.controls["hung0"].interrupt.end()
    wait_until(lambda: not rounds.scheduler._running, "the end")
    rounds.offer(*(same(f"wait{n}") for n in range(9)))
    wait_until(lambda: count(rounds.begun, "wait") == 8, "eight: one that hangs says nothing of the others")
    for control in list(rounds.controls.values()):
        control.interrupt.end()
    wait_until(lambda: "wait8" in rounds.controls, "the ninth")
    rounds.controls["wait8"].interrupt.end()
    wait_until(lambda: not rounds.scheduler._running, "the end")
    rounds.offer(*(same(f"again{n}") for n in range(9)))
    time.sleep(0.2)
    assert count(rounds.begun, "again") == 2


def test_who_has_delivered_gives_way_only_while_others_wait(pretended: Callable[..., Pretended]) -> None:
    rounds = pretended(replace(FAST, slice_seconds=0.2))
    same = partial(at, host="one.example", worked=True)
    large = [same(f"large{n}") for n in range(8)]
    rounds.offer(*large)
    wait_until(lambda: len(rounds.begun) == 8, "all")
    time.sleep(0.3)
    rounds.offer()
    assert not any(control.should_yield for control in rounds.controls.values())
    rounds.offer(same("good0"), *large)
    assert all(control.should_yield for control in rounds.controls.values())
    wait_until(lambda: "good0" in rounds.begun, "the one that waited")


def test_who_gave_way_comes_after_those_that_are_due(pretended: Callable[..., Pretended]) -> None:
    rounds = pretended(replace(FAST, slice_seconds=0.1, per_server=1))
    same = partial(at, host="one.example", worked=True)
    rounds.offer(same("large0"))
    wait_until(lambda: rounds.begun == ["large0"], "the large one")
    time.sleep(0.2)
    rounds.offer(same("good0", since=1))
    wait_until(lambda: not rounds.scheduler._running, "the end")
    rounds.offer(same("large0", since=1), same("good1", since=2))
    wait_until(lambda: len(rounds.begun) == 4, "all")
    assert rounds.begun == ["large0", "good0", "good1", "large0"]


def test_who_was_ended_has_twice_as_long_the_next_time(pretended: Callable[..., Pretended]) -> None:
    rounds = pretended(replace(FAST, unproven=1, login_seconds=0.2))
    took = []
    for _ in range(3):
        rounds.offer(at("hung0"))
        begun = time.monotonic()
        while not rounds.begun.count("good0"):
            rounds.offer(at("good0", since=9))
            time.sleep(0.02)
        took.append(time.monotonic() - begun)
        wait_until(lambda: not rounds.scheduler._running, "the other")
        rounds.begun.clear()
        rounds.scheduler._servers.clear()
    assert took[0] >= 0.2 and took[1] >= 0.4 and took[2] >= 0.8


def test_mail_that_is_announced_while_a_round_ends_has_another_one(
    pretended: Callable[..., Pretended],
) -> None:
    rounds = pretended()
    rounds.offer(at("slow0", worked=True))
    wait_until(lambda: rounds.begun == ["slow0"], "the round")
    for _ in range(2):
        rounds.scheduler.add(at("slow0", worked=True), again=True)
    rounds.let_go.add("slow0")
    wait_until(lambda: len(rounds.begun) == 2 and not rounds.scheduler._running, "another")
    time.sleep(0.1)
    assert rounds.begun == ["slow0"] * 2


def test_who_asks_comes_first_and_once(pretended: Callable[..., Pretended]) -> None:
    rounds = pretended(replace(FAST, per_server=1))
    same = partial(at, host="one.example", worked=True)
    rounds.offer(same("slow0"), same("good1", since=1))
    wait_until(lambda: rounds.begun == ["slow0"], "the first")
    for _ in range(3):
        rounds.scheduler.add(same("good2"))
        rounds.scheduler.add(same("slow0"))
    rounds.let_go.add("slow0")
    wait_until(lambda: len(rounds.begun) == 3, "all")
    assert rounds.begun == ["slow0", "good2", "good1"], rounds.begun


def test_an_error_in_one_round_stops_no_other() -> None:
    done = threading.Event()

    def collect(uuid: str, control: RoundControl) -> None:
        if uuid == "bad":
            raise ValueError
        done.set()

    scheduler = Scheduler(collect, replace(FAST, per_server=1))
    scheduler.offer([at("bad", "one.example"), at("good", "one.example")])
    assert done.wait(60)
    scheduler.finish()


# -- real rounds, beside servers that drip ------------------------------------------------------


def drip(talk: Talk) -> None:
    """Greet with a byte each 20 s, for ever: here, until the client hangs up."""
    talk.send(b"*")
    talk.line()


def let_in_and_drip(talk: Talk) -> None:
    enter(talk)
    talk.line()
    talk.send(b"* 1 EXISTS\r\n*")
    talk.line()


class Worker:
    """What the worker does, with a tick of 50 ms, and without waiting after errors: who hangs is always due."""

    def __init__(self, post: PostOffice, limits: Limits) -> None:
        self.collector = post.collector
        self.delivered: dict[str, list[int]] = {}
        self.scheduler = Scheduler(self._collect, limits)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick_on)

    def _collect(self, uuid: str, control: RoundControl) -> None:
        with db.database.connection_context():
            try:
                outcome = self.collector.collect(uuid, control=control)
            except PanelError:
                return
        if outcome:
            self.delivered.setdefault(uuid, []).append(outcome.delivered)

    def _tick_on(self) -> None:
        with db.database.connection_context():
            while not self._over.wait(0.05):
                Collection.update(next_due_at=2).where(Collection.problem.is_null(False)).execute()
                self.scheduler.offer(due.accounts())

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()
            self.scheduler.stop(0)
            for each in list(self.scheduler._running.values()):
                each.control.interrupt.end()
            assert self.scheduler.stop(60)


def slice_here(post: PostOffice, least: float, **over: Any) -> float:
    """The seconds of a time slice that no round of a good server needs on this machine, as busy as it is."""
    account = post.add(letter(0), **over)
    began = time.monotonic()
    post.collect(account)
    return max(least, 5 * (time.monotonic() - began))


@pytest.mark.parametrize("script", [drip, let_in_and_drip])
def test_forty_servers_that_drip_keep_no_good_mailbox_waiting(
    post: PostOffice, script: Callable[[Talk], None]
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer(script)) for _ in range(40)]
        here = post.reaching(post.dovecot.tls_port, *(server.port for server in servers))
        for server in servers:  # they are all before it, and everyone is new
            here.add(port=server.port, security="none", host="127.0.0.1")
        good = here.add(letter(0))
        Collection.create(account=good, next_due_at=1)
        seconds = slice_here(here, 1.0)
        worker = Worker(here, replace(FAST, login_seconds=seconds, slice_seconds=2 * seconds))
        with worker.running():
            for number in range(4):
                if number:
                    here.deliver(good, letter(number))
                    due.make_due(good.uuid)
                wait_until(lambda n=number: len(mail(here, good)) == n + 1, f"round {number}")
                wait_until(lambda: not here.row(good).leased_by, "its end")
            wait_until(lambda: all(one.connections for one in servers), "all of them to be tried")


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_first_collections_of_large_mailboxes_keep_no_good_mailbox_waiting_and_go_on_where_they_stopped(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(transfer, "BATCH", 5)
    monkeypatch.setattr("panel.collect.pop3.UNLOCK_SECONDS", 0)
    port = post.dovecot.tls_port if protocol == "imap" else post.dovecot.pop3_port
    post = post.reaching(port)
    seconds = slice_here(post, 1.5, protocol=protocol, port=port)
    slow_down(monkeypatch, seconds / 15)
    letters = [letter(number) for number in range(30)]
    large = [post.add(*letters, protocol=protocol, port=port) for _ in range(3)]
    good = post.add(letter(0), protocol=protocol, port=port)
    Collection.create(account=good, next_due_at=1)
    worker = Worker(post, replace(FAST, per_server=2, login_seconds=seconds, slice_seconds=seconds))
    with worker.running():
        wait_until(lambda: len(mail(post, good)) == 1, "the good one's mail")
        assert any(len(mail(post, account)) < 30 for account in large)
        wait_until(lambda: all(len(mail(post, account)) >= 30 for account in large), "all mail")
        wait_until(lambda: not any(post.row(account).problem for account in large), "the last rounds")
    for account in large:
        assert mail(post, account) == sorted(letters)
    assert any(len([n for n in worker.delivered[account.uuid] if n]) > 1 for account in large)


def mail(post: PostOffice, account: Account) -> list[bytes]:
    return post.mail(account) if (post.spool(account) / "new").exists() else []


def slow_down(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Each message takes so long to come."""
    real = transfer.Transfer._in_time

    def slowly(self: transfer.Transfer, messages: Any) -> Any:
        for message in real(self, messages):
            time.sleep(seconds)
            yield message

    monkeypatch.setattr(transfer.Transfer, "_in_time", slowly)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_round_that_gives_way_goes_on_where_it_stopped_and_delivers_nothing_twice(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(transfer, "BATCH", 5)
    slow_down(monkeypatch, 0.01)
    port = post.dovecot.tls_port if protocol == "imap" else post.dovecot.pop3_port
    post = post.reaching(port)
    letters = [letter(number) for number in range(30)]
    account = post.add(*letters, protocol=protocol, port=port)
    control = RoundControl()
    real = transfer.Transfer._deliver

    def deliver(self: transfer.Transfer, batch: Any, passed: Any) -> None:
        real(self, batch, passed)
        control.should_yield = control.delivered

    monkeypatch.setattr(transfer.Transfer, "_deliver", deliver)
    outcome = post.collector.collect(account.uuid, control=control)
    assert outcome and outcome.more and 5 <= outcome.delivered < 30
    row = post.row(account)
    assert row.problem is None and row.last_success_at is not None
    assert row.next_due_at <= db.now() + 10
    monkeypatch.setattr(transfer.Transfer, "_deliver", real)
    rest = post.collector.collect(account.uuid, force=True)
    assert rest and not rest.more and rest.delivered == 30 - outcome.delivered
    assert mail(post, account) == sorted(letters)


def test_a_round_that_cannot_give_way_because_the_server_has_stopped_is_ended_and_keeps_what_it_has(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(talk: Talk) -> None:
        enter(talk)
        tag, _ = talk.command()
        talk.send(b"* 3 EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n* OK [UIDNEXT 4] .\r\n%s OK .\r\n" % tag)
        tag, asked = talk.command()
        while b"BODY" not in asked:
            listed = b"".join(b"* %d FETCH (UID %d)\r\n" % (n, n) for n in (1, 2, 3))
            talk.send((b"* SEARCH 1 2 3\r\n" if b"SEARCH" in asked else listed) + tag + b" OK .\r\n")
            tag, asked = talk.command()
        for uid in (1, 2):
            raw = letter(uid)
            talk.send(b"* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (uid, uid, len(raw), raw))
        talk.line()

    monkeypatch.setattr(transfer, "BATCH", 1)
    with ScriptedServer(script) as server:
        here = post.reaching(server.port)
        account = here.add(port=server.port, security="none", host="127.0.0.1")
        control = RoundControl()

        def end() -> None:
            wait_until(lambda: control.delivered and len(mail(here, account)) == 2, "two messages")
            control.should_yield = True
            control.interrupt.end()

        ender = threading.Thread(target=end)
        ender.start()
        outcome = here.collector.collect(account.uuid, control=control)
        ender.join()
        assert outcome and outcome.more and outcome.delivered == 2
        assert here.row(account).problem is None and here.row(account).last_uid == 2


def test_two_workers_with_one_database_collect_each_mailbox_once(post: PostOffice) -> None:
    accounts = [post.add(letter(1), letter(2)) for _ in range(8)]
    one, other = Worker(post, FAST), Worker(post, FAST)
    with one.running(), other.running():
        wait_until(lambda: all(len(mail(post, account)) == 2 for account in accounts), "all mail")
        wait_until(lambda: all(post.row(account).last_success_at for account in accounts), "notes")
    for account in accounts:
        assert mail(post, account) == [letter(1), letter(2)]
        rounds = [*one.delivered.get(account.uuid, []), *other.delivered.get(account.uuid, [])]
        # On a busy machine a round yields and comes back.
        assert sum(rounds) == 2


def test_a_mailbox_that_announces_a_login_delay_is_not_asked_before(post: PostOffice) -> None:
    def script(talk: Talk) -> None:
        talk.send(b"+OK\r\n")
        while line := talk.line():
            said = {b"CAPA": b"+OK\r\nLOGIN-DELAY 900\r\n.\r\n", b"UIDL": b"+OK\r\n.\r\n"}
            talk.send(said.get(line.upper(), b"+OK\r\n.\r\n" if line == b"LIST" else b"+OK\r\n"))

    with ScriptedServer(script) as server:
        here = post.reaching(server.port)
        account = here.add(port=server.port, security="none", host="127.0.0.1", protocol="pop3")
        here.collect(account)
    assert 890 <= here.row(account).next_due_at - db.now() <= 900
    assert due_uuids() == []


def test_due_is_one_query_by_index_and_a_task_asks_for_its_own_row(post: PostOffice) -> None:
    sql, values, *_ = Prepared(lambda: due._known(Collection.next_due_at <= given("now")))._written
    known = [value if isinstance(value, int | str) else db.now() for value in values]
    plan = str(db.database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", known).fetchall())
    assert "collection_next_due_at" in plan and "SCAN" not in plan
    accounts = [post.add() for _ in range(3)]
    for account in accounts:
        Collection.create(account=account, next_due_at=db.now() + 30, waits=60)
    Collection.update(next_due_at=5).where(Collection.account == accounts[1]).execute()
    assert [one.uuid for one in due.accounts()] == [accounts[1].uuid]
    assert due.find(accounts[1].uuid) is not None and due.find(accounts[0].uuid) is None
