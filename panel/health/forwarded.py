"""Noticing a proxy that PANEL_TRUSTED_PROXIES does not tell of: rarely written, so that it costs nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

import peewee

from panel.health import heartbeat

HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")
AGAIN_SECONDS = 3600  # between two notes of one process

log = logging.getLogger(__name__)


class Watch:
    """What one web process has seen."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._next = 0.0  # on the monotonic clock

    def look(self, names: Iterable[str], peer: str) -> None:
        """Note a request from `peer` whose headers have these names, once in `AGAIN_SECONDS`.

        Anybody can send such headers; so the note names where they came from, and nothing follows from it.
        """
        given = {name.lower() for name in names}
        found = [name for name in HEADERS if name.lower() in given]
        if not found or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + AGAIN_SECONDS
        try:
            heartbeat.note_forwarded(found, peer)
        except peewee.DatabaseError as error:
            log.warning("It could not be noted that a proxy is in front: %s.", type(error).__name__)
