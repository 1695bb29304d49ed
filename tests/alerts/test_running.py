"""A running server, with real processes: the web process sends an alert about a worker that hangs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from panel import create_app, db
from panel.alerts import service
from panel.audit import Actor
from panel.config import ROOT, Settings
from panel.health import heartbeat
from tests.alerts.receiver import Receiver
from tests.house.processes import child
from tests.running import Environ, PanelServer, environ_for, wait_until

# The real times are minutes; so the server's processes get shorter times from outside.
IMPATIENT = """
from panel.health import heartbeat
from panel.alerts import alert_log, watch
heartbeat.SILENT_SECONDS, watch.CHECK_SECONDS, alert_log.QUIET_PERIOD = 7, 2, 3
"""


@pytest.fixture
def environ(tmp_path: Path) -> Environ:
    (tmp_path / "sitecustomize.py").write_text(IMPATIENT)
    return environ_for(tmp_path) | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


def test_a_worker_that_hangs_is_one_alert_and_so_is_its_recovery(
    panel_server: PanelServer, environ: Environ, receiver: Receiver
) -> None:
    create_app(Settings.load({name: value for name, value in environ.items() if name.startswith("PANEL_")}))
    with db.database.connection_context():
        service.store((), "", receiver.url, Actor("ada"))
        wait_until(lambda: heartbeat.read().noticed_at, "a web process to check")
    worker = child(panel_server, "worker")
    os.kill(worker, signal.SIGSTOP)
    try:
        wait_until(lambda: receiver.taken, lambda: f"the alert:\n{panel_server.log}")
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_until(lambda: len(receiver.taken) > 1, lambda: f"its resolution:\n{panel_server.log}")
    assert receiver.events == [("opened", "worker-silent"), ("resolved", "worker-silent")]
    assert "The worker is not responding" in panel_server.log and "Traceback" not in panel_server.log
