"""A running server, with real processes: the web tells of a worker that does not answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
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

# What a patient test would wait for takes minutes; so the server's processes get shorter times from outside.
IMPATIENT = """
from panel.health import mail
from panel.alerts import schedule, watch
mail.SILENT_SECONDS, watch.LOOK_SECONDS, schedule.CALM = 7, 2, 3
"""


@pytest.fixture
def environ(tmp_path: Path) -> Environ:
    (tmp_path / "sitecustomize.py").write_text(IMPATIENT)
    return environ_for(tmp_path) | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


def test_a_worker_that_hangs_is_told_of_once_and_so_is_its_return(
    panel_server: PanelServer, environ: Environ, receiver: Receiver
) -> None:
    create_app(Settings.load({name: value for name, value in environ.items() if name.startswith("PANEL_")}))
    with db.database.connection_context():
        service.store((), "", receiver.url, Actor("ada"))
        wait_until(lambda: heartbeat.read().noticed_at, 15, "a web process to look")
    worker = child(panel_server, "worker")
    os.kill(worker, signal.SIGSTOP)
    try:
        wait_until(lambda: receiver.taken, 40, f"a word of it:\n{panel_server.log}")
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_until(lambda: len(receiver.taken) > 1, 40, f"its end:\n{panel_server.log}")
    assert receiver.events == [("trouble", "worker-silent"), ("well", "worker-silent")]
    assert "The worker does not answer" in panel_server.log and "Traceback" not in panel_server.log
