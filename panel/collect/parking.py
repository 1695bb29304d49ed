"""Sessions that stay open between two rounds, under one thread that hears what their servers say.

A round ends by parking its session here (`park`), and the next one of that mailbox takes it up again
(`take`). In between one thread reads from all of them and waits for none. A second one asks the database
every two seconds which may stay: people pause, edit and remove mailboxes in other processes, and a key file
may be taken away. Nothing here holds a password (docs/decisions/0047-parked-sessions.md).
"""

from __future__ import annotations

import logging
import os
import resource
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from panel import db, process
from panel.collect import parked
from panel.collect.due import DueAccount
from panel.collect.parked import Terms
from panel.errors import KeyAbsent, MailError, RestoredCopy
from panel.mail.imap import ImapSession
from panel.mail.imap_idle import IdleRefused
from panel.mail.server import MailServer

CHECK_SECONDS = 2.0  # between two questions which sessions may stay open
SHORT_SECONDS = 60.0  # a session that ends sooner is no better than asking at intervals
LONGER = 4.0  # times as long each time: its mailbox is asked at intervals for 1, 4, 16, then 60 minutes
REFUSED_SECONDS = 3600.0  # for which a server that refuses sessions is asked at intervals
FREE = 2  # announcements in a row of mail that was collected with the one before: many come at once
LONGEST_PAUSE = 64.0  # seconds that a server waits which announces mail that is not there

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Parked:
    """One open session, and what it was opened for."""

    account: str  # uuid
    server: MailServer
    terms: Terms
    session: ImapSession
    since: float = field(default_factory=time.monotonic)  # when it was logged in
    fruitless: int = 0  # times in a row that the server announced mail which was not there
    calls_at: float | None = None  # when its round is to begin, on the monotonic clock
    called: bool = False  # whether that was said
    lost: MailError | None = None  # how the session ended

    @property
    def due(self) -> DueAccount:
        """The account as the scheduler takes it."""
        return DueAccount(self.account, self.server.host, self.server.port, worked=True)

    def rested(self, *, brought: bool) -> None:
        """Note that a round in it has ended, and whether it `brought` the mail that was announced."""
        self.fruitless = self.fruitless + 1 if self.called and not brought else 0
        self.calls_at, self.called = None, False

    def call(self) -> None:
        """Have its round begin: at once, or later where the server announced mail that was not there."""
        again = self.fruitless - FREE
        pause = min(2.0**again, LONGEST_PAUSE) if again > 0 and not self.lost else 0.0
        self.calls_at = time.monotonic() + pause


