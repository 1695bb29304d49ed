"""New mail is there the moment its server announces it, whatever the server does and whatever people do."""

from __future__ import annotations

import fcntl
import gc
import ssl
import termios
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from panel import db
from panel.collect import due, parked, parking
from panel.collect.parking import Parking
from panel.collect.round import Collector
from panel.errors import MailError
from panel.health import checks
from panel.mail import connect, imap, imap_idle
from panel.mail.policy import Policy
from panel.mail.wire import RECORD
from panel.models import Account, Collection, Consent
from panel.process import holder as new_holder
from panel.secret import Secret
from tests.collect.conftest import PASSWORD, PostOffice, letter
from tests.collect.worker import Worker
from tests.running import PanelServer, wait_until
from tests.servers.hostile import ScriptedServer
from tests.servers.imap import plainly
from tests.servers.imap_idle import IdleMailbox


@pytest.fixture
def box() -> IdleMailbox:
    return IdleMailbox({1: letter(1)})


@pytest.fixture
def server(box: IdleMailbox) -> Iterator[ScriptedServer]:
    with ScriptedServer(box) as server:
        yield server


@pytest.fixture
def near(post: PostOffice, server: ScriptedServer) -> PostOffice:
    return post.reaching(post.dovecot.tls_port, server.port)


def add(post: PostOffice, server: ScriptedServer, **over: Any) -> Account:
    values = {"host": "127.0.0.1", "port": server.port, "security": "none", **over}
    return post.add(begin="all", **values)


@pytest.fixture
def account(near: PostOffice, server: ScriptedServer) -> Account:
    return add(near, server)


@pytest.fixture
def worker(near: PostOffice, account: Account) -> Iterator[Worker]:
    """Has collected `account` and parked its session."""
    with Worker(near) as worker:
        worker.parked(account)
        yield worker


# -- with a real server ------------------------------------------------------------------


def test_mail_at_a_real_server_is_here_at_once_and_nobody_signs_in_again(
    post: PostOffice, tmp_path: Path
) -> None:
    accounts = [post.add(letter(1)) for _ in range(3)]
    post.encrypt()
    running = PanelServer(post.environ, tmp_path / "server.log")
    running.start()
    try:
        wait_until(lambda: parked.connected() == 3, "open sessions")
        logins = post.dovecot.log().count("Login:")
        for each in accounts:
            post.deliver(each, letter(2))
        began = time.monotonic()
        for each in accounts:
            new = post.spool(each) / "new"
            wait_until(lambda new=new: len(list(new.iterdir())) == 2, "the message")
        assert (
            time.monotonic() - began < 30
        )  # half a second, of which Dovecot takes all; by any clock a minute
        assert post.dovecot.log().count("Login:") == logins
    finally:
        running.stop()
    assert [post.mail(each) for each in accounts] == [[letter(1), letter(2)]] * 3
    assert "Traceback" not in running.log


def test_a_session_is_used_again_before_anybody_on_the_way_forgets_it(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "RENEW_SECONDS", (1, 1))
    account = post.add(letter(1))
    with Worker(post) as worker:
        worker.parked(account)
        session = worker.parking._here[account.uuid].session
        wait_until(lambda: len(worker.rounds) >= 4, "renewals")
        worker.parked(account)
        assert worker.parking._here[account.uuid].session is session


def test_after_the_server_numbered_anew_nothing_comes_twice(post: PostOffice) -> None:
    account = post.add(letter(1))
    with Worker(post) as worker:
        worker.parked(account)
        post.deliver(account, letter(2))
        worker.arrived(account, 2)
        due.make_due(account.uuid)
        post.dovecot.new_uidvalidity(post.user(account))
        post.deliver(account, letter(3))
        worker.arrived(account, 3)
    assert post.mail(account) == [letter(1), letter(2), letter(3)]


# -- what wakes, and what does not ---------------------------------------------------------


