"""Whose turn it is: many rounds at once, so that no slow mail server keeps another mailbox waiting.

What waits for the network costs little, so rounds are many. What keeps them from being taken by a
few servers:

- a server (by address and port) has at most so many rounds at once, and few while most of its rounds fail;
- servers that have not worked yet, or whose rounds mostly hang, share a part of the rounds;
- while others wait for its place, a round that has had its time gives way after a batch and goes on
  later where it stopped. One that has delivered nothing in that time is ended, and has twice as long the next
  time: a slow server is reached in the end, a hanging one holds a place for seconds.

Nothing here is kept: who is due stands in the database, and its leases keep two processes from the
same mailbox (docs/decisions/0024-turns.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from panel.collect.due import Waiting
from panel.collect.turn import Turn

ADDRESS_SECONDS = 300  # that the address of a name is taken to be the same
MOST_SERVERS = 5_000  # that are remembered
MOST_DOUBLINGS = 6

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How many rounds at once, and for how many seconds while others wait for their place."""

    rounds: int = 64
    doubtful: int = 32  # of them on servers that have not worked yet, or mostly hang
    per_server: int = 8
    slowed: int = 2  # the same where most of its rounds fail
    way_in: float = 15.0  # for a doubtful server, until the mailbox is open
    turn: float = 30.0  # for everyone
    hanging: float = 5.0  # who failed after so long has held up others; who fails at once has not
    penalty: float = 300.0  # so much later than the others is due who gave way


@dataclass
class _Server:
    """What the last round of each of its mailboxes said of it: one that hangs says nothing of the others."""

    worked: bool = False
    last: dict[str, str] = field(default_factory=dict)  # worked, failed or hung, by mailbox

    @property
    def is_failing(self) -> bool:
        return len(self.last) > 1 and 2 * sum(one != "worked" for one in self.last.values()) > len(self.last)

    @property
    def is_hanging(self) -> bool:
        return 2 * sum(one == "hung" for one in self.last.values()) > len(self.last)


@dataclass
class _Round:
    waiting: Waiting
    server: str
    doubtful: bool
    turn: Turn


