"""Looking after it: a thread in each web process, because a worker cannot tell of its own silence.

docs/decisions/0009-who-tells.md says why there and nowhere else.
"""

from __future__ import annotations

import logging
import threading
import time

from panel import db
from panel.alerts import alert_log, channels, conditions
from panel.config import Settings
from panel.errors import PanelError
from panel.health import heartbeat, mail
from panel.vault.vault import Vault

LOOK_SECONDS = 10  # between two looks of all web processes together

log = logging.getLogger("mailkeep.notices")


class Watch:
    """What one process knows of the worker, and its turns."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        """Nothing was seen yet."""
        self._settings = settings
        self._vault = vault
        self._beat: int | None = None
        self._beat_seen = time.monotonic()

    def start(self) -> None:
        """Look again and again, for as long as this process lives."""
        threading.Thread(target=self._look_on, name="alerts", daemon=True).start()

    def _look_on(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                with db.explained(), db.database.connection_context():
                    self.turn()
            except PanelError as error:
                log.warning("Whether somebody must be told could not be looked at: %s", error)
            except Exception:  # the next turn may go well, and must come
                log.exception("Telling of trouble met an error that Mailkeep does not know.")

    def turn(self) -> None:
        """Look once, unless another process just has; tell what is due."""
        silent = self._worker_stands_still()
        if not heartbeat.claim("noticed_at", LOOK_SECONDS - 1):
            return
        found = conditions.found(self._vault)
        alert_log.look_over([each for each in found if silent or each.topic != "worker"])
        self._tell()

    def _tell(self) -> None:
        to = channels.read()
        due = alert_log.take_due(told_somewhere=to.any)
        if due:
            alert_log.note_told(due, channels.tell(due, to, self._settings, self._vault))

    def _worker_stands_still(self) -> bool:
        """Whether this process has seen no new beat for so long, while it was awake itself.

        The age of the beat alone would be wrong after a start, after the machine
        slept, and when its clock was set.
        """
        beat, now = heartbeat.read().beat_at, time.monotonic()
        if beat != self._beat:
            self._beat, self._beat_seen = beat, now
        return now - self._beat_seen > mail.SILENT_SECONDS
