"""The queue carries ids between web and worker, and nothing hangs on it."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from panel import create_app, db
from panel.audit import Actor
from panel.config import Settings
from panel.models import Account, Endpoint
from panel.secret import Secret
from panel.serve.jobs import Jobs
from panel.vault import turn_on, unfinished
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.house.processes import child
from tests.installs import BOTH
from tests.running import PanelServer, find_marker, wait_until


class Sabotage:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.open, (self.path, os.O_CREAT | os.O_WRONLY)


def queued(settings: Settings) -> list[bytes]:
    with closing(sqlite3.connect(settings.data_dir / "queue.db")) as queue:
        return [bytes(data) for (data,) in queue.execute("SELECT data FROM task")]


def put(settings: Settings, data: bytes) -> None:
    with closing(sqlite3.connect(settings.data_dir / "queue.db")) as queue, queue:
        queue.execute("INSERT INTO task (queue, data) VALUES ('mailkeep', ?)", (data,))


def add_account(settings: Settings, password: str) -> Vault:
    """Store `password` on the running install, as another process would."""
    app = create_app(settings)
    with db.database.connection_context():
        account = Account.create(address="a@example.org", created_at=db.now())
        endpoint = Endpoint(
            account=account, direction="in", protocol="imap", host="127.0.0.1", port=993, security="tls",
            username="a", auth_method="plain", token_url="", address=account.address, kind="password",
        )  # fmt: skip
        endpoint.secret = Secret(password)
        endpoint.save()
    vault: Vault = app.extensions["mailkeep"].vault
    return vault


def state(vault: Vault) -> State:
    with db.database.connection_context():
        return vault.latest().state


def test_a_task_holds_its_name_and_ids_and_is_signed(app: Flask, settings: Settings) -> None:
    jobs: Jobs = app.extensions["mailkeep.jobs"]
    jobs.collect("0b1e7c1e-uuid")
    [data] = queued(settings)
    message = pickle.loads(data.rpartition(b":")[0])  # noqa: S301 - our own
    assert (message.name, message.args, message.kwargs) == (
        "panel.serve.jobs.collect_account",
        ("0b1e7c1e-uuid",),
        {},
    )


def test_the_signing_key_is_not_the_secret_key(app: Flask, settings: Settings) -> None:
    app.extensions["mailkeep.jobs"].sweep()
    secret = (settings.data_dir / "secret-key").read_text().strip()
    assert find_marker(settings.data_dir, secret) == ["secret-key"]


def test_a_forged_pickle_in_the_queue_is_not_loaded(panel_server: PanelServer, tmp_path: Path) -> None:
    settings, made = Settings.load(panel_server.environ), tmp_path / "made-by-a-forger"
    for forged in (pickle.dumps(Sabotage(made)), pickle.dumps(Sabotage(made)) + b":" + b"0" * 40, b"garbage"):
        put(settings, forged)
    wait_until(lambda: not queued(settings), "the worker to take the forged tasks")
    panel_server.wait_for("Error reading from queue")
    assert not made.exists()
    pickle.loads(pickle.dumps(Sabotage(made)))  # noqa: S301
    assert made.exists()  # the forgery would have worked


def test_what_is_enqueued_is_taken_within_a_second_or_so(panel_server: PanelServer) -> None:
    settings = Settings.load(panel_server.environ)
    jobs: Jobs = create_app(settings).extensions["mailkeep.jobs"]
    wait_until(lambda: not queued(settings), "the first tick to be taken")
    took = []
    for _ in range(3):
        time.sleep(2)  # every idle worker thread has reached its longest pause
        began = time.monotonic()
        jobs.sweep()
        wait_until(lambda: not queued(settings), "the task to be taken")
        took.append(time.monotonic() - began)
    assert sorted(took)[1] < 4, took  # Huey's longest pause is ten seconds, the tick comes every five


def test_a_killed_worker_s_work_is_taken_up_again(panel_server: PanelServer) -> None:
    vault = add_account(Settings.load(panel_server.environ), "p" * 24)
    os.kill(child(panel_server, "worker"), signal.SIGKILL)
    with db.database.connection_context():
        turn_on.turn_on(vault, BOTH, Actor("admin@example.org"))  # nobody enqueues the sweep
    assert state(vault) is State.ENABLING
    wait_until(lambda: state(vault) is State.ON, lambda: f"the sweep to be finished:\n{panel_server.log}")


def test_no_exception_is_kept(app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's own way of running a task, with a service that fails with a secret in its text."""

    def fail(_keystore: object) -> None:
        raise ValueError("marker-of-a-password")

    monkeypatch.setattr(unfinished, "resume", fail)
    jobs: Jobs = app.extensions["mailkeep.jobs"]
    jobs.sweep()
    huey = jobs._huey
    task = huey.dequeue()
    assert task is not None
    huey.execute(task)
    assert huey.result_count() == 0
    assert find_marker(settings.data_dir, "marker-of-a-password") == []


def test_a_queue_that_was_locked_for_a_while_stops_nothing(
    panel_server: PanelServer, environ: dict[str, str]
) -> None:
    settings = Settings.load(environ)
    create_app(settings)
    with closing(sqlite3.connect(settings.data_dir / "queue.db", isolation_level=None)) as queue:
        queue.execute("BEGIN EXCLUSIVE")
        vault = add_account(settings, "hunter2hunter2")
        with db.database.connection_context():
            turn_on.turn_on(vault, BOTH, Actor("admin@example.org"))
        time.sleep(13)  # Huey waits five seconds for the lock, twice here
    with db.database.connection_context():
        wait_until(lambda: vault.latest().state is State.ON, "the sweep")


def test_what_was_asked_for_is_done_whether_the_queue_takes_it_or_not(app: Flask, settings: Settings) -> None:
    jobs: Jobs = app.extensions["mailkeep.jobs"]
    jobs.prepare()
    with closing(sqlite3.connect(settings.data_dir / "queue.db", isolation_level=None)) as queue:
        queue.execute("BEGIN EXCLUSIVE")
        jobs.sweep()  # raises nothing: the worker finds it by itself