class Scheduler:
    """Gives turns to what is offered, in threads of its own. Its methods may be called by any thread."""

    def __init__(
        self,
        collect: Callable[[str, Turn], None],
        limits: Limits | None = None,
        address_of: Callable[[str, int], str | None] = lambda host, port: None,
    ) -> None:
        """`collect` is one round of the account with that uuid; `address_of` may take its time."""
        self._collect = collect
        self._limits = limits or Limits()
        self._address_of = address_of
        self._addresses: dict[str, tuple[str, float]] = {}  # by name: the address, and until when
        self._servers: dict[str, _Server] = {}
        self._waiting: dict[str, deque[Waiting]] = {}  # by server, the longest waiting first
        self._under_way: dict[str, _Round] = {}  # by account
        self._cuts: dict[str, int] = {}  # how often an account's round was ended in a row
        self._gave_way: set[str] = set()
        self._full: set[str] = set()  # what those that wait are waiting for
        self._stopping = False
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(self._limits.rounds, "round")

    # -- from outside --------------------------------------------------------------------

    def offer(self, waiting: Iterable[Waiting]) -> None:
        """These are due, and no others. To be called every few seconds: it also has rounds give way."""
        with self._changed:
            self._waiting = {}
            for one in sorted(waiting, key=self._waits_since):
                self._enqueue(one)
            self._give_turns()
            self._hurry()

    def add(self, one: Waiting) -> None:
        """This is due besides, and somebody asks for it: before the others of its server."""
        with self._changed:
            queue = self._waiting.get(self._server_of(one), ())
            if one.uuid not in self._under_way and all(other.uuid != one.uuid for other in queue):
                self._enqueue(one, first=True)
                self._give_turns()

    def finish(self) -> None:
        """Wait until all that was offered has had its turn."""
        with self._changed:
            while self._waiting or self._under_way:
                self._changed.wait(1.0)
                self._give_turns()
                self._hurry()

    def stop(self, seconds: float) -> bool:
        """Begin nothing more, and have what is under way end at its next batch. Whether all has."""
        with self._changed:
            self._stopping = True
            self._waiting = {}
            for one in self._under_way.values():
                one.turn.give_way = True
            return self._changed.wait_for(lambda: not self._under_way, seconds)

    # -- who may begin -------------------------------------------------------------------

    def _waits_since(self, one: Waiting) -> tuple[float, str]:
        late = self._limits.penalty if one.uuid in self._gave_way else 0.0
        return one.since + late, one.uuid

    def _enqueue(self, one: Waiting, *, first: bool = False) -> None:
        if one.uuid in self._under_way or self._stopping:
            return
        queue = self._waiting.setdefault(self._server_of(one), deque())
        queue.appendleft(one) if first else queue.append(one)

    def _give_turns(self) -> None:
        """One to each server in turn, until all is full. Notes what those that are left are waiting for."""
        self._full = set()
        begun = True
        while begun:
            begun = False
            for server, queue in list(self._waiting.items()):
                reason = self._why_not(server, queue[0])
                if reason == "rounds":
                    self._full.add(reason)
                    return
                if reason is not None:
                    self._full.add(reason)
                    continue
                self._begin(server, queue.popleft())
                begun = True
                if not queue:
                    del self._waiting[server]

    def _why_not(self, server: str, one: Waiting) -> str | None:
        """What there are too many of already: rounds, doubtful ones, or those of this server."""
        limits, under_way = self._limits, self._under_way.values()
        if len(under_way) >= limits.rounds:
            return "rounds"
        known = self._servers.get(server)
        most = limits.slowed if known and known.is_failing else limits.per_server
        if sum(each.server == server for each in under_way) >= most:
            return server
        if self._is_doubtful(server, one) and sum(each.doubtful for each in under_way) >= limits.doubtful:
            return "doubtful"
        return None

    def _is_doubtful(self, server: str, one: Waiting) -> bool:
        known = self._servers.get(server)
        if known and known.is_hanging and known.last:
            return True
        return not (one.worked or (known and known.worked))

    def _begin(self, server: str, one: Waiting) -> None:
        begun = _Round(one, server, self._is_doubtful(server, one), Turn())
        self._under_way[one.uuid] = begun
        self._pool.submit(self._run, begun)

    def _server_of(self, one: Waiting) -> str:
        """By address where it is known: many names may lead to one server."""
        address, _ = self._addresses.get(one.host, (one.host, 0.0))
        return f"{address} {one.port}"

    # -- one round, in a thread of its own -----------------------------------------------

    def _run(self, this: _Round) -> None:
        try:
            if self._may_stay(this):
                self._collect(this.waiting.uuid, this.turn)
        except Exception:  # one account must not end the others'
            log.exception("A round met an error that Mailkeep does not know.")
        with self._changed:
            self._under_way.pop(this.waiting.uuid, None)
            self._note(this)
            if not self._stopping:
                self._give_turns()
            self._changed.notify_all()

    def _may_stay(self, this: _Round) -> bool:
        """Look up the address where it is not known. False where its server has enough rounds already."""
        one, now = this.waiting, time.monotonic()
        if self._addresses.get(one.host, ("", 0.0))[1] > now:
            return True
        address = self._address_of(one.host, one.port) or one.host
        with self._changed:
            self._addresses[one.host] = (address, now + ADDRESS_SECONDS)
            server = self._server_of(one)
            there = [each for each in self._under_way.values() if each.server == server and each is not this]
            this.turn.begun = time.monotonic()
            if len(there) < self._limits.per_server:
                this.server, this.doubtful = server, self._is_doubtful(server, one)
                return True
            del self._under_way[one.uuid]
            self._enqueue(one)
            return False

    def _note(self, this: _Round) -> None:
        uuid, turn = this.waiting.uuid, this.turn
        if not turn.give_way:
            self._gave_way.discard(uuid)
        if not turn.result:
            return
        if len(self._servers) > MOST_SERVERS:
            self._servers.clear()  # what worked stands in the database too
        server = self._servers.setdefault(this.server, _Server())
        if turn.result == "worked":
            server.worked = True
            self._cuts.pop(uuid, None)
        hung = turn.result == "failed" and turn.seconds > self._limits.hanging
        server.last[uuid] = "hung" if hung else turn.result

    # -- who must end --------------------------------------------------------------------

    def _hurry(self) -> None:
        """Have those give way, or end, that have had their time and hold a place that others wait for."""
        for uuid, this in self._under_way.items():
            turn = this.turn
            if turn.delivered:
                this.doubtful = False
            if not self._is_waited_for(this):
                continue
            idle_timeout = self._patience(this)
            if turn.seconds <= idle_timeout:
                continue
            if turn.delivered and not turn.give_way:
                turn.give_way, turn.asked_at = True, time.monotonic()
                self._gave_way.add(uuid)
            elif not turn.delivered or time.monotonic() - turn.asked_at > idle_timeout:
                self._end(uuid, turn)

    def _is_waited_for(self, this: _Round) -> bool:
        full = self._full
        return "rounds" in full or this.server in full or (this.doubtful and "doubtful" in full)

    def _patience(self, this: _Round) -> float:
        still_outside = this.doubtful and not this.turn.opened
        base = self._limits.way_in if still_outside else self._limits.turn
        return base * 2.0 ** min(self._cuts.get(this.waiting.uuid, 0), MOST_DOUBLINGS)

    def _end(self, uuid: str, turn: Turn) -> None:
        if not turn.interrupt.ended:
            self._cuts[uuid] = self._cuts.get(uuid, 0) + 1
            turn.interrupt.end()
