"""Reading and writing at once: one thread reads the server, several write and fsync.

To make a message durable takes about as long as to fetch it, and parallel fsyncs share the disk's work.
The bytes that are read and not yet written are bounded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from panel.collect.delivery import Written

WRITERS = 8
READ_AHEAD = 32 * 2**20  # bytes
PULSE = 30.0  # seconds of silence after which the round can renew its lease

Messages = Iterable[tuple[int, bytes]]  # UID, message
Write = Callable[[int, bytes], Written]


class Pipeline:
    """Messages on their way from the server into tmp/. A context manager: its threads end with it."""

    def __init__(self, messages: Messages, write: Write) -> None:
        """Read `messages` in one thread and call `write` for each in others."""
        self._messages = messages
        self._write = write
        self._budget = _Budget(READ_AHEAD)
        self._results: SimpleQueue[Future[Written] | Exception | None] = SimpleQueue()
        self._writers = ThreadPoolExecutor(WRITERS, "write")
        self._reader = threading.Thread(target=self._read, name="read", daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._budget.close()
        self._reader.join()
        self._writers.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Written | None]:
        """What is safe in tmp/, in reading order; None after each PULSE without any.

        Raises what reading or writing raised, after everything that was read before.
        """
        while True:
            try:
                result = self._results.get(timeout=PULSE)
            except Empty:
                yield None
                continue
            if result is None:
                return
            if isinstance(result, Exception):
                raise result
            yield result.result()

    def _read(self) -> None:
        try:
            for uid, raw in self._messages:
                if not self._budget.take(len(raw)):
                    break
                self._results.put(self._writers.submit(self._write_one, uid, raw))
        except Exception as error:  # noqa: BLE001 - raised again by __iter__
            self._results.put(error)
        self._results.put(None)

    def _write_one(self, uid: int, raw: bytes) -> Written:
        try:
            return self._write(uid, raw)
        finally:
            self._budget.give(len(raw))


class _Budget:
    """A bound on the bytes in the pipeline; a message larger than the bound goes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = self._free = limit
        self._changed = threading.Condition()
        self._closed = False

    def take(self, size: int) -> bool:
        """Wait for room for `size` more bytes. False once closed."""
        size = min(size, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._free >= size)
            self._free -= size
            return not self._closed

    def give(self, size: int) -> None:
        with self._changed:
            self._free += min(size, self._limit)
            self._changed.notify_all()

    def close(self) -> None:
        """End all waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
