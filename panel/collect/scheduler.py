"""Which due accounts are collected when: many rounds at once, so that no slow server delays other mailboxes.

Waiting for the network is cheap, so there are many rounds. A few servers must not occupy them all:

- a server (by address and port) has a limited number of rounds, and fewer while most of them fail;
- servers that have never worked, or whose rounds mostly hang ("unproven"), share a part of the rounds;
- a round whose place others wait for has a time slice. After it the round yields at the end of a batch,
  and a later one goes on from there. One that has delivered nothing is aborted, and has twice as long the
  next time: a slow server is reached in the end, a hanging one occupies a place for seconds.

Nothing here is stored: the database knows which accounts are due, and its leases keep two processes off
the same mailbox (docs/decisions/0024-turns.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from panel.collect.control import RoundControl
from panel.collect.due import DueAccount
from panel.mail import connect

ADDRESS_SECONDS = 300  # for which a host's address is remembered
MOST_SERVERS = 5_000  # that are remembered
MOST_DOUBLINGS = 6

look_up = partial(connect.one_address, seconds=5.0)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How many rounds at once, and for how many seconds while others wait for their places."""

    rounds: int = 64
    unproven: int = 32  # of them on unproven servers
    per_server: int = 8
    per_failing_server: int = 2
    login_seconds: float = 15.0  # on an unproven server, until the mailbox is open
    slice_seconds: float = 30.0  # for all others
    hang_seconds: float = 5.0  # a failure after so long held up others; a quicker one did not
    yield_penalty: float = 300.0  # seconds by which an account that yielded counts as due later


@dataclass
class _Server:
    """The result of each mailbox's last round: one that hangs says nothing about the others."""

    worked: bool = False
    results: dict[str, str] = field(default_factory=dict)  # worked, failed or hung, by account

    @property
    def is_failing(self) -> bool:
        failed = sum(result != "worked" for result in self.results.values())
        return len(self.results) > 1 and 2 * failed > len(self.results)

    @property
    def is_hanging(self) -> bool:
        return 2 * sum(result == "hung" for result in self.results.values()) > len(self.results)


@dataclass
class _Round:
    account: DueAccount
    server: str
    unproven: bool
    control: RoundControl


