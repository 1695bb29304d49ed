"""The queue between web and worker: Huey, and its tasks, each one line into a service.

Nothing hangs on the queue: our tables say what is due, and the tick of every
few seconds enqueues again what a kill has lost. Arguments are ids only, tasks are
signed (whoever writes queue.db still cannot make the worker load a pickle of
his), and results are switched off, because they would keep exceptions, and with
them what a server echoed.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING

from huey import SqliteHuey
from huey.api import Huey, TaskWrapper
from huey.serializer import SignedSerializer

from panel import db, install
from panel.collect import due
from panel.collect.round import Collector
from panel.collect.scheduler import Scheduler
from panel.collect.turn import Turn
from panel.config import Settings
from panel.encryption.leftovers import scan
from panel.errors import DatabaseError, KeyAbsent, PanelError, RestoredCopy
from panel.health import heartbeat, maintenance
from panel.mail import addresses
from panel.secret import Secret
from panel.vault import reports, unfinished

if TYPE_CHECKING:
    from panel.services import Services

THREADS = 4  # for what the queue carries; rounds have threads of their own
TICK_SECONDS = 5.0  # between two looks at what is due
LONGEST_POLL = 1.0  # seconds until an idle worker thread looks again
STOP_SECONDS = 5  # given to tasks in hand when the worker is stopped: each can be resumed,
ROUND_STOP_SECONDS = 15  # and then to rounds under way
LOOK_UP_SECONDS = 5.0  # for the address of a mail server

log = logging.getLogger(__name__)


class Jobs:
    """The queue of one install: what routes enqueue, and what the worker does with it."""

    def __init__(self, services: Services) -> None:
        """Keep `services` for the tasks; the queue itself is opened at the first use."""
        self._services = services

    def prepare(self) -> None:
        """Make the queue where there is none. Raises DatabaseError where it cannot be used."""
        self._huey  # noqa: B018 - opening it is all

    def collect(self, uuid: str) -> None:
        """Have the worker collect the mail of account `uuid` soon, whatever it backs off from."""
        due.at_once(uuid)
        self._enqueue("collect_account", uuid)

    def sweep(self) -> None:
        """Have the worker go on with encrypting or decrypting stored passwords soon."""
        self._enqueue("sweep")

    def _enqueue(self, task: str, *ids: str) -> None:
        """What was asked for is done already; if the queue is busy, the next tick enqueues it."""
        try:
            self._tasks[task](*ids)
        except (sqlite3.Error, DatabaseError) as error:
            log.warning("%s could not be enqueued (%s); the worker finds it by itself.", task, error)

    def work(self, ready: Callable[[], None]) -> None:
        """Be the worker until SIGTERM, which lets tasks and rounds in hand finish for some seconds.

        `ready` is called once work has begun. Raises DatabaseError where the queue cannot be opened.
        """
        consumer = self._huey.create_consumer(
            workers=THREADS,
            max_delay=LONGEST_POLL,
            scheduler_interval=5,
            graceful_signal="TERM",
            shutdown_timeout=STOP_SECONDS,
        )
        scheduler = self._scheduler
        threading.Thread(target=self._tick_on, daemon=True).start()
        ready()
        consumer.run()
        scheduler.stop(ROUND_STOP_SECONDS)

    def _tick_on(self) -> None:
        # Huey's crontab knows whole minutes only: an account due a second later would wait for two.
        beat = _told(heartbeat.beat)
        while True:
            try:
                beat()  # of this very loop: while it stands still, the worker is not heard of
                self._tasks["tick"].call_local()
            except Exception:  # a full disk, a locked queue: the next turn may go well, and must come
                log.exception("Looking for what is due met an error that Mailkeep does not know.")
            time.sleep(TICK_SECONDS)

    @cached_property
    def _tasks(self) -> dict[str, TaskWrapper]:
        """Every task by its name. Huey finds them by that name, in web and worker alike.

        Two threads that come here at once make two queues on the same file, which is harmless.
        """
        huey = _open(self._services.settings)
        collector = Collector(self._services.settings, self._services.vault)
        sweeping, looking = threading.Lock(), threading.Lock()

        def collect_account(uuid: str) -> None:
            if one := due.find(uuid):
                self._scheduler.add(one)

        def sweep() -> None:
            if not sweeping.acquire(blocking=False):
                return  # one at a time: a long one must not take the threads of collecting
            try:
                unfinished.resume(collector.vault)
                if reports.pending() is not None:
                    self._enqueue("look")
            finally:
                sweeping.release()

        def look() -> None:
            if not looking.acquire(blocking=False):
                return
            try:
                scan.write_owed(collector.vault, self._services.settings)
            finally:
                looking.release()

        def run_maintenance() -> None:
            maintenance.run(self._services.settings)

        def tick() -> None:
            self.sweep()
            if maintenance.is_due():
                self._enqueue("keep_up")
            waiting: list[due.Waiting] = []
            # The sweep keeps the one in Activity, once; `panel.serve` has said the other at its start.
            with suppress(KeyAbsent, RestoredCopy):
                collector.require_ready()
                waiting = due.waiting()
            self._scheduler.offer(waiting)

        return {
            "collect_account": huey.task(name="collect_account")(_told(collect_account)),
            "sweep": huey.task(name="sweep")(_told(sweep)),
            "look": huey.task(name="look")(_told(look)),
            "keep_up": huey.task(name="keep_up")(_told(run_maintenance)),
            "tick": huey.task(name="tick")(_told(tick)),
        }

    @cached_property
    def _scheduler(self) -> Scheduler:
        """Who collects, in the worker alone: it makes it before it has other threads."""
        collector = Collector(self._services.settings, self._services.vault)

        def collect(uuid: str, turn: Turn) -> None:
            outcome = collector.collect(uuid, turn=turn)
            if outcome and outcome.delivered:
                log.info("%s: %d new messages.", outcome.address, outcome.delivered)

        return Scheduler(
            lambda uuid, turn: _told(partial(collect, turn=turn), "collect_account")(uuid),
            address_of=partial(addresses.number_of, seconds=LOOK_UP_SECONDS),
        )

    @property
    def _huey(self) -> Huey:
        return self._tasks["tick"].huey


def _open(settings: Settings) -> Huey:
    path = settings.queue_url.removeprefix("sqlite:///")
    serializer = SignedSerializer(_signing_key(install.read_secret_key(settings)))
    try:
        return SqliteHuey("mailkeep", filename=path, results=False, serializer=serializer)
    except sqlite3.DatabaseError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise DatabaseError(f"The queue {path} is busy.", "Try again in a minute.") from None
        raise DatabaseError(
            f"The queue {path} cannot be used ({error}).",
            "Stop Mailkeep and remove that file: it holds nothing that is not enqueued again.",
        ) from None


def _signing_key(secret: Secret | None) -> str:
    if secret is None:
        raise DatabaseError("There is no secret key to sign tasks with.", "Start script/server once.")
    return hmac.new(secret.reveal_bytes(), b"mailkeep/queue", hashlib.sha256).hexdigest()


def _told(task: Callable[..., None], name: str = "") -> Callable[..., None]:
    """`task` with the database open for it; an expected error becomes a line of the log."""

    def run(*ids: str) -> None:
        try:
            with db.explained(), db.database.connection_context():
                task(*ids)
        except PanelError as error:
            log.warning("%s: %s", " ".join((name or task.__name__, *ids)), error)

    return run
