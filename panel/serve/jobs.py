"""The queue between web and worker: Huey, and its tasks, each one line into a service.

Nothing depends on the queue: the tables know what is due, and every few seconds the tick enqueues what a
kill has lost. Arguments are ids only. Tasks are signed: write access to queue.db must not make the worker
load a pickle. Results are switched off, since they would store exceptions and with them reflected secrets.
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
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from huey import SqliteHuey
from huey.api import Huey, TaskWrapper
from huey.serializer import SignedSerializer

from panel import db, install
from panel.accounts import removal
from panel.collect import due
from panel.collect.control import RoundControl
from panel.collect.parking import Parking
from panel.collect.round import Collector
from panel.collect.scheduler import Scheduler, look_up
from panel.config import Settings
from panel.deliver import mailboxes
from panel.encryption.leftovers import scan
from panel.errors import DatabaseError, KeyAbsent, PanelError, RestoredCopy
from panel.health import heartbeat, maintenance
from panel.secret import Secret
from panel.vault import reports, unfinished

if TYPE_CHECKING:
    from panel.services import Services

THREADS = 4  # for the queue; rounds have threads of their own
TICK_SECONDS = 5.0  # between two queries for what is due
LOCK_SECONDS = 5.0  # for which a task waits for a busy queue
LONGEST_POLL = 1.0  # seconds after which an idle thread polls the queue
STOP_SECONDS = 5  # for running tasks to end, each of which can be resumed,
ROUND_STOP_SECONDS = 15  # and then for running rounds

log = logging.getLogger(__name__)


class Jobs:
    """The queue of one install: what routes enqueue, and what the worker does with it."""

    def __init__(self, services: Services) -> None:
        """Tasks work on `services`. The queue is opened at its first use."""
        self._services = services
        self._collector = Collector(services.settings, services.vault)

    def prepare(self) -> None:
        """Create the queue if there is none. Raises DatabaseError where it cannot be used."""
        self._huey  # noqa: B018 - opening it is all

    def collect(self, uuid: str) -> None:
        """Have the worker collect account `uuid` soon, in spite of any back-off."""
        due.make_due(uuid)
        self._enqueue("collect_account", uuid)

    def sweep(self) -> None:
        """Have the worker resume encrypting or decrypting stored passwords soon."""
        self._enqueue("sweep")

    def _enqueue(self, task: str, *ids: str) -> None:
        """Enqueue a task. Where the queue is busy, the next tick does: the tables know the work."""
        try:
            self._tasks[task](*ids)
        except (sqlite3.Error, DatabaseError) as error:
            log.warning("%s could not be enqueued (%s); the worker finds the work by itself.", task, error)

    def work(self, ready: Callable[[], None]) -> None:
        """Be the worker until SIGTERM, which gives running tasks and rounds some seconds to end.

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
        db.database.obj.pool_connections()  # to open one takes a tenth of a round without news
        self._parking.start()
        threading.Thread(target=self._tick_forever, daemon=True).start()
        ready()
        consumer.run()
        self._parking.stop()
        scheduler.stop(ROUND_STOP_SECONDS)
        db.database.obj.close_idle()

    def _tick_forever(self) -> None:
        # Huey's crontab knows whole minutes only: an account due a second later would wait for two.
        beat = _logged(heartbeat.beat, "heartbeat")
        while True:
            try:
                beat()  # by this very loop: if it hangs, the heartbeat stops
                self._tasks["tick"].call_local()
            except Exception:  # a full disk, a locked queue: the next tick may succeed, and must come
                log.exception("The worker's tick failed with an unknown error.")
            time.sleep(TICK_SECONDS)

    # -- tasks ---------------------------------------------------------------------------

    @cached_property
    def _tasks(self) -> dict[str, TaskWrapper]:
        """Every task by its name, by which Huey finds it in web and worker alike.

        Two threads that come here at once open the same queue file twice, which is harmless.
        """
        settings, vault = self._services.settings, self._services.vault
        huey = _open(settings)
        tasks: dict[str, Callable[..., None]] = {
            "collect_account": self._collect_account,
            "sweep": _one_at_a_time(self._sweep),
            "scan": _one_at_a_time(partial(scan.finish_report, vault, settings)),
            "maintain": partial(maintenance.run, settings),
            "purge": _one_at_a_time(removal.purge),
            "tick": self._tick,
        }
        return {name: huey.task(name=name)(_logged(task, name)) for name, task in tasks.items()}

    def _collect_account(self, uuid: str) -> None:
        if account := due.find(uuid):
            self._scheduler.add(account)

    def _sweep(self) -> None:
        unfinished.resume(self._services.vault)
        if reports.pending() is not None:
            self._enqueue("scan")

    def _tick(self) -> None:
        """Enqueue whatever the tables say is due."""
        self.sweep()
        if maintenance.is_due():
            self._enqueue("maintain")
        if removal.is_due():
            self._enqueue("purge")
        accounts: list[due.DueAccount] = []
        # The sweep reports a missing key in Activity, once; the server's start logs a restored copy.
        with suppress(KeyAbsent, RestoredCopy):
            self._collector.require_ready()
            accounts = [*due.accounts(), *self._parking.calling()]
        self._scheduler.offer({account.uuid: account for account in accounts}.values())
        mailboxes.publish(self._services.settings)

    @cached_property
    def _scheduler(self) -> Scheduler:
        """Runs the rounds, in the worker alone, which creates it before it has other threads."""

        def collect(uuid: str, control: RoundControl) -> None:
            collector = replace(self._collector, parking=self._parking)
            outcome = collector.collect(uuid, control=control)
            if outcome and outcome.delivered:
                log.info("%s: %d new.", outcome.address, outcome.delivered)

        return Scheduler(_logged(collect, "collect_account"), address_of=look_up)

    @cached_property
    def _parking(self) -> Parking:
        """The sessions that stay open between rounds, in the worker alone too."""
        most = self._services.settings.idle_connections

        def call(account: due.DueAccount) -> None:
            self._scheduler.add(account, again=True)

        return Parking(most, call, self._collector.require_ready)

    @property
    def _huey(self) -> Huey:
        return self._tasks["tick"].huey