class Scheduler:
    """Starts rounds for the due accounts, each in a thread. Its methods are thread-safe."""

    def __init__(
        self,
        collect: Callable[[str, RoundControl], None],
        limits: Limits | None = None,
        address_of: Callable[[str, int], str | None] = lambda host, port: None,
    ) -> None:
        """`collect` is one round of the account with that uuid; `address_of` may be slow."""
        self._collect = collect
        self._limits = limits or Limits()
        self._address_of = address_of
        self._addresses: dict[str, tuple[str, float]] = {}  # by host: its address, valid until when
        self._servers: dict[str, _Server] = {}
        self._queues: dict[str, deque[DueAccount]] = {}  # by server, the longest due first
        self._running: dict[str, _Round] = {}  # by account
        self._again: dict[str, DueAccount] = {}  # asked for while their round was running
        self._aborts: dict[str, int] = {}  # by account: rounds aborted in a row
        self._yielded: set[str] = set()  # accounts
        self._exhausted: set[str] = set()  # the limits that queued accounts wait for
        self._stopping = False
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(self._limits.rounds, "round")

    # -- from outside --------------------------------------------------------------------

    def offer(self, accounts: Iterable[DueAccount]) -> None:
        """Replace the queues by these due accounts. Call it every few seconds: it also ends time slices."""
        with self._changed:
            self._queues = {}
            for account in sorted(accounts, key=self._due_since):
                self._enqueue(account)
            self._start_rounds()
            self._end_slices()

    def add(self, account: DueAccount, *, again: bool = False) -> None:
        """Queue an account that is asked for, before the others of its server.

        `again`: where its round is running, which may be past its search, another one follows.
        """
        with self._changed:
            if again and account.uuid in self._running:
                self._again[account.uuid] = account
                return
            queue = self._queues.get(self._server_of(account), ())
            if all(other.uuid != account.uuid for other in queue):
                self._enqueue(account, first=True)
                self._start_rounds()

    def finish(self) -> None:
        """Wait until all queued accounts were collected."""
        with self._changed:
            while self._queues or self._running:
                self._changed.wait(1.0)
                self._start_rounds()
                self._end_slices()

    def stop(self, seconds: float) -> bool:
        """Start nothing more and have all rounds yield. Whether they have ended within `seconds`."""
        with self._changed:
            self._stopping = True
            self._queues = {}
            for running in self._running.values():
                running.control.should_yield = True
            return self._changed.wait_for(lambda: not self._running, seconds)

    # -- starting rounds -----------------------------------------------------------------

    def _due_since(self, account: DueAccount) -> tuple[float, str]:
        penalty = self._limits.yield_penalty if account.uuid in self._yielded else 0.0
        return account.since + penalty, account.uuid

    def _enqueue(self, account: DueAccount, *, first: bool = False) -> None:
        if account.uuid in self._running or self._stopping:
            return
        queue = self._queues.setdefault(self._server_of(account), deque())
        queue.appendleft(account) if first else queue.append(account)

    def _start_rounds(self) -> None:
        """One per server in turn, until limits are exhausted; remembers which ones the rest waits for."""
        self._exhausted = set()
        started = True
        while started:
            started = False
            for server, queue in list(self._queues.items()):
                limit = self._limit_reached(server, queue[0])
                if limit is not None:
                    self._exhausted.add(limit)
                    if limit == "rounds":
                        return
                    continue
                self._start(server, queue.popleft())
                started = True
                if not queue:
                    del self._queues[server]

    def _limit_reached(self, server: str, account: DueAccount) -> str | None:
        """The limit that keeps a round from starting: rounds, unproven, or the server's name."""
        limits, running = self._limits, self._running.values()
        if len(running) >= limits.rounds:
            return "rounds"
        known = self._servers.get(server)
        most = limits.per_failing_server if known and known.is_failing else limits.per_server
        if sum(each.server == server for each in running) >= most:
            return server
        if self._is_unproven(server, account) and sum(each.unproven for each in running) >= limits.unproven:
            return "unproven"
        return None

    def _is_unproven(self, server: str, account: DueAccount) -> bool:
        known = self._servers.get(server)
        if known and known.is_hanging and known.results:
            return True
        return not (account.worked or (known and known.worked))

    def _start(self, server: str, account: DueAccount) -> None:
        started = _Round(account, server, self._is_unproven(server, account), RoundControl())
        self._running[account.uuid] = started
        self._pool.submit(self._run, started)

    def _server_of(self, account: DueAccount) -> str:
        """By address where it is known, since many names may lead to one server."""
        address, _ = self._addresses.get(account.host, (account.host, 0.0))
        return f"{address} {account.port}"

    # -- one round, in its thread --------------------------------------------------------

    def _run(self, this: _Round) -> None:
        try:
            if self._resolve(this):
                self._collect(this.account.uuid, this.control)
        except Exception:  # one account must not stop the others
            log.exception("A round failed with an unknown error.")
        with self._changed:
            self._running.pop(this.account.uuid, None)
            self._record(this)
            if (again := self._again.pop(this.account.uuid, None)) is not None:
                self._enqueue(again, first=True)
            if not self._stopping:
                self._start_rounds()
            self._changed.notify_all()

    def _resolve(self, this: _Round) -> bool:
        """Look up the server's address. False (queued again) where that server has enough rounds already."""
        account = this.account
        if self._addresses.get(account.host, ("", 0.0))[1] > (now := time.monotonic()):
            return True
        address = self._address_of(account.host, account.port) or account.host
        with self._changed:
            self._addresses[account.host] = (address, now + ADDRESS_SECONDS)
            server = self._server_of(account)
            others = sum(each.server == server and each is not this for each in self._running.values())
            this.control.started_at = time.monotonic()
            if others < self._limits.per_server:
                this.server, this.unproven = server, self._is_unproven(server, account)
                return True
            del self._running[account.uuid]
            self._enqueue(account)
            return False

    def _record(self, this: _Round) -> None:
        uuid, control = this.account.uuid, this.control
        if not control.should_yield:
            self._yielded.discard(uuid)
        if not control.result:
            return
        if len(self._servers) > MOST_SERVERS:
            self._servers.clear()  # the database also knows which accounts worked
        server = self._servers.setdefault(this.server, _Server())
        if control.result == "worked":
            server.worked = True
            self._aborts.pop(uuid, None)
        hung = control.result == "failed" and control.seconds > self._limits.hang_seconds
        server.results[uuid] = "hung" if hung else control.result

    # -- ending time slices --------------------------------------------------------------

    def _end_slices(self) -> None:
        """Have rounds yield, or abort them, that have used up their slice while others wait for the place."""
        for uuid, this in self._running.items():
            control = this.control
            if control.delivered:
                this.unproven = False
            if not self._blocks_others(this):
                continue
            allowed = self._slice(this)
            if control.seconds <= allowed:
                continue
            if control.delivered and not control.should_yield:
                control.should_yield, control.yield_asked_at = True, time.monotonic()
                self._yielded.add(uuid)
            elif not control.delivered or time.monotonic() - control.yield_asked_at > allowed:
                self._abort(uuid, control)

    def _blocks_others(self, this: _Round) -> bool:
        exhausted = self._exhausted
        unproven = this.unproven and "unproven" in exhausted
        return "rounds" in exhausted or this.server in exhausted or unproven

    def _slice(self, this: _Round) -> float:
        logging_in = this.unproven and not this.control.mailbox_open
        base = self._limits.login_seconds if logging_in else self._limits.slice_seconds
        return base * 2.0 ** min(self._aborts.get(this.account.uuid, 0), MOST_DOUBLINGS)

    def _abort(self, uuid: str, control: RoundControl) -> None:
        if not control.interrupt.ended:
            self._aborts[uuid] = self._aborts.get(uuid, 0) + 1
            control.interrupt.end()
