"""Delivers what waits in the spool: each mailbox in order, mailboxes and targets beside each other.

A message that fails is tried again before its successors. After its tries it is set aside, but only where it
fails although the target has just taken another one: while a target is down, no message counts as bad.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from panel.deliver import command, http, lmtp, sample, spool, targets_file
from panel.deliver.message import Disposition, OutgoingMessage, TryResult, delivery_id
from panel.deliver.queue import USUAL, Pace, Queue, TargetHealth
from panel.deliver.spool import ASIDE, SENT, NotOurs
from panel.deliver.targets import MAILDIR, CommandTarget, DeliveryTarget, HttpTarget, LmtpTarget, Targets
from panel.errors import PanelError
from panel.mail.policy import Policy
from panel.wording import reason

PARALLEL = 4  # mailboxes that are delivered to one target at the same time
MOST_IN_A_TURN = 20  # messages of a mailbox before others have their turn
ASIDE_MAILBOXES = 1000  # that are reported
NEW = "new"
MODE = 0o640  # of what it tells
DAY, HOUR, STOP_SECONDS = 24 * 3600, 3600.0, 15.0

log = logging.getLogger("panel.deliver")


@dataclass(frozen=True)
class Turn:
    """A mailbox that has its turn: its target, the messages that are still to go, and its open folders."""

    queue: Queue
    target: DeliveryTarget
    health: TargetHealth
    names: deque[str]
    folders: Mapping[str, int]  # descriptors, by name


class Deliverer:
    """The deliverer of one spool, until `stopping`. It holds a lock there: a second one waits."""

    def __init__(
        self, path: Path, targets_file: Path, policy: Policy, stopping: threading.Event, pace: Pace = USUAL
    ) -> None:
        self._spool = path
        self._targets_file = targets_file
        self._policy = policy
        self._stopping = stopping
        self._gave_way = threading.Event()  # a mailbox, which goes on at once unless others wait
        self._pace = pace
        self._changing = threading.Lock()  # healths and queues
        self._targets = Targets()
        self._healths: dict[str, TargetHealth] = {}
        self._queues: dict[str, Queue] = {}
        self._earlier: dict[str, Queue] = {}  # and all that were: one that comes back may still be busy
        self._problem = ""
        self._marks: dict[Path, object] = {}
        self._owner = -1
        self._lock: int | None = None
        self._tested: set[str] = set()
        self._reported = self._cleaned = float("-inf")

    def run(self) -> None:
        """Deliver. What is under way at the end has some seconds left."""
        while not self._stopping.is_set():
            self._gave_way.clear()
            self._look()
            self._gave_way.wait(self._pace.poll)
        ends_at = time.monotonic() + STOP_SECONDS
        while any(queue.busy for queue in self._queues.values()) and time.monotonic() < ends_at:
            time.sleep(0.05)
        self._report_targets()
        if self._lock is not None:
            os.close(self._lock)

    # -- what there is to do -------------------------------------------------------------

    def _look(self) -> None:
        """Start what is due, and tell how it is going."""
        before, self._problem = self._problem, ""
        try:
            self._prepare()
            for name in self._requests():
                self._tested.add(name)
                self._test(name)
            with self._changing:
                due = [queue for queue in self._queues.values() if self._is_due(queue)]
                for queue in sorted(due, key=lambda each: (each.attempts, each.due)):
                    self._start(queue)
            self._remove_old()
        except (OSError, NotOurs, PanelError) as error:
            self._problem = _worded(error)
            if self._problem != before:
                log.warning("Nothing is delivered. %s", self._problem)
        if self._problem != before or time.monotonic() - self._reported > self._pace.report:
            self._report_targets()

    def _prepare(self) -> None:
        """Read again what has changed. Raises OSError, NotOurs, SettingsError: then nothing is delivered."""
        state, listed = (spool.beside(self._spool, name) for name in ("state", "mailboxes.json"))
        if not listed.exists():
            raise NotOurs(
                f"The panel has not written {listed} yet. Does script/server run, with this PANEL_MAIL_SPOOL?"
            )
        if self._lock is None:
            self._lock = spool.locked(state / "lock")
        found = self._spool.stat()
        if found.st_mode & 0o022:
            raise NotOurs(f"Others than its owner can write {self._spool}. Type: chmod go-w '{self._spool}'")
        self._owner = found.st_uid
        self._if_changed(self._targets_file, self._read_targets)
        self._if_changed(listed, self._read_mailboxes)

    def _if_changed(self, path: Path, read: Callable[[], None]) -> None:
        found = path.stat()
        mark = (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode, found.st_uid)
        if self._marks.get(path) != mark:
            read()
            self._marks[path] = mark

    def _read_targets(self) -> None:
        self._marks.pop(self._targets_file, None)
        self._targets = targets_file.read(self._targets_file, {0, os.geteuid()})
        for name in self._targets.by_name.keys() - self._healths.keys():
            self._healths[name] = TargetHealth(self._pace, ThreadPoolExecutor(PARALLEL, name))

    def _read_mailboxes(self) -> None:
        path, queues = spool.beside(self._spool, "mailboxes.json"), {}
        listed = spool.read(path, spool.LARGEST_MAILBOXES, self._owner)
        if not listed and path.stat().st_size > len("{}"):
            raise NotOurs(f"{path} is damaged, or does not belong to the owner of the spool.")
        for uuid, values in listed.items():
            if spool.is_uuid(uuid) and isinstance(values, dict):
                queue = queues[uuid] = self._earlier[uuid] = self._earlier.get(uuid) or self._queue(uuid)
                queue.address, queue.due = spool.text(values.get("address")), 0.0
                queue.chosen = spool.text(values.get("target"))
        with self._changing:
            self._queues = queues

    def _queue(self, uuid: str) -> Queue:
        beside = spool.beside(self._spool, uuid)
        reported = spool.read(self._state_of(uuid), owner=os.geteuid())
        queue = Queue(self._pace, uuid, self._spool / uuid, beside, reported)
        queue.head, queue.attempts = spool.text(reported.get("head")), spool.whole(reported.get("attempts"))
        queue.answer = spool.text(reported.get("answer"))
        return queue

    def _state_of(self, uuid: str) -> Path:
        return spool.beside(self._spool, "state", f"{uuid}.json")

    def _is_due(self, queue: Queue) -> bool:
        health = self._healths.get(self._targets.chosen(queue.chosen))
        if health is None or queue.busy or max(queue.due, health.retry_at) > time.monotonic():
            return False
        queue.waits = queue.waits or queue.has_news()
        return queue.waits

    def _start(self, queue: Queue) -> None:
        target = self._target_of(queue)
        health = self._healths[target.name] if target else None
        if target and health:
            queue.busy = True
            health.pool.submit(self._work, queue, target, health)

    def _target_of(self, queue: Queue) -> DeliveryTarget | None:
        return self._targets.by_name.get(self._targets.chosen(queue.chosen))

    # -- one mailbox ---------------------------------------------------------------------

    def _work(self, queue: Queue, target: DeliveryTarget, health: TargetHealth) -> None:
        try:
            with self._changing:  # the target may have gone down while this waited for a thread
                begins = health.begins()
            if begins:
                self._deliver_some(queue, target, health)
        except (OSError, NotOurs) as error:
            queue.fail_by_itself()
            self._report_mailbox(queue, problem=_worded(error))
        except Exception:  # one mailbox must not stop the others
            log.exception("%s: delivering failed with an unknown error.", queue.address)
            queue.fail_by_itself()
        finally:
            queue.busy = False
            if queue.handed >= MOST_IN_A_TURN:
                self._gave_way.set()

    def _deliver_some(self, queue: Queue, target: DeliveryTarget, health: TargetHealth) -> None:
        """Deliver until one fails, or others have their turn. All folders are open before that."""
        new = queue.new
        if not new.is_dir():
            queue.waits = False  # nothing was collected yet
            return
        with ExitStack() as stack:
            paths = {"": queue.path, NEW: new, SENT: queue.beside / SENT, ASIDE: queue.beside / ASIDE}
            folders = {name: stack.enter_context(spool.folder(paths[name], self._owner)) for name in paths}
            queue.is_read()
            turn = Turn(queue, target, health, names := deque(spool.names(new)), folders)
            with self._changing:
                health.forget_gone(queue.uuid, names)
            while names and queue.handed < MOST_IN_A_TURN and self._is_wanted(queue, target):
                if not self._try(turn):
                    break
        queue.waits, queue.troubles = bool(names), 0
        self._report_mailbox(queue, target=target.name, waiting=len(names), problem=queue.problem)

    def _is_wanted(self, queue: Queue, target: DeliveryTarget) -> bool:
        """Whether the mailbox still goes there: another target may have been chosen meanwhile."""
        here = self._queues.get(queue.uuid) is queue
        return here and self._target_of(queue) == target and not self._stopping.is_set()

    def _try(self, turn: Turn) -> bool:
        """Try the first of its messages, and take it from them once that is done with. False: later."""
        queue, names = turn.queue, turn.names
        name = names[0]
        found = self._deliver(turn, name)
        if found is None or found.disposition is not Disposition.LATER:
            queue.done(names.popleft())
            return True
        if self._stopping.is_set():
            return False  # ended by us: not the message's fault
        with self._changing:
            given_up = queue.failed(name, found.answer, turn.health)
        if given_up:
            answer = f"Tried {queue.attempts} times. {queue.answer}"
            with (
                suppress(FileNotFoundError, NotOurs),
                spool.message(turn.folders[NEW], name, self._owner) as file,
            ):
                self._file(turn, ASIDE, file, name, answer)
            queue.done(names.popleft())
            return True
        self._report_mailbox(queue, target=turn.target.name)
        while queue.spent and len(names) > 1:
            found = self._deliver(turn, names[1])
            if found is not None and found.disposition is Disposition.LATER:
                return False
            del names[1]
            if found is not None:
                return True  # the target works: if the first message fails once more, it is given up
        return False

    def _deliver(self, turn: Turn, name: str) -> TryResult | None:
        """Deliver one message and file it. None where it was taken, or is no message of ours."""
        queue = turn.queue
        try:
            with spool.message(turn.folders[NEW], name, self._owner) as file:
                found = queue.answered.get(name) or self._tried(turn, name, file)
                if found.disposition is not Disposition.LATER:
                    queue.answered[name] = found  # where it cannot be filed, it is not handed over again
                    where = SENT if found.disposition is Disposition.DELIVERED else ASIDE
                    self._file(turn, where, file, name, found.answer)
                    del queue.answered[name]
                return found
        except FileNotFoundError:
            return None
        except NotOurs as error:  # put there by a member of the group: it stops nothing
            queue.problem = queue.problem or str(error)
            return None

    def _tried(self, turn: Turn, name: str, file: BinaryIO) -> TryResult:
        """Hand one message over, and note how that ended."""
        queue, target = turn.queue, turn.target
        size, id_ = os.fstat(file.fileno()).st_size, delivery_id(queue.uuid, name)
        found = self._hand_over(target, OutgoingMessage(file, size, id_, queue.address, spool.uid(name)))
        queue.handed += 1
        if found.disposition is Disposition.LATER and self._stopping.is_set():
            return found  # nor the target's
        self._note(turn.health, target.name, f"{queue.uuid}/{name}", found)
        became = found.disposition.value
        log.info("%s: %s: %s, %s. %s", queue.address, name, target.name, became, found.answer)
        return found

    def _hand_over(self, target: DeliveryTarget, message: OutgoingMessage) -> TryResult:
        if isinstance(target, CommandTarget):
            return command.deliver(target, message, self._stopping)
        if isinstance(target, HttpTarget):
            return http.deliver(target, message, self._targets.directory, self._policy)
        assert isinstance(target, LmtpTarget)
        return lmtp.deliver(target, message, self._policy)

    def _note(self, health: TargetHealth, target: str, key: str, found: TryResult) -> None:
        with self._changing:
            was_down = health.down
            health.note(key, found)
            if was_down and not health.down:  # all that waits for it is due soon
                soon = time.monotonic() + self._pace.delays[0]
                for queue in self._queues.values():
                    if self._targets.chosen(queue.chosen) == target:
                        queue.due = min(queue.due, soon)

    def _file(self, turn: Turn, where: str, file: BinaryIO, name: str, answer: str) -> None:
        """Move a message to where it stays: from then on it is not delivered again."""
        if not spool.move(file, name, turn.folders[NEW], turn.folders[where]):
            return
        queue, now = turn.queue, int(time.time())
        if where == SENT:
            queue.reported |= {"delivered_at": now, "delivered": answer}
            return
        log.warning("%s: %s was set aside. %s", queue.address, name, answer)
        before = queue.reported.get("aside")
        aside = [{"name": name, "at": now, "answer": answer}, *(before if isinstance(before, list) else [])]
        self._report_mailbox(queue, aside=aside[: spool.ASIDE_LISTED])

    # -- what it tells -------------------------------------------------------------------

    def _report_mailbox(self, queue: Queue, **news: object) -> None:
        """Write how a mailbox is doing beside its Maildir."""
        health = self._healths.get(self._targets.chosen(queue.chosen))
        self._write(self._state_of(queue.uuid), queue.report(health.retry_at if health else 0.0, **news))

    def _write(self, path: Path, value: object) -> None:
        """Write a file of state. Nothing hangs on it, so no delivery fails by it."""
        try:
            spool.write(path, value, MODE)
        except OSError as error:
            log.error("The state of deliveries cannot be written: %s.", error.strerror)

    def _report_targets(self) -> None:
        """Write how the targets are doing, unless another deliverer does."""
        if self._lock is None:
            return
        self._reported = time.monotonic()
        with self._changing:
            healths = {name: self._healths[name].report() for name in self._targets.by_name}
            queues = [*self._queues.values()]
        aside = {queue.uuid: count for queue in queues if (count := queue.aside())}
        reported = {
            "at": int(time.time()), "problem": self._problem, "targets": healths, "used": self._used(queues),
            "aside": dict([*aside.items()][:ASIDE_MAILBOXES]),
        }  # fmt: skip
        self._write(spool.beside(self._spool, "state", "deliverer.json"), reported)

    def _used(self, queues: list[Queue]) -> list[tuple[str, int, int, int]]:
        """Each target in use: its name, mailboxes, messages that wait, and when the oldest came."""
        used: dict[str, tuple[int, int, int]] = {}
        for queue in queues:
            mailboxes, waiting, oldest = used.get(queue.chosen, (0, 0, 0))
            to_go = self._targets.chosen(queue.chosen) != MAILDIR
            names = spool.listed(queue.new) if to_go else []
            times = [at for at in (oldest, spool.order(min(names, default=""))[0]) if at]
            used[queue.chosen] = mailboxes + 1, waiting + len(names), min(times, default=0)
        return [(name, *numbers) for name, numbers in used.items()]

    # -- samples and cleaning ------------------------------------------------------------

    def _requests(self) -> list[str]:
        names = set(spool.listed(spool.beside(self._spool, "requests")))
        self._tested &= names
        return sorted(names - self._tested)

    def _test(self, name: str) -> None:
        """Send the sample message that the panel asks for, and write what came of it."""
        asked = sample.read(self._spool, name, self._owner)
        target = self._targets.by_name.get(asked.target) if asked else None
        if asked is None or target is None:
            return
        health = self._healths[target.name]

        def send() -> None:
            with sample.message(asked) as message:
                found = self._hand_over(target, message)
            self._note(health, target.name, f"test/{message.id}", found)
            self._write(spool.beside(self._spool, "state", name), sample.answer(found))

        health.pool.submit(send)

    def _remove_old(self) -> None:
        """Remove what was delivered long enough ago, once an hour."""
        if time.monotonic() - self._cleaned < HOUR:
            return
        self._cleaned = time.monotonic()
        before = time.time() - self._targets.keep_days * DAY
        beside = list(spool.beside(self._spool).iterdir())

        def remove() -> None:  # in a thread of its own: a disk that is slow keeps no mail waiting
            for each in beside:
                with suppress(OSError, NotOurs):
                    spool.remove_older(each / SENT, self._owner, before)

        threading.Thread(target=remove, daemon=True).start()


def _worded(error: Exception) -> str:
    """What went wrong, in a sentence."""
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.filename or 'A file'} cannot be used: {reason(error)}."
