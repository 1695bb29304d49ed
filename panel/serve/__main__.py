"""`python -m panel.serve`: prepares the install, then is the parent of web and worker.

It runs itself twice as `web SOCKET LISTENING`, once as `worker SOCKET` and, where it is set, once as
`submission SOCKET LISTENING`: fresh processes, which the
kernel kills when their parent is gone (`panel.serve.children`). All web processes accept on one
listening socket of the parent, so the port stays open while one restarts.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial

from flask import Flask
from werkzeug.exceptions import HTTPException

from panel import create_app, db, identity, install, logs, process
from panel.alerts.watch import Watch
from panel.config import Settings
from panel.deliver import targets_file
from panel.errors import ServeError, SettingsError
from panel.program import command_line
from panel.serve.children import SIGNALS, Child, run
from panel.serve.http_server import Server
from panel.serve.jobs import Jobs
from panel.setup import service as setup
from panel.shell import exit_on_error
from panel.submission import server as submission_server
from panel.submission.service import serving
from panel.vault import unfinished
from panel.web.headers import LARGEST_FILE, LARGEST_REQUEST
from panel.web.text import takes_file
from panel.wording import reason

WEB_PROCESSES = 2
WEB_THREADS = 8  # a live test occupies one while a mail server is slow
WEB_STOP_SECONDS = 10
SUBMISSION_STOP_SECONDS = 20  # for messages that a mail server thinks about
HEALTH_CHECK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

log = logging.getLogger("panel.serve")


def main(arguments: list[str]) -> None:
    """Run the parent, or the child that `arguments` name."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a child inherits what its parent blocks
    os.environ.pop("FLASK_DEBUG", None)
    with exit_on_error():
        settings = Settings.load()
        logs.configure(settings.log_format)
        logs.catch_all()
        process.harden()
        process.raise_file_limit()
        match arguments:
            case []:
                sys.exit(0 if serve(settings) else 1)
            case ["web", control, listening]:
                web(settings, int(control), int(listening))
            case ["worker", control]:
                worker(settings, int(control))
            case ["submission", control, listening]:
                submission(settings, int(control), int(listening))
            case ["deliverer", control]:  # without what this process has imported
                os.set_inheritable(int(control), True)
                os.execv(sys.executable, [sys.executable, "-m", "panel.deliver", "deliverer", control])  # noqa: S606
            case _:
                sys.exit("usage: python -m panel.serve")


def serve(settings: Settings) -> bool:
    """Prepare the install and run web and worker until a signal; True where both stopped cleanly.

    Raises DataDirError, DatabaseError, SettingsError or ServeError before anything is started.
    """
    log.info("Starting Mailkeep on the data directory %s.", settings.data_dir)
    install.prepare(settings)
    with (
        _only_one(settings),
        listen(settings.bind_host, settings.bind_port) as listening,
        _submission_socket(settings) as submitting,
    ):
        app = create_app(settings)
        app.extensions["mailkeep.jobs"].prepare()
        with db.explained(), db.database.connection_context():
            copy = identity.restored(settings.data_dir)
            unfinished.start(app.extensions["mailkeep"].vault)
            invitation = setup.open_url(settings)
        if copy is not None:
            log.warning(
                "%s Collecting is paused until you confirm: %s", copy.message, command_line("backup confirm")
            )
        webs = [Child("web", HEALTH_CHECK, (listening.fileno(),)) for _ in range(WEB_PROCESSES)]
        others = [Child("worker")]
        if submitting is not None:
            others.append(Child("submission", b"?", (submitting.fileno(),)))
        others += _deliverer(settings)
        return run([*webs, *others], partial(_log_address, settings, invitation))


def _deliverer(settings: Settings) -> list[Child]:
    """The deliverer, where the targets file has it run as this Unix user."""
    try:
        found = targets_file.read(settings.targets_file, {0, os.geteuid()})
    except SettingsError as error:
        log.error("Mail does not go out. %s", error)
        return []
    return [Child("deliverer")] if found.same_user else []