class Parking:
    """The parked sessions of one process. Its methods are thread-safe."""

    def __init__(
        self, most: int, call: Callable[[DueAccount], None], may_collect: Callable[[], None]
    ) -> None:
        """At most `most` sessions. `call` has a round begin; `may_collect` raises KeyAbsent, RestoredCopy."""
        self.holder = process.holder()
        self._most = min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._call = call
        self._may_collect = may_collect
        self._lock = threading.RLock()
        self._here: dict[str, Parked] = {}  # by account
        self._expected: set[str] = set()  # accounts whose session is about to come
        self._refused: dict[object, float] = {}  # accounts and servers, until when
        self._pauses: dict[str, float] = {}  # by account whose last session was short: seconds until the next
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = os.pipe()  # ends a wait of the selector
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._stopping = False

    def start(self) -> None:
        """Take off the marks that earlier processes have left, and begin to watch."""
        with db.explained(), db.database.connection_context():
            parked.release_earlier(self.holder)
        for work in (self._watch, self._check_forever):
            threading.Thread(target=work, name="parking", daemon=True).start()

    def stop(self) -> None:
        """Say goodbye to all servers, without waiting."""
        with self._lock:
            self._stopping = True
            for one in list(self._here.values()):
                self._remove(one)
                one.session.close()

    # -- for rounds ----------------------------------------------------------------------

    @property
    def count(self) -> int:
        return len(self._here)

    def admits(self, account: str, server: MailServer) -> bool:
        """Whether its session may be parked. Its place is then kept until `park` or `forget`."""
        now = time.monotonic()
        with self._lock:
            refused = any(self._refused.get(what, 0.0) > now for what in (account, _place(server)))
            room = self.count + len(self._expected) < self._most
            if not room or refused or self._stopping:
                return False
            self._expected.add(account)
            return True

    def forget(self, account: str) -> None:
        """Give up the place that `admits` kept: the round has no session to park."""
        with self._lock:
            self._expected.discard(account)

    def park(self, one: Parked) -> None:
        """Keep the session, and read from now on what its server announces."""
        with self._lock:
            self._expected.discard(one.account)
            if self._stopping:
                one.session.close()
                return
            self._here[one.account] = one
            self._selector.register(one.session, selectors.EVENT_READ, one)
            self._hear(one)  # what was received before now does not wake the selector

    def calls(self, account: str) -> bool:
        """Whether its server has announced mail, or ended the session: a round is due."""
        with self._lock:
            one = self._here.get(account)
            return one is not None and one.called

    def calling(self) -> list[DueAccount]:
        """The accounts that were called and whose round has not begun yet, for who replaces the queue."""
        with self._lock:
            return [one.due for one in self._here.values() if one.called]

    def take(self, account: str) -> Parked | None:
        """Hand the account's session to its round, and read from it no more; None where there is none."""
        with self._lock:
            one = self._here.get(account)
            if one is not None:
                self._remove(one)
            return one

    def give_way(self, server: MailServer) -> None:
        """The server says that it has too many connections: for an hour keep half as many of them open.

        Once a minute at most: eight logins are refused at once, and the server must notice what was closed.
        """
        with self._lock:
            if self._refused.get(_place(server), 0.0) > time.monotonic() + REFUSED_SECONDS - SHORT_SECONDS:
                return
            there = [one for one in self._here.values() if _place(one.server) == _place(server)]
            if there:
                self._refused[_place(server)] = time.monotonic() + REFUSED_SECONDS
            for one in there[len(there) // 2 :]:
                self._lose(one, MailError("idle", f"{server.host} takes no more connections."))

    # -- the thread that hears -----------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping:
            try:
                self._hear_all()
                self._call_due()
            except Exception:  # whatever it is, the other sessions are heard on
                log.exception("Parked sessions could not be heard for a moment.")
                time.sleep(1.0)

    def _hear_all(self) -> None:
        for key, _ in self._selector.select(self._seconds_to_next()):
            one: Parked | None = key.data
            if one is None:
                os.read(self._woken, 4096)
                continue
            with self._lock:
                if self._here.get(one.account) is one and one.calls_at is None:
                    self._hear(one)

    def _hear(self, one: Parked) -> None:
        try:
            one.session.hear()
            if one.session.has_news:
                self._wake(one)
        except MailError as error:
            self._lose(one, error)
        except Exception:  # one session must not end the thread
            log.exception("A parked session was given up after an unknown error.")
            self._lose(one, MailError("idle", "Unknown error."))

    def _lose(self, one: Parked, error: MailError) -> None:
        """The session has ended: its mailbox is asked at once, and at intervals where that was too soon."""
        one.lost = error
        self._wake(one)
        one.session.close()
        if isinstance(error, IdleRefused):
            self._refused[one.account] = time.monotonic() + REFUSED_SECONDS
        elif time.monotonic() - one.since > SHORT_SECONDS:
            self._pauses.pop(one.account, None)
        else:
            by_its_clock = error.session_ended  # of the token, for all sessions alike
            before = 0.0 if by_its_clock else self._pauses.get(one.account, 0.0)
            pause = self._pauses[one.account] = min(before * LONGER or SHORT_SECONDS, REFUSED_SECONDS)
            self._refused[one.account] = time.monotonic() + pause

    def _wake(self, one: Parked) -> None:
        if one.calls_at is None:  # else it is heard no more
            self._selector.unregister(one.session)
        one.call()
        os.write(self._waker, b".")  # whichever thread is here, the one that watches calls the scheduler

    def _call_due(self) -> None:
        now = time.monotonic()
        with self._lock:
            due = [one for one in self._waiting() if (one.calls_at or now) <= now]
            for one in due:
                one.called = True
        for one in due:
            self._call(one.due)

    def _seconds_to_next(self) -> float | None:
        with self._lock:
            times = [one.calls_at or 0.0 for one in self._waiting()]
        return max(min(times) - time.monotonic(), 0.0) if times else None

    def _waiting(self) -> list[Parked]:
        return [one for one in self._here.values() if one.calls_at is not None and not one.called]

    def _remove(self, one: Parked) -> None:
        del self._here[one.account]
        if one.calls_at is None:
            self._selector.unregister(one.session)

    # -- the thread that asks which may stay -----------------------------------------------

    def _check_forever(self) -> None:
        while not self._stopping:
            time.sleep(CHECK_SECONDS)
            try:
                if self.count:
                    with db.explained(), db.database.connection_context():
                        self.check()
            except Exception:  # a full disk, a locked database: it is asked again
                log.exception("Which sessions may stay open could not be found out.")

    def check(self) -> None:
        """End the sessions that may no longer be open."""
        with self._lock:
            here = list(self._here.values())
        permitted = self._permitted()
        ended = [one for one in here if permitted.get(one.account) != one.terms]
        with self._lock:
            ended = [one for one in ended if self._here.get(one.account) is one]
            for one in ended:
                self._remove(one)
                one.session.close()
        if ended:
            parked.release(self.holder, [one.account for one in ended])

    def _permitted(self) -> dict[str, Terms]:
        try:
            self._may_collect()
        except (KeyAbsent, RestoredCopy):
            return {}
        return parked.permitted(self.holder)


def _place(server: MailServer) -> tuple[str, int]:
    return server.host, server.port
