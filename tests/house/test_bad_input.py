"""What a start cannot work with is named in one sentence and one hint, before anything runs."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from panel import install
from panel.config import Settings
from tests import running
from tests.running import Environ, PanelServer


@pytest.fixture
def refusal(environ: Environ, tmp_path: Path) -> Callable[[], str]:
    """Start the server on `environ`: it must end with exit status 3 and a line or two; returns them."""

    def start() -> str:
        server = PanelServer(environ, tmp_path / "server.log")
        server.launch()
        assert server.ended() == 3, server.log
        told = [line for line in server.log.splitlines() if " INFO " not in line]
        assert len(told) == 1, server.log
        assert "Traceback" not in told[0]
        return told[0]

    return start


Refusal = Callable[[], str]


def test_an_unknown_setting_is_named_with_its_nearest_neighbour(environ: Environ, refusal: Refusal) -> None:
    environ["PANEL_DATADIR"] = "/tmp"
    assert refusal() == (
        "The setting PANEL_DATADIR is unknown. Did you mean PANEL_DATA_DIR? Correct it, or remove it."
    )


def test_the_shell_says_the_same(environ: Environ) -> None:
    environ["PANEL_DATADIR"] = "/tmp"
    for arguments in ([], ["--help"], ["encryption", "status"]):
        done = running.flask(environ, *arguments)
        assert done.returncode == 3
        assert done.stderr.startswith("The setting PANEL_DATADIR is unknown. Did you mean PANEL_DATA_DIR?")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("where", ["/dev/null/data", "/proc/data"])
def test_a_data_directory_that_cannot_be_made(environ: Environ, refusal: Refusal, where: str) -> None:
    environ["PANEL_DATA_DIR"] = where
    told = refusal()
    assert told.startswith(f"The data directory {where} cannot be created or written")
    assert "Correct PANEL_DATA_DIR" in told


def test_a_port_that_is_in_use(environ: Environ, refusal: Refusal) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        environ["PANEL_BIND"] = f"127.0.0.1:{port}"
        assert refusal() == (
            f"Port {port} on 127.0.0.1 is in use by another program. "
            "Stop that program, or set PANEL_BIND to another port."
        )


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_that_this_machine_does_not_have(environ: Environ, refusal: Refusal, host: str) -> None:
    environ["PANEL_BIND"] = f"{host}:8000"
    assert host in refusal()


def test_a_broken_database(environ: Environ, refusal: Refusal) -> None:
    data = Path(environ["PANEL_DATA_DIR"])
    data.mkdir(0o700)
    (data / "panel.db").write_bytes(b"this is no database" * 100)
    told = refusal()
    assert "The database file is damaged" in told
    assert "restore the database from a backup" in told


def test_a_database_that_is_newer_than_the_code(environ: Environ, refusal: Refusal) -> None:
    install.prepare(Settings.load(environ))
    with sqlite3.connect(Path(environ["PANEL_DATA_DIR"]) / "panel.db") as database:
        database.execute("INSERT INTO schema_migration (name, applied) VALUES ('9999_future', '2030-01-01')")
    database.close()
    told = refusal()
    assert "A newer Mailkeep wrote the database" in told
    assert "9999_future" in told


def test_a_broken_queue(environ: Environ, refusal: Refusal) -> None:
    data = Path(environ["PANEL_DATA_DIR"])
    data.mkdir(0o700)
    (data / "queue.db").write_bytes(b"this is no database" * 100)
    assert "delete that file" in refusal()


def test_an_empty_secret_key(environ: Environ, refusal: Refusal) -> None:
    data = Path(environ["PANEL_DATA_DIR"])
    data.mkdir(0o700)
    (data / "secret-key").write_text("")
    os.chmod(data / "secret-key", 0o600)
    assert "too short to sign anything with" in refusal()
