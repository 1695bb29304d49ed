"""Checking for alerts: a thread in each web process, because a hanging worker cannot report itself.

docs/decisions/0009-who-tells.md says why there and nowhere else.
"""

from __future__ import annotations

import logging
import threading
import time

from panel import db
from panel.alerts import alert_log, channels, conditions, thresholds
from panel.config import Settings
from panel.errors import PanelError
from panel.health import heartbeat
from panel.models import AlertChannels
from panel.vault.vault import Vault

CHECK_SECONDS = 10  # between two checks of all web processes together

log = logging.getLogger("mailkeep.alerts")


class Watch:
    """The checks of one web process, and what it has seen of the worker."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self._settings = settings
        self._vault = vault
        self._beat: int | None = None
        self._beat_seen = time.monotonic()

    def start(self) -> None:
        """Check again and again, for as long as this process lives."""
        threading.Thread(target=self._run, name="alerts", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(CHECK_SECONDS)
            try:
                with db.explained(), db.database.connection_context():
                    self.check()
            except PanelError as error:
                log.warning("Alerts could not be checked: %s", error)
            except Exception:  # the next check may succeed, and must run
                log.exception("The check for alerts failed with an unknown error.")

    def check(self) -> None:
        """Check once, unless another process just did; send what is due."""
        silent = self._worker_is_silent()
        if not heartbeat.claim("noticed_at", CHECK_SECONDS - 1):
            return
        row = AlertChannels.get_or_none(AlertChannels.id == 1)
        disks = (self._settings.data_dir, self._settings.mail_spool)
        found = conditions.found(self._vault, thresholds.of(row), disks, self._settings)
        alert_log.update([each for each in found if silent or each.topic != "worker"])
        to = channels.of(row)
        due = alert_log.claim_due() if to.any else alert_log.Due()
        if due.all:
            alert_log.record_sent(due, channels.send(due, to, self._settings, self._vault))

    def _worker_is_silent(self) -> bool:
        """Whether this process has seen no new heartbeat for so long, while it was awake itself.

        The age of the heartbeat alone would be wrong after a start, after the machine
        slept, and when its clock was set.
        """
        beat, now = heartbeat.read().beat_at, time.monotonic()
        if beat != self._beat:
            self._beat, self._beat_seen = beat, now
        return now - self._beat_seen > heartbeat.SILENT_SECONDS
