"""A message is sent once, whatever its client does while the provider thinks."""

from __future__ import annotations

import smtplib
import threading
import time

import pytest

from panel import db
from panel.models import SubmissionAnswer
from panel.submission import answers
from tests.encryption.conftest import House
from tests.running import wait_until
from tests.submission.conftest import ADDRESS, MESSAGE, Desk, running
from tests.submission.sink import Sink

ADA = "ada@example.net"


def remembered() -> int:
    with db.database.connection_context():
        return SubmissionAnswer.select().count()


def give_up(desk: Desk, sink: Sink) -> None:
    """Send a message and leave while the provider thinks."""
    sink.think.clear()
    client = desk.signed_in()
    client.mail(ADDRESS)
    client.rcpt(ADA)
    client.docmd("DATA")
    client.send(MESSAGE + b".\r\n")
    assert sink.begun.wait(60) and not sink.handed
    client.close()


def test_a_client_that_gives_up_and_comes_again_is_told_and_nothing_is_sent_twice(
    sinking: Desk, sink: Sink
) -> None:
    give_up(sinking, sink)
    sink.think.set()
    wait_until(remembered, "the answer")
    for _ in range(2):  # the first of them says QUIT, having read the answer
        with sinking.signed_in() as client:
            client.mail(ADDRESS)
            client.rcpt(ADA)
            assert client.data(MESSAGE) == (250, b"2.0.0 127.0.0.1 accepted it.")
            assert len(sink.handed) == 1
            client.close()


def test_one_that_comes_again_while_the_provider_still_thinks_waits_for_the_same_answer(
    sinking: Desk, sink: Sink
) -> None:
    give_up(sinking, sink)
    told: list[object] = []

    def again() -> None:
        with sinking.signed_in() as client:
            told.append(client.sendmail(ADDRESS, [ADA], MESSAGE))

    threads = [threading.Thread(target=again) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert told == []
    sink.think.set()
    for thread in threads:
        thread.join(60)
    assert told == [{}] * 3
    assert len({handed.digest for handed in sink.handed}) == 1


def test_a_restart_forgets_no_answer(sinking: Desk, sink: Sink, house: House) -> None:
    give_up(sinking, sink)
    sink.think.set()
    wait_until(remembered, "the answer")
    with running(house, sinking.uuid) as restarted:
        restarted.password = sinking.password
        with restarted.signed_in() as client:
            assert client.sendmail(ADDRESS, [ADA], MESSAGE) == {}
    assert len(sink.handed) == 1


def test_a_client_that_says_quit_too_early_has_not_read_the_answer(sinking: Desk, sink: Sink) -> None:
    sink.think.clear()
    client = sinking.signed_in()
    client.mail(ADDRESS)
    client.rcpt(ADA)
    client.docmd("DATA")
    client.send(MESSAGE + b".\r\n")
    assert sink.begun.wait(60)
    client.send(b"QUIT\r\n")
    time.sleep(0.2)
    sink.think.set()
    wait_until(remembered, "the answer")
    time.sleep(0.2)
    assert remembered() == 1


def test_the_same_message_sent_again_on_purpose_is_sent_again(sinking: Desk, sink: Sink) -> None:
    for _ in range(2):
        with sinking.signed_in() as client:
            client.sendmail(ADDRESS, [ADA], MESSAGE)
    assert len(sink.handed) == 2


@pytest.mark.parametrize("other", ["content", "recipient", "sender", "hour"])
def test_another_message_is_another_one(sinking: Desk, sink: Sink, other: str) -> None:
    give_up(sinking, sink)
    sink.think.set()
    wait_until(remembered, "the answer")
    if other == "hour":
        with db.database.connection_context():
            SubmissionAnswer.update(at=db.now() - 3601).execute()
    with sinking.signed_in() as client:
        client.sendmail(
            "" if other == "sender" else ADDRESS,
            ["bob@example.net" if other == "recipient" else ADA],
            MESSAGE + b"more\r\n" * (other == "content"),
        )
    assert len(sink.handed) == 2


@pytest.mark.parametrize("reply", [b"451 4.7.1 later", b"554 5.7.1 spam"])
def test_a_refusal_is_not_remembered(sinking: Desk, sink: Sink, reply: bytes) -> None:
    sink.replies["."] = reply
    give_up(sinking, sink)
    sink.think.set()
    sink.replies.clear()
    with sinking.signed_in() as client:
        wait_until(lambda: len(sinking.server._open) <= 1, "the other connection to end")
        client.sendmail(ADDRESS, [ADA], MESSAGE)
    assert len(sink.handed) == 1


def test_a_client_that_leaves_before_the_end_sends_nothing(sinking: Desk, sink: Sink) -> None:
    client = sinking.signed_in()
    client.mail(ADDRESS)
    client.rcpt(ADA)
    client.docmd("DATA")
    client.send(MESSAGE)
    client.close()
    with sinking.signed_in() as again:
        again.sendmail(ADDRESS, [ADA], MESSAGE)
    assert len(sink.handed) == 1


def test_a_message_that_is_still_sent_elsewhere_is_not_waited_for_without_end(
    sinking: Desk, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LONGEST_WAIT", 0.2)
    give_up(sinking, sink)
    with sinking.signed_in() as client, pytest.raises(smtplib.SMTPDataError, match="another connection"):
        client.sendmail(ADDRESS, [ADA], MESSAGE)
    sink.think.set()