def web(settings: Settings, control: int, listening: int) -> None:
    """One web process, until SIGTERM; it also watches for alerts.

    The parent's health checks arrive on `control` and are answered like any other request.
    """
    app = create_app(settings)
    db.database.obj.pool_connections()
    Watch(settings, app.extensions["mailkeep"].vault).start()
    accepting = socket.socket(fileno=listening)
    server = Server(app, accepting, WEB_THREADS, partial(body_limit, app))
    server.adopt(socket.socket(fileno=control))
    server.serve(WEB_STOP_SECONDS)
    db.database.obj.close_idle()
    _end()


def body_limit(app: Flask, method: str, path: str) -> int:
    """How many bytes a view of `app` reads at `path` (as in WSGI, with or without the prefix); 0: none."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return 0
    path = path.encode("latin-1").decode("utf-8", "replace")
    root = app.config["APPLICATION_ROOT"].rstrip("/")
    adapter = app.url_map.bind("localhost")
    for each in {path, path.removeprefix(root)}:
        with suppress(HTTPException):
            endpoint, _ = adapter.match(each, method)
            return LARGEST_FILE if takes_file(app.view_functions[endpoint]) else LARGEST_REQUEST
    return 0


def worker(settings: Settings, ready_fd: int) -> None:
    """The worker, until SIGTERM."""
    jobs: Jobs = create_app(settings).extensions["mailkeep.jobs"]
    jobs.work(partial(_report_ready, ready_fd))
    _end()


def submission(settings: Settings, control: int, listening: int) -> None:
    """The submission server, until SIGTERM."""
    vault = create_app(settings).extensions["mailkeep"].vault
    accepting, asking = socket.socket(fileno=listening), socket.socket(fileno=control)
    server = submission_server.SubmissionServer(accepting, asking, serving(settings, vault))
    signal.signal(signal.SIGTERM, lambda _signum, _frame: server.stop())
    server.run(SUBMISSION_STOP_SECONDS)
    _end()


def _submission_socket(settings: Settings) -> AbstractContextManager[socket.socket | None]:
    if settings.submission_bind is None:
        return nullcontext()
    return listen(*settings.submission_bind, "PANEL_SUBMISSION_BIND")


def _end() -> None:
    """Exit without waiting for threads: each of their steps may be the last."""
    logging.shutdown()
    os._exit(0)


def listen(host: str, port: int, name: str = "PANEL_BIND") -> socket.socket:
    """A socket that child processes accept on, as the setting `name` says. Raises SettingsError."""
    family, address = resolve(host, port)
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        raise _cannot_listen(host, port, name, error) from None
    return listening


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The numeric address to listen on. Raises SettingsError where `host` has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise SettingsError(
            f"PANEL_BIND names {host!r}, which is not an address of this server.",
            "Set it to an address and port, for example 127.0.0.1:8000.",
        ) from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), port)


def _cannot_listen(host: str, port: int, name: str, error: OSError) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        return SettingsError(
            f"Port {port} on {host} is in use by another program.",
            f"Stop that program, or set {name} to another port.",
        )
    return SettingsError(
        f"Mailkeep cannot listen on {host}, port {port} ({reason(error)}).",
        f"Set {name} to an address of this server and, unless you are root, to a port from 1024 up.",
    )


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Hold the data directory's server lock, which the kernel releases however this process ends."""
    with (settings.data_dir / "serve.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServeError(
                f"Mailkeep is already running on the data directory {settings.data_dir}.",
                "Stop that server first, or set PANEL_DATA_DIR to another directory.",
            ) from None
        yield


def _log_address(settings: Settings, invitation: str | None) -> None:
    base = settings.address
    log.info("Mailkeep answers on %s/ (Ctrl-C stops it).", base)
    if invitation:
        log.info("Set up Mailkeep at %s%s (the address works once).", base, invitation)


def _report_ready(fd: int) -> None:
    os.write(fd, b".")
    os.close(fd)


if __name__ == "__main__":
    main(sys.argv[1:])