def test_an_announcement_begins_a_round_on_the_same_session(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    box.arrive(letter(2))
    worker.arrived(account, 2)
    worker.parked(account)
    box.arrive(letter(3))
    worker.arrived(account, 3)
    assert box.logins == 1
    assert near.mail(account) == [letter(1), letter(2), letter(3)]


def test_what_is_announced_before_the_continuation_counts(
    worker: Worker, account: Account, box: IdleMailbox
) -> None:
    box.plus = box.put(letter(2)) + b"+ late\r\n"
    due.make_due(account.uuid)
    worker.arrived(account, 2)
    worker.parked(account)
    box.plus = b"* 3 EXISTS\r\n"  # and no continuation at all until DONE cannot come
    box.put(letter(3))
    due.make_due(account.uuid)
    worker.arrived(account, 3)


def test_what_is_announced_between_done_and_ok_is_collected(
    worker: Worker, account: Account, box: IdleMailbox
) -> None:
    late = [letter(3)]
    box.at_done = lambda: box.put(late.pop()) if late else b""
    box.arrive(letter(2))
    worker.arrived(account, 3)


def test_what_came_while_the_round_before_was_at_work_is_collected(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    """Its EXISTS comes with the answers to FETCH, after the search that could have found it."""
    late = [letter(3)]

    def noise(command: bytes) -> bytes | None:
        box.noise = box.put(late.pop()) if late and b"BODY.PEEK[]" in command else b""
        return None

    box.answer = noise
    box.arrive(letter(2))
    worker.arrived(account, 3)


@pytest.mark.parametrize(
    "said",
    [
        b"* 1 RECENT\r\n",
        b"* 1 FETCH (FLAGS (\\Seen))\r\n",
        b"* OK Still here\r\n",
        b"* 1 EXISTS\r\n",
        b"* FLAGS (\\Seen)\r\n",
        b"+ again\r\n",
        b"\r\n",
    ],
)
def test_nothing_but_more_messages_wakes(
    worker: Worker, account: Account, box: IdleMailbox, said: bytes
) -> None:
    rounds = len(worker.rounds)
    box.say(said * 3)
    time.sleep(0.5)
    assert len(worker.rounds) == rounds
    box.arrive(letter(2))
    worker.arrived(account, 2)


def test_removed_messages_wake_nobody_and_one_that_comes_for_them_does(
    worker: Worker, account: Account, box: IdleMailbox
) -> None:
    box.arrive(letter(2))
    worker.arrived(account, 2)
    worker.parked(account)
    rounds = len(worker.rounds)
    del box.mail[1]
    box.say(b"* 1 EXPUNGE\r\n* 1 EXISTS\r\n")
    time.sleep(0.5)
    assert len(worker.rounds) == rounds
    del box.mail[2]
    box.mail[3] = letter(3)
    box.say(b"* 1 EXPUNGE\r\n* 1 EXISTS\r\n")  # as many as before
    worker.arrived(account, 3)


def test_a_count_that_shrinks_without_a_word_is_the_new_count(
    worker: Worker, account: Account, box: IdleMailbox
) -> None:
    box.arrive(letter(2))
    worker.arrived(account, 2)
    worker.parked(account)
    box.mail = {3: letter(3)}
    box.say(b"* 0 EXISTS\r\n* 1 EXISTS\r\n")
    worker.arrived(account, 3)


def test_a_server_that_announces_what_is_not_there_is_asked_less_and_less(
    worker: Worker, account: Account, box: IdleMailbox
) -> None:
    began, one = time.monotonic(), worker.parking._here[account.uuid]
    wait_until(lambda: (box.say(b"* 99 EXISTS\r\n"), one.fruitless == 5)[1], "rounds for nothing")
    assert time.monotonic() - began > 2 + 4  # between the last of them, as seldom as that


def test_many_that_come_one_after_the_other_wait_for_no_clock(
    worker: Worker, account: Account, box: IdleMailbox
) -> None:
    """Also one that is announced in the moment between parking and the end of the round."""
    worker._tick = 60
    box.catches_up = True
    time.sleep(0.3)
    for number in range(2, 42):
        box.arrive(letter(number))
        time.sleep(0.03)
    worker.arrived(account, 41)


def test_an_announcement_outlives_the_queue_that_is_replaced(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.scheduler, "add", lambda account: None)  # it was dropped
    box.arrive(letter(2))
    worker.arrived(account, 2)


def test_an_error_of_ours_ends_neither_the_thread_nor_the_mailbox(
    worker: Worker, account: Account, box: IdleMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(worker.parking, "_call", lambda account: 1 / 0)
        box.arrive(letter(2))
        worker.arrived(account, 2)  # the next tick knows of it
    worker.parked(account)
    box.arrive(letter(3))
    worker.arrived(account, 3)


# -- odd servers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "goodbye", [b"", b"* BYE\r\n", b"* BYE [ALERT] Access token expired\r\n", b"* BYE idle for too long"]
)
def test_a_session_that_its_server_ends_is_no_failure_and_its_mailbox_is_asked_at_once(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox, goodbye: bytes
) -> None:
    worker.parking._here[account.uuid].since -= 100
    box.put(letter(2))
    box.hang_up(goodbye)
    worker.arrived(account, 2)
    worker.parked(account)
    row = near.row(account)
    assert (row.problem, row.failures, box.logins) == (None, 0, 2)


def test_a_session_that_ends_too_soon_leaves_the_mailbox_to_its_interval(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    box.put(letter(2))
    box.hang_up()
    worker.arrived(account, 2)
    wait_until(lambda: not worker.marked(account), "the interval")
    row = near.row(account)
    assert row.problem is None
    assert 50 < row.next_due_at - db.now() <= 60


def test_a_mailbox_is_left_to_its_interval_the_longer_the_more_sessions_end_too_soon(
    worker: Worker, account: Account
) -> None:
    one = worker.parking.take(account.uuid)
    assert one is not None
    one.calls_at = 0.0  # it is heard no more

    def lost(age: float, error: MailError) -> float:
        one.since = time.monotonic() - age
        worker.parking._lose(one, error)
        return round(worker.parking._refused[account.uuid] - time.monotonic(), -1)

    reset = MailError("idle", "The connection was reset.")
    assert [lost(5, reset) for _ in range(5)] == [60, 240, 960, 3600, 3600]
    worker.parking._refused[account.uuid] = time.monotonic()
    assert lost(100, reset) == 0  # a server that was merely restarted
    assert lost(5, reset) == 60
    assert lost(5, MailError("idle", "The token has expired.", session_ended=True)) == 60


def test_a_server_whose_sessions_always_end_by_its_clock_is_not_logged_in_to_without_end(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    before, goodbye = box.logins, b"* BYE Session invalidated - AccessTokenExpired\r\n"
    box.plus += goodbye
    box.hang_up(goodbye)
    wait_until(lambda: box.logins > before, "a new session")
    time.sleep(2)
    assert box.logins <= before + 2
    assert near.row(account).problem is None


def test_a_goodbye_that_asks_for_a_pause_is_obeyed(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    box.hang_up(b"* BYE [THROTTLED] Suggested Backoff Time: 600000 milliseconds\r\n")
    wait_until(lambda: near.row(account).problem, "the pause")
    row = near.row(account)
    assert 590 < row.next_due_at - db.now() <= 600
    assert box.logins == 1 and not worker.marked(account)


def test_a_server_that_does_not_answer_done_is_left_for_a_new_session(
    worker: Worker, account: Account, box: IdleMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap, "DONE_SECONDS", 0.5)
    box.silent = True
    box.arrive(letter(2))
    worker.arrived(account, 2)
    assert box.logins == 2


def test_a_server_that_says_anything_but_the_answer_to_done_is_left_for_a_new_session(
    worker: Worker, account: Account, box: IdleMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap, "DONE_SECONDS", 0.5)
    [talk] = box.idling

    def still_here() -> bytes:
        while True:  # until the client has left
            talk.send(b"* OK Still here\r\n")
            time.sleep(0.1)

    box.at_done = still_here
    box.arrive(letter(2))
    worker.arrived(account, 2)
    assert box.logins == 2


@pytest.mark.parametrize("answer", [b"NO [LIMIT] not now", b"BAD what?", b"OK over already"])
def test_idle_that_is_refused_after_it_was_offered_leaves_the_mailbox_to_its_interval(
    near: PostOffice, server: ScriptedServer, box: IdleMailbox, answer: bytes
) -> None:
    box.refused = answer
    account = add(near, server)
    with Worker(near) as worker:
        wait_until(lambda: len(worker.rounds) == 2, "the round that follows")
        time.sleep(0.5)
        row = near.row(account)
        assert len(worker.rounds) == 2 and row.parked_by is None and row.problem is None
        assert 50 < row.next_due_at - db.now() <= 60


def test_a_server_without_idle_is_asked_at_its_interval(
    near: PostOffice, server: ScriptedServer, box: IdleMailbox
) -> None:
    box.capabilities = b"IMAP4rev1 AUTH=PLAIN SASL-IR"
    account = add(near, server)
    with Worker(near) as worker:
        wait_until(lambda: worker.rounds, "a round")
        assert not worker.marked(account) and near.row(account).next_due_at - db.now() <= 60


def test_a_server_that_drips_or_floods_keeps_no_other_mailbox_waiting(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    other = IdleMailbox()
    with ScriptedServer(other) as bad:
        post = near.reaching(near.dovecot.tls_port, bad.port, *near.settings.mail_ports)
        worker.collector = Collector(post.settings, post.vault, worker.parking)
        drips = add(post, bad)
        worker.parked(drips)
        for _ in range(5):
            other.say(b"* 1 FE")
            time.sleep(0.05)
        box.arrive(letter(2))
        worker.arrived(account, 2)
        worker.parked(account)
        for _ in range(40):
            other.say(b"TCH (FLAGS ())\r\n* 1 FE" * 5000)
        box.arrive(letter(3))
        worker.arrived(account, 3)
        wait_until(lambda: not worker.marked(drips), "the end of the flood")


@pytest.mark.parametrize("line", [b"* 1 FETCH (BODY[] {400000}\r\n", b"* " + b"x" * 70_000])
def test_what_would_have_to_be_waited_for_ends_the_session(
    worker: Worker, account: Account, box: IdleMailbox, line: bytes
) -> None:
    box.put(letter(2))
    box.say(line)
    worker.arrived(account, 2)
    assert box.logins == 2


def test_what_lies_in_the_buffers_of_tls_and_of_the_reader_is_heard(
    post: PostOffice, box: IdleMailbox
) -> None:
    """One record: the end of the round's last answer, the continuation, and an announcement."""
    certificate = post.dovecot._authority.good()
    with ScriptedServer(box, certificate) as server:
        near = post.reaching(server.port)
        account = near.add(begin="all", host="localhost", port=server.port)
        box.plus = b"+ idling\r\n" + b"* 1 FETCH (FLAGS ())\r\n" * 700 + box.put(letter(2))
        with Worker(near) as worker:
            worker.arrived(account, 2)
            box.plus = b"+ idling\r\n"
            worker.parked(account)
            box.say(b"* 1 FETCH (FLAGS (\\Seen))\r\n" * 3000 + box.put(letter(3)))
            worker.arrived(account, 3)
            assert box.logins == 1


@pytest.mark.parametrize("reads", [2, 3, 4])
def test_news_at_the_end_of_a_burst_is_heard_however_many_reads_that_takes(
    worker: Worker, account: Account, box: IdleMailbox, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap_idle, "READS", 3)  # what the kernel holds for us is more than that
    news = box.put(letter(2))
    flags = b"* 1 FETCH (FLAGS (\\Seen))\r\n"
    burst = flags * ((reads * RECORD - len(news) - 100) // len(flags)) + news
    session = worker.parking._here[account.uuid].session
    with worker.parking._lock:  # so that all of it is there before any of it is read
        box.say(burst)
        wait_until(lambda: unread(session.fileno()) == len(burst), "the burst")
    worker.arrived(account, 2)


def unread(descriptor: int) -> int:
    count = array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def test_a_server_that_says_go_on_without_end_is_left(
    worker: Worker, account: Account, box: IdleMailbox
) -> None:
    for _ in range(12):
        box.say(b"+\r\n" * 50_000)
    worker.ended(account)


def test_a_pause_that_is_asked_for_when_a_session_is_taken_up_is_obeyed(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    wait = b"NO [THROTTLED] Suggested Backoff Time: 600000 milliseconds"
    box.answer = lambda command: wait if command.startswith(b"EXAMINE") else None
    box.arrive(letter(2))
    wait_until(lambda: near.row(account).problem, "the pause")
    assert 590 < near.row(account).next_due_at - db.now() <= 600
    assert box.logins == 1


@pytest.mark.parametrize("command", [b"CAPABILITY", b"IDLE"])
def test_a_server_that_ends_the_session_after_the_last_message_is_no_failure(
    near: PostOffice, server: ScriptedServer, box: IdleMailbox, command: bytes
) -> None:
    """It has handed out all mail; only the session cannot stay open."""
    box.later, box.capabilities = b"", b"IMAP4rev1 AUTH=PLAIN SASL-IR"
    goodbye = b"* BYE that was all\r\n"
    box.answer = lambda asked: goodbye if asked == command else None
    box.fetched = lambda number, uid, raw, items: (
        plainly(number, uid, raw, items) + (goodbye if b"BODY" in items and command == b"IDLE" else b"")
    )
    account = add(near, server)
    with Worker(near) as worker:
        wait_until(lambda: worker.rounds or worker.errors, "the round")
    assert near.mail(account) == [letter(1)] and not worker.errors
    row = near.row(account)
    assert (row.problem, row.parked_by) == (None, None) and row.next_due_at - db.now() > 50


# -- people, other processes, the key ---------------------------------------------------------


def test_pausing_ends_the_session(near: PostOffice, worker: Worker, account: Account) -> None:
    Account.update(paused_at=db.now()).execute()
    worker.ended(account)
    wait_until(lambda: not worker.marked(account), "the mark")
    wait_until(lambda: not near_idling(worker), "the connection")


def near_idling(worker: Worker) -> int:
    return worker.parking.count


def test_removing_ends_the_session(worker: Worker, account: Account) -> None:
    Account.update(removed_at=db.now()).execute()
    worker.ended(account)


def test_deleting_ends_the_session(worker: Worker, account: Account) -> None:
    Account.delete().execute()
    worker.ended(account)


def test_another_password_server_or_folder_ends_the_session_and_begins_another(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    endpoint = near.endpoint(account)
    endpoint.secret = Secret("another one")
    endpoint.save()
    wait_until(lambda: box.logins == 2, "a new session")
    worker.parked(account)
    Account.update(folder="Support").execute()
    wait_until(lambda: box.logins == 3, "a new session")


def test_an_address_that_sql_changed_ends_the_session_and_begins_none(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    """Its mail could otherwise go out as another mailbox's."""
    Account.update(address="other@example.org").execute()
    worker.ended(account)
    time.sleep(1)
    assert box.logins == 1


def test_a_key_that_is_away_ends_all_sessions_and_its_return_begins_them_again(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    near.encrypt()
    key, aside = near.settings.key_file, near.settings.key_file.with_name("aside")
    key.rename(aside)
    worker.ended(account)
    time.sleep(0.5)
    assert worker.parking.count == 0
    aside.rename(key)
    worker.parked(account)


def test_turning_encryption_on_ends_no_session(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    near.encrypt()
    time.sleep(parking.CHECK_SECONDS + 0.5)
    assert box.logins == 1


def test_a_round_of_another_process_takes_the_lease_and_the_session_closes_itself(
    near: PostOffice, worker: Worker, account: Account, box: IdleMailbox
) -> None:
    environ = {"PANEL_MAIL_PORTS": str(account and near.endpoint(account).port)}
    box.put(letter(2))
    shell = near.process("--once", "--account", str(account.address), **environ)
    output, _ = shell.communicate(timeout=120)
    assert shell.returncode == 0, output
    assert near.mail(account) == [letter(1), letter(2)]
    worker.ended(account)


# -- bounds ------------------------------------------------------------------------------------


def test_no_more_sessions_are_parked_than_allowed(near: PostOffice, server: ScriptedServer) -> None:
    accounts = [add(near, server) for _ in range(5)]
    with Worker(near, most=2) as worker:
        wait_until(lambda: len({*worker.rounds}) == 5, "a round of each")
        assert worker.parking.count == 2
        assert sum(worker.marked(each) for each in accounts) == 2
        assert parked.connected() == 2


def test_parked_sessions_take_a_quarter_of_the_open_files_at_most(
    near: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (1000, 1000))
    assert Parking(500, lambda account: None, lambda: None)._most == 250


def test_a_server_with_too_many_connections_keeps_half_of_them(
    near: PostOffice, server: ScriptedServer, box: IdleMailbox
) -> None:
    """However many logins it refuses at that moment."""
    accounts = [add(near, server) for _ in range(4)]
    left, together = [1, 2, 3], threading.Barrier(3)

    def full(command: bytes) -> bytes | None:
        if not command.startswith(b"AUTH") or not left:
            return None
        left.pop()
        together.wait(60)
        return b"NO [LIMIT] Too many connections from your address"

    with Worker(near) as worker:
        worker.parked(*accounts)
        box.answer = full
        late = [add(near, server) for _ in range(3)]
        refused = Collection.select().where(Collection.problem.is_null(False))
        wait_until(lambda: refused.clone().count() == 3, "each to be refused")
        wait_until(lambda: len(worker.rounds) == 6, "the two that lost their session to be asked")
        assert worker.parking.count == 2
        for each in late:
            due.make_due(each.uuid)
        wait_until(lambda: refused.clone().count() == 0, "those that found no room")
        assert worker.parking.count == 2


def test_a_session_that_was_called_is_given_up_for_room_like_any_other(
    near: PostOffice, server: ScriptedServer, box: IdleMailbox
) -> None:
    accounts = [add(near, server) for _ in range(4)]
    with Worker(near) as worker:
        worker.parked(*accounts)
        for one in worker.parking._here.values():
            one.fruitless = 8
        box.say(b"* 99 EXISTS\r\n")
        wait_until(lambda: all(one.calls_at for one in worker.parking._here.values()), "the calls")
        box.answer = lambda command: (
            b"NO [LIMIT] Too many connections"
            if command.startswith(b"AUTH") and len(box.idling) > 2
            else None
        )
        late = add(near, server)
        wait_until(lambda: worker.errors, "the refusal")
        assert "requires a pause" in str(near.row(late).problem)
        wait_until(lambda: worker.parking.count == 2, "half of them")


def test_all_sessions_of_one_set_of_cas_share_one_context(near: PostOffice) -> None:
    policy = Policy.of(near.settings)
    context = connect._tls_context(policy)
    assert connect._tls_context(Policy.of(near.settings)) is context
    assert policy.ca_file is not None
    policy.ca_file.write_bytes(policy.ca_file.read_bytes() + b"\n")
    assert connect._tls_context(policy) is not context
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_nothing_parked_holds_the_password(post: PostOffice) -> None:
    account = post.add(letter(1))
    with Worker(post) as worker:
        worker.parked(account)
        wait_until(lambda: not worker.scheduler._running, "the end of the round")
        assert not secrets_below(worker.parking._here[account.uuid])


def secrets_below(start: object) -> list[object]:
    """What is reached from `start` and holds the password."""
    found, seen, left = [], {id(start)}, [start]
    while left:
        one = left.pop()
        held = one.reveal() if isinstance(one, Secret) else one
        if isinstance(held, bytes | bytearray) and PASSWORD.encode() in held:
            found.append(one)
        if isinstance(held, str) and PASSWORD in held:
            found.append(one)
        for other in gc.get_referents(one):
            if (
                id(other) not in seen
                and not isinstance(other, type)
                and type(other).__name__ not in ("module", "function")
            ):
                seen.add(id(other))
                left.append(other)
    return found


def test_a_stopped_worker_says_goodbye(near: PostOffice, server: ScriptedServer, box: IdleMailbox) -> None:
    account = add(near, server)
    with Worker(near) as worker:
        worker.parked(account)
    wait_until(lambda: server.received.endswith(b"DONE\r\nbye LOGOUT\r\n"), "goodbye")


def test_a_consent_that_has_ended_ends_its_session(
    near: PostOffice, worker: Worker, account: Account
) -> None:
    near.encrypt()
    consent = Consent(
        app="app", account=account, signs_in_as="", subject="1", kind="refresh-token", uid="c", created_at=0
    )
    consent.secret = Secret("token")
    consent.save()
    worker.ended(account)  # it had none before
    worker.parked(account)
    Consent.update(connected_at=db.now(), ended_at=db.now(), ended_code="invalid_grant").execute()
    worker.ended(account)


def test_marks_of_a_worker_that_is_gone_keep_no_mailbox_waiting(near: PostOffice, account: Account) -> None:
    """One of another machine, or of a container with another name, and one whose number lives on."""
    for holder in ("elsewhere:1:abc", f"{new_holder()}0"):
        far = db.now() + 500
        Collection.insert(
            account=account, parked_by=holder, next_due_at=far, waits=500
        ).on_conflict_replace().execute()
        with Worker(near) as worker:
            wait_until(lambda: worker.rounds, "a round")
            worker.parked(account)
            assert near.row(account).parked_by == worker.parking.holder


def test_the_checks_say_how_many_mailboxes_are_connected(
    near: PostOffice, worker: Worker, account: Account
) -> None:
    def said() -> str:
        install = checks.gather(near.settings, near.vault)
        return " ".join(one.message for one in checks.run(install) if one.check == "collecting")

    assert "1 of 1 mailbox collected" in said() and "New mail of 1 arrives at once." in said()
    Account.update(paused_at=db.now()).execute()
    assert "at once" not in said() and parked.connected() == 0
