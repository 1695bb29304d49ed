"""A day of many mailboxes whose servers drop, hang and lie at random: each message is here once.

Time runs faster: a second stands for two minutes. So do the clocks that would otherwise wait for minutes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from panel.collect import due, parking
from panel.mail import imap
from panel.models import Account
from tests.collect.conftest import PostOffice, letter
from tests.collect.worker import Worker
from tests.running import wait_until
from tests.servers.hostile import ScriptedServer
from tests.servers.imap_idle import IdleMailbox

FASTER = 120


@dataclass
class RandomServer:
    """One mailbox, and what may happen to it."""

    chance: random.Random
    box: IdleMailbox = field(default_factory=IdleMailbox)
    sent: list[bytes] = field(default_factory=list)
    dropped: int = 0

    def happen(self) -> None:
        what = self.chance.choice([self.arrive] * 6 + [self.forget, self.drop, self.say_bye, self.expire, self.hang, self.lie, self.refuse])  # fmt: skip
        what()

    def _new(self) -> bytes:
        self.sent.append(letter(len(self.sent), b"x" * self.chance.randint(0, 3000) + b"\r\n"))
        return self.sent[-1]

    def arrive(self) -> None:
        self.box.arrive(self._new())

    def forget(self) -> None:
        """A message that is not announced."""
        self.box.put(self._new())

    def drop(self) -> None:
        self.dropped += 1
        self.box.hang_up()

    def say_bye(self) -> None:
        self.dropped += 1
        self.box.hang_up(b"* BYE idle for too long\r\n")

    def expire(self) -> None:
        self.dropped += 1
        self.box.hang_up(b"* BYE Access token expired\r\n")

    def hang(self) -> None:
        self.box.silent = not self.box.silent

    def lie(self) -> None:
        self.box.say(b"* 9999 EXISTS\r\n")

    def refuse(self) -> None:
        """No sign-in until the next time."""
        self.box.answer = (lambda _: None) if self.box.answer(b"AUTH") else refused

    def recover(self) -> None:
        self.box.silent, self.box.answer = False, lambda _: None


def refused(command: bytes) -> bytes | None:
    return b"NO [UNAVAILABLE] later" if command.startswith(b"AUTH") else None


@pytest.mark.reliability
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("mailboxes", "seconds"), [(15, 8), pytest.param(200, 24 * 3600 // FASTER, marks=pytest.mark.slow)]
)
def test_a_day_of_random_disconnects_delivers_each_message_once(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch, mailboxes: int, seconds: float, record_property: Callable[[str, object], None]
) -> None:  # fmt: skip
    monkeypatch.setattr(due, "RENEW_SECONDS", (480 // FASTER, 540 // FASTER))
    monkeypatch.setattr(due, "BACKOFF", (1, 1, 2, 8, 30))
    monkeypatch.setattr(parking, "REFUSED_SECONDS", 3600 / FASTER)
    monkeypatch.setattr(parking, "SHORT_SECONDS", 60 / FASTER)
    monkeypatch.setattr(imap, "DONE_SECONDS", 0.5)
    chance = random.Random(2611)
    with ExitStack() as stack:
        servers = [RandomServer(random.Random(chance.random())) for _ in range(mailboxes)]
        listening = [stack.enter_context(ScriptedServer(one.box)) for one in servers]
        near = post.reaching(*(one.port for one in listening))
        accounts = [
            near.add(begin="all", host="127.0.0.1", port=one.port, security="none") for one in listening
        ]
        Account.update(interval=1).execute()
        with Worker(near, most=mailboxes) as worker:
            worker.parked(*accounts)
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                chance.choice(servers).happen()
                time.sleep(chance.random() * 8 / mailboxes)
            for one in servers:
                one.recover()
            for each in accounts:
                due.make_due(each.uuid)
            pairs = list(zip(accounts, servers, strict=True))
            wait_until(lambda: all(len(near.mail(a)) >= len(s.sent) for a, s in pairs), "the last mail")
            worker.parked(*accounts)
            time.sleep(2)
    assert all(near.mail(a) == sorted(s.sent) for a, s in pairs)
    assert not any(len({*near.mail(a)}) < len(near.mail(a)) for a in accounts)
    dropped = sum(one.dropped for one in servers)
    for column, count in (("sessions dropped", dropped), ("messages", sum(len(s.sent) for s in servers))):
        record_property("reliability", {"table": "day", "row": f"{mailboxes} mailboxes", "column": column, "tried": count})  # fmt: skip