def _open(settings: Settings) -> Huey:
    path = settings.queue_url.removeprefix("sqlite:///")
    serializer = SignedSerializer(_signing_key(install.read_secret_key(settings)))
    try:
        return SqliteHuey(
            "mailkeep", filename=path, results=False, serializer=serializer, timeout=LOCK_SECONDS
        )
    except sqlite3.DatabaseError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise DatabaseError(f"The queue {path} is busy.", "Try again in a minute.") from None
        raise DatabaseError(
            f"The queue {path} cannot be used ({error}).",
            "Stop Mailkeep and delete that file: the next start creates it again, and loses no work.",
        ) from None


def _signing_key(secret: Secret | None) -> str:
    if secret is None:
        raise DatabaseError("There is no secret key to sign tasks with.", "Start script/server once.")
    return hmac.new(secret.reveal_bytes(), b"mailkeep/queue", hashlib.sha256).hexdigest()


def _one_at_a_time(task: Callable[[], object]) -> Callable[[], None]:
    """`task`, skipped while it runs: a long one must not occupy all threads."""
    lock = threading.Lock()

    def run() -> None:
        if not lock.acquire(blocking=False):
            return
        try:
            task()
        finally:
            lock.release()

    return run


def _logged(task: Callable[..., None], name: str) -> Callable[..., None]:
    """`task` with the database open for it; an expected error becomes a line of the log."""

    def run(*arguments: object) -> None:
        try:
            with db.explained(), db.database.connection_context():
                task(*arguments)
        except PanelError as error:
            ids = [argument for argument in arguments if isinstance(argument, str)]
            log.warning("%s: %s", " ".join((name, *ids)), error)

    return run
