"""The worker of a running server is heard of, mailboxes or none, and missed once it stands still."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from panel import create_app, db
from panel.config import Settings
from panel.health import heartbeat
from panel.models import Activity, SpoolCount
from panel.vault.vault import Vault
from tests.encryption.conftest import House
from tests.health.conftest import problems
from tests.house.processes import child
from tests.running import Environ, PanelServer, wait_until


@pytest.fixture
def running(panel_server: PanelServer, environ: Environ) -> House:
    settings = Settings.load(environ)
    create_app(settings)
    return House(settings, Vault.of(settings, db.database))


def beat_at() -> int:
    with db.database.connection_context():
        return heartbeat.read().beat_at or 0


def test_a_server_without_a_mailbox_is_heard_of_and_missed_once_its_worker_stands_still(
    running: House, panel_server: PanelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(beat_at, "the first beat")
    assert "worker" not in problems(running)
    first = beat_at()
    wait_until(lambda: beat_at() > first, "another beat")
    worker = child(panel_server, "worker")
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 7)
    os.kill(worker, signal.SIGSTOP)
    try:
        wait_until(lambda: "worker" in problems(running), "it to be missed")
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_until(lambda: "worker" not in problems(running), "it to be heard of again")


def test_the_worker_counts_the_spool_and_removes_old_activity_by_itself(
    running: House, panel_server: PanelServer
) -> None:
    with db.database.connection_context():
        account = running.add().account
        new: Path = running.settings.mail_spool / account.uuid / "new"
        new.mkdir(parents=True)
        (new / f"{db.now()}.M1P1.host").touch()
        Activity.create(at=5, who="ada", what="signed in", subject="long ago", address="", detail="")
        running.sql("UPDATE heartbeat SET kept_at = NULL, pruned_at = NULL")
        wait_until(lambda: SpoolCount.select().where(SpoolCount.unread == 1).exists(), "the count")
        wait_until(
            lambda: not Activity.select().where(Activity.subject == "long ago").exists(), "the pruning"
        )
        assert Activity.select().where(Activity.what == "old activity removed").count() == 1
    assert "Traceback" not in panel_server.log
