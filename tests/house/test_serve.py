"""script/server's processes: they start together, stop together and do not outlive each other."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from panel.config import ROOT
from panel.serve import children as child_processes
from panel.serve.children import UNANSWERED, Child
from tests.house.processes import alive, arguments, child, children, descendants, state
from tests.running import Environ, PanelServer, environ_for, free_port, process_environ, wait_until


@pytest.fixture
def panel_server(environ: Environ, tmp_path: Path) -> Iterator[PanelServer]:
    """Started from cold, since these tests are about how its processes start and end."""
    server = PanelServer(environ, tmp_path / "server.log", cold=True)
    server.start()
    yield server
    server.stop()


def second_server(environ: Environ, tmp_path: Path, **over: str) -> PanelServer:
    return PanelServer(environ | over, tmp_path / "second.log", cold=True)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_when_asked(panel_server: PanelServer, signum: signal.Signals) -> None:
    started = descendants(panel_server.pid)
    assert len(started) >= 3  # two of the web server, the worker
    assert panel_server.stop(signum) == 0
    assert not any(alive(pid) for pid in started)
    assert "Traceback" not in panel_server.log


def test_a_stop_says_what_it_waits_for_and_a_second_one_ends_that(panel_server: PanelServer) -> None:
    started = descendants(panel_server.pid)
    worker = child(panel_server, "worker")
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: state(worker) == "T", "the worker to stand still: before, SIGTERM would still end it")
    os.kill(panel_server.pid, signal.SIGINT)
    panel_server.wait_for("Stopping: waiting for the worker process")
    assert panel_server.stop(signal.SIGINT) == 1
    assert not any(alive(pid) for pid in started)


def test_a_first_start_that_fails_ends_everything_and_says_why(tmp_path: Path) -> None:
    script = (
        "from panel.serve.children import Child, run; from panel.shell import exit_on_error\n"
        "with exit_on_error(): run([Child('nonsense')], print)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=process_environ(environ_for(tmp_path)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3
    assert "usage: python -m panel.serve" in done.stderr  # what the child said
    assert "The nonsense process did not start (exit status 1). The lines above say why." in done.stderr
    assert "Traceback" not in done.stderr


def test_it_starts_again_on_what_it_left(panel_server: PanelServer) -> None:
    panel_server.restart()
    assert panel_server.answers()
    assert "ERROR" not in panel_server.log


def test_children_die_with_a_parent_that_is_killed(panel_server: PanelServer) -> None:
    started = descendants(panel_server.pid)
    panel_server.kill()
    wait_until(lambda: not any(alive(pid) for pid in started), "the children to die")
    panel_server.start()  # neither the port nor a lock is left behind


@pytest.mark.parametrize("name", ["web", "worker"])
def test_a_child_that_dies_is_started_again(panel_server: PanelServer, name: str) -> None:
    killed = child(panel_server, name)
    os.kill(killed, signal.SIGKILL)
    panel_server.wait_for(f"The {name} process ended (killed by signal 9)")
    assert child(panel_server, name) != killed
    wait_until(panel_server.answers, "an answer")
    assert panel_server.stop() == 0


def test_one_process_of_the_web_server_may_die_unnoticed(panel_server: PanelServer) -> None:
    first, second = web_processes(panel_server)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not alive(first), "the process to die")
    for _ in range(5):  # one connection may have waited at the dead one; a browser asks again, as this does
        wait_until(panel_server.answers, "an answer")
    wait_until(lambda: len(web_processes(panel_server)) == 2, "the process to be back")
    assert second in web_processes(panel_server)


@pytest.mark.parametrize("number", [0, 1])
def test_a_web_process_that_does_not_answer_is_started_again(
    environ: Environ, tmp_path: Path, number: int
) -> None:
    """Stopped, it is alive, and the port answers: the other one does."""
    server = PanelServer(environ, tmp_path / "server.log", cold=True)
    server.program = [
        "-c",
        "from panel.serve import __main__, children; children.ASK_SECONDS = 1; __main__.main([])",
    ]
    server.start()
    stopped = web_processes(server)[number]
    os.kill(stopped, signal.SIGSTOP)
    assert server.answers()
    server.wait_for("The web process no longer answers and is killed.")
    server.wait_for("The web process ended (killed by signal 9)")
    wait_until(lambda: len(set(web_processes(server)) - {stopped}) == 2, "the process to be back")
    assert server.stop() == 0


def test_a_child_that_answers_late_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions that were not answered are counted, and an answer clears the count."""
    monkeypatch.setattr(child_processes, "ASK_SECONDS", 0)
    line, its = socket.socketpair()
    line.setblocking(False)
    one = Child("web", b"?")
    one._socket = line
    for _ in range(3):
        assert all(one.answers() for _ in range(UNANSWERED - 1))
        its.send(b"late")
        assert one.answers()
    assert not all(one.answers() for _ in range(UNANSWERED))
    its.close()  # the other end is gone: no answer, and no error
    assert not one.answers()


def test_what_it_writes_is_private(panel_server: PanelServer) -> None:
    data = panel_server.data_dir
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in data.iterdir() if path.is_file()} == {0o600}


def test_no_process_dumps_core(panel_server: PanelServer) -> None:
    for pid in (panel_server.pid, *descendants(panel_server.pid)):
        limits = Path(f"/proc/{pid}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"]


def test_a_hardened_process_cannot_be_read_by_its_neighbours() -> None:
    script = "import ctypes; from panel.process import harden; harden(); print(ctypes.CDLL(None).prctl(3))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr  # PR_GET_DUMPABLE


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def web_processes(server: PanelServer) -> list[int]:
    return [pid for pid in children(server.pid) if "web" in arguments(pid)]


HOSTS = ["localhost", "0.0.0.0", *(["[::1]"] if has_ipv6() else [])]  # noqa: S104


@pytest.mark.parametrize("host", HOSTS)
def test_it_listens_on_names_and_on_addresses_of_both_kinds(
    environ: Environ, tmp_path: Path, host: str
) -> None:
    server = second_server(environ, tmp_path, PANEL_BIND=f"{host}:{free_port()}")
    server.start()
    assert f"Mailkeep answers on http://{server.environ['PANEL_BIND']}/" in server.log
    assert server.stop() == 0


def test_two_starts_at_once_leave_one_server(environ: Environ, tmp_path: Path) -> None:
    first = PanelServer(environ, tmp_path / "first.log", cold=True)
    second = second_server(environ, tmp_path, PANEL_BIND=f"127.0.0.1:{free_port()}")
    both = (first, second)
    try:
        for server in both:
            server.launch()
        wait_until(lambda: first.answers() or second.answers(), "an answer")
        loser = second if first.answers() else first
        assert loser.ended() == 3
        assert f"already running on the data directory {loser.data_dir}" in loser.log
        assert "Traceback" not in first.log + second.log
    finally:
        for server in both:
            server.stop()


def test_the_log_can_be_json(environ: Environ, tmp_path: Path) -> None:
    server = second_server(environ, tmp_path, PANEL_LOG_FORMAT="json")
    server.start()
    assert server.stop() == 0
    assert all(line.startswith('{"time": "') for line in server.log.splitlines()), server.log


def test_script_server_is_that_server(environ: Environ) -> None:
    """With the environment that is running these tests; that bootstrap makes one is shown elsewhere."""
    if not (ROOT / ".venv").exists():
        pytest.skip("the tests run outside of .venv")
    process = subprocess.Popen(
        [ROOT / "script/server"], cwd="/", env=process_environ(environ), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any(f"answers on http://{environ['PANEL_BIND']}/" in line for line in lines)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stderr.close()
