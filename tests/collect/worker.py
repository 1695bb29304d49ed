"""The part of the worker that collects, in the process of a test: scheduler, rounds and parked sessions."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from panel import db
from panel.collect import due
from panel.collect.control import RoundControl
from panel.collect.due import DueAccount
from panel.collect.parking import Parking
from panel.collect.round import Collector
from panel.collect.scheduler import Scheduler
from panel.errors import PanelError
from panel.models import Account, Collection
from tests.collect.conftest import PostOffice
from tests.running import wait_until

TICK = 0.2  # seconds, for the five of a real worker


class Worker:
    """Runs inside `with`. `rounds` holds the uuid of every round that ended, in order."""

    def __init__(self, post: PostOffice, most: int = 50, tick: float = TICK) -> None:
        self.post = post
        self.rounds: list[str] = []
        self.errors: list[PanelError] = []
        self.parking = Parking(most, self._call, post.collector.require_ready)
        self.collector = Collector(post.settings, post.vault, self.parking)
        self.scheduler = Scheduler(self._collect)
        self._tick = tick
        self._stopping = threading.Event()

    def _call(self, account: DueAccount) -> None:
        self.scheduler.add(account, again=True)

    def _collect(self, uuid: str, control: RoundControl) -> None:
        with db.database.connection_context():
            try:
                if self.collector.collect(uuid, control=control) is not None:
                    self.rounds.append(uuid)
            except PanelError as error:
                self.errors.append(error)

    def _tick_forever(self) -> None:
        while not self._stopping.wait(self._tick):
            with db.database.connection_context():
                accounts = [*due.accounts(), *self.parking.calling()]
            self.scheduler.offer({account.uuid: account for account in accounts}.values())

    def __enter__(self) -> Self:
        self.parking.start()
        self._ticking = threading.Thread(target=self._tick_forever, daemon=True)
        self._ticking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._ticking.join()
        self.parking.stop()
        assert self.scheduler.stop(60)

    # -- what a test waits for ---------------------------------------------------------

    def parked(self, *accounts: Account) -> None:
        """Wait until all of them are parked, their servers have answered IDLE, and their rounds have ended."""
        wait_until(lambda: all(self._rests(str(account.uuid)) for account in accounts), "parked sessions")

    def _rests(self, uuid: str) -> bool:
        one = self.parking._here.get(uuid)
        client = one.session._connected if one else None
        return client is not None and client._continued and uuid not in self.scheduler._running

    def arrived(self, account: Account, count: int) -> None:
        """Wait until so many messages lie in new/, for less time than any interval has."""
        new = self.post.spool(account) / "new"
        wait_until(lambda: new.exists() and len(list(new.iterdir())) >= count, f"{count} messages")

    def ended(self, account: Account) -> None:
        """Wait until its session is gone."""
        wait_until(lambda: account.uuid not in self.parking._here, "the end of the session")

    def marked(self, account: Account) -> bool:
        """Whether the row says that it is connected."""
        return Collection.get_by_id(account.uuid).parked_by is not None
