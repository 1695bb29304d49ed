"""The submission server as a process of its own, as script/server starts it."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from panel import db
from panel.audit import Actor
from panel.config import Settings
from panel.errors import SettingsError
from panel.submission import passwords
from tests.encryption.conftest import House
from tests.running import Environ, PanelServer, free_port, wait_until
from tests.submission.conftest import ADDRESS, MESSAGE, UPSTREAM_PASSWORD, add_mailbox
from tests.submission.sink import Sink

ADA = "ada@example.net"
GROWTH = 12 * 2**10  # KiB that a message of 50 MiB may add


@pytest.fixture
def environ(environ: Environ) -> Environ:
    return environ | {"PANEL_SUBMISSION_BIND": f"127.0.0.1:{free_port()}"}


@pytest.fixture
def password(house: House, sink: Sink) -> str:
    with db.database.connection_context():
        uuid = add_mailbox(house, ADDRESS, "127.0.0.1", sink.port, UPSTREAM_PASSWORD, security="none")
        return passwords.create(uuid, [], Actor()).reveal()


@pytest.fixture
def served(password: str, environ: Environ, tmp_path: Path) -> Iterator[PanelServer]:
    server = PanelServer(environ, tmp_path / "server.log")
    server.start()
    yield server
    server.stop()


def connect(environ: Environ, timeout: float = 60) -> smtplib.SMTP:
    host, _, port = environ["PANEL_SUBMISSION_BIND"].rpartition(":")
    return smtplib.SMTP(host, int(port), local_hostname="desk", timeout=timeout)


def child(server: PanelServer) -> int:
    """The pid of the submission process: it was started last."""
    started = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == server.pid:
                started[int(fields[19])] = int(path.parent.name)
    return started[max(started)]


def peak(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


def test_a_message_of_fifty_mib_is_spooled_and_not_held(
    served: PanelServer, environ: Environ, password: str, sink: Sink, record_property: Callable[..., None]
) -> None:
    body = b"0123456789" * 97 + b"\r\n"
    message = MESSAGE + body * ((50 * 2**20 - 1000) // len(body))
    with connect(environ) as client:
        client.login(ADDRESS, password)
        client.sendmail(ADDRESS, [ADA], MESSAGE)
        before = peak(child(served))
        client.sendmail(ADDRESS, [ADA], message)
        grown = peak(child(served)) - before
        with pytest.raises(smtplib.SMTPSenderRefused, match=r"5\.3\.4"):
            client.sendmail(ADDRESS, [ADA], message + body * 100)
    assert sink.handed[1].digest == hashlib.sha256(message).hexdigest()
    assert grown < GROWTH
    assert [path.name for path in served.data_dir.iterdir() if path.name.startswith("tmp")] == []
    record_property("shown", f"submission: 50 MiB added {grown / 1024:.1f} MiB of memory")


def test_killed_while_the_provider_thinks_the_client_is_told_by_the_broken_connection(
    served: PanelServer, environ: Environ, password: str, sink: Sink
) -> None:
    client = handing_over(environ, password)
    client.send(MESSAGE[:-10])  # the provider has not heard of it
    os.kill(child(served), signal.SIGKILL)
    with pytest.raises((smtplib.SMTPServerDisconnected, OSError)):
        client.send(MESSAGE[-10:] + b".\r\n")
        client.getreply()
    assert sink.handed == []
    wait_until(lambda: accepts(environ), "the process to be started again")
    with connect(environ) as client:
        client.login(ADDRESS, password)
        client.sendmail(ADDRESS, [ADA], MESSAGE)
    assert len(sink.handed) == 1


def test_killed_after_the_provider_answered_a_client_that_had_left_is_answered_so_again(
    served: PanelServer, environ: Environ, password: str, sink: Sink, house: House
) -> None:
    sink.think.clear()
    client = handing_over(environ, password)
    client.send(MESSAGE + b".\r\n")
    assert sink.begun.wait(60)
    client.close()
    sink.think.set()
    with db.database.connection_context():
        wait_until(lambda: house.sql("SELECT 1 FROM submission_answer"), "the answer to be noted")
    os.kill(child(served), signal.SIGKILL)
    wait_until(lambda: accepts(environ), "the process to be started again")
    with connect(environ) as client:
        client.login(ADDRESS, password)
        client.sendmail(ADDRESS, [ADA], MESSAGE)
    assert len(sink.handed) == 1


def test_a_stop_lets_the_message_finish_that_the_provider_thinks_about(
    served: PanelServer, environ: Environ, password: str, sink: Sink
) -> None:
    sink.think.clear()
    client = handing_over(environ, password)
    client.send(MESSAGE + b".\r\n")
    assert sink.begun.wait(60)
    os.kill(served.pid, signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        served.ended(1)
    sink.think.set()
    assert client.getreply()[0] == 250
    assert served.ended(10) == 0


def handing_over(environ: Environ, password: str) -> smtplib.SMTP:
    """A client that has said DATA."""
    client = connect(environ)
    client.login(ADDRESS, password)
    client.mail(ADDRESS)
    client.rcpt(ADA)
    client.docmd("DATA")
    return client


def accepts(environ: Environ) -> bool:
    try:
        connect(environ, 5).close()
    except (OSError, smtplib.SMTPException):
        return False
    return True


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:2587", "192.0.2.1:2587", "[::]:2587", "localhost:2587", "example.org:25", "127.0.0.1", ":2587",
             "127.0.0.1:0", "[::ffff:192.0.2.1]:25", "/run/x"],
)  # fmt: skip
def test_it_listens_on_loopback_alone(environ: Environ, bind: str) -> None:
    with pytest.raises(SettingsError, match="PANEL_SUBMISSION_BIND"):
        Settings.load(environ | {"PANEL_SUBMISSION_BIND": bind})


def test_it_is_off_by_default(environ: Environ) -> None:
    del environ["PANEL_SUBMISSION_BIND"]
    settings = Settings.load(environ)
    assert (settings.submission_bind, settings.submission_max) == (None, 50)
    assert Settings.load(environ | {"PANEL_SUBMISSION_BIND": "[::1]:2587"}).submission_bind == ("::1", 2587)
