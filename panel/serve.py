"""`python -m panel.serve`: prepares the install, then is the parent of web and worker.

It starts itself twice more, as `web FD` and `worker FD`: fresh processes, which
the kernel kills when their parent is gone. See `panel.children` for how they live.
"""

from __future__ import annotations

import errno
import fcntl
import http.client
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from flask import Flask
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from panel import create_app, db, identity, install, logs, process
from panel.children import SIGNALS, Child, run
from panel.config import Settings
from panel.encryption import switch
from panel.errors import ServeError, SettingsError
from panel.jobs import Jobs
from panel.notices.watch import Watch
from panel.setup import service as setup
from panel.shell import exit_on_error

WEB_PROCESSES = 2
WEB_THREADS = 8  # a live test holds one while a mail server is slow
WEB_STOP_SECONDS = 10
# No access log (a path may be the set-up token); errors go through our own handler.
GRANIAN_LOG = {"formatters": {}, "handlers": {}, "loggers": {"_granian": {"propagate": True}}}

log = logging.getLogger("panel.serve")


def main(arguments: list[str]) -> None:
    """Be the parent, or the child that `arguments` name."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a child inherits what its parent blocks
    os.environ.pop("FLASK_DEBUG", None)
    with exit_on_error():
        settings = Settings.load()
        logs.configure(settings.log_format)
        logs.catch_all()
        process.harden()
        match arguments:
            case []:
                sys.exit(0 if serve(settings) else 1)
            case ["web", fd]:
                web(settings, int(fd))
            case ["worker", fd]:
                worker(settings, int(fd))
            case _:
                sys.exit("usage: python -m panel.serve")


def serve(settings: Settings) -> bool:
    """Prepare the install and run web and worker until a signal; True where both stopped cleanly.

    Raises DataDirError, DatabaseError, SettingsError or ServeError before anything is started.
    """
    log.info("Starting Mailkeep on the data directory %s.", settings.data_dir)
    install.prepare(settings)
    with _only_one(settings):
        require_free_port(settings.bind_host, settings.bind_port)
        app = create_app(settings)
        app.extensions["mailkeep.jobs"].prepare()
        with db.explained(), db.database.connection_context():
            copy = identity.restored(settings.data_dir)
            switch.start(app.extensions["mailkeep"].keystore)
            invitation = setup.open_url(settings)
        if copy is not None:
            log.warning("%s Collecting is paused until somebody confirms: flask backup confirm", copy.says)
        return run(
            [Child("web", partial(answers, settings)), Child("worker")], partial(_tell, settings, invitation)
        )


def web(settings: Settings, ready_fd: int) -> None:
    """The web server, until SIGTERM."""
    server = Granian(
        "panel:create_app",
        address=resolve(settings.bind_host, settings.bind_port)[1][0],  # it takes no names
        port=settings.bind_port,
        interface=Interfaces.WSGI,
        workers=WEB_PROCESSES,
        blocking_threads=WEB_THREADS,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=WEB_STOP_SECONDS,
        log_level=LogLevels.error,
        log_dictconfig=GRANIAN_LOG,
    )
    _say_ready(ready_fd)  # the parent asks it over HTTP besides
    server.serve(target_loader=partial(load_application, os.getpid()), wrap_loader=False)


def load_application(parent: int) -> Flask:
    """The application, in one of the processes of the web server `parent`; it also looks after notices."""
    process.die_with(parent)
    process.harden()
    settings = Settings.load()
    logs.configure(settings.log_format)
    app = create_app(settings)
    Watch(settings, app.extensions["mailkeep"].keystore).start()
    return app


def worker(settings: Settings, ready_fd: int) -> None:
    """The worker, until SIGTERM."""
    process.raise_file_limit()
    jobs: Jobs = create_app(settings).extensions["mailkeep.jobs"]
    jobs.work(partial(_say_ready, ready_fd))
    # Threads whose time ran out end with the process: each of their steps may be the last.
    logging.shutdown()
    os._exit(0)


def require_free_port(host: str, port: int) -> None:
    """Raise SettingsError, saying which and why, where the panel cannot listen on `host` and `port`."""
    family, address = resolve(host, port)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise _cannot_listen(host, port, error) from None


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The address to listen on, by number. Raises SettingsError where `host` is the name of none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise SettingsError(
            f"PANEL_BIND names {host!r}, which is no address of this machine.",
            "Set it to an address and a port, for example 127.0.0.1:8000.",
        ) from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), port)


def _cannot_listen(host: str, port: int, error: OSError) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        return SettingsError(
            f"Port {port} on {host} is in use by another program.",
            "Stop that program, or set PANEL_BIND to another port.",
        )
    return SettingsError(
        f"Mailkeep cannot listen on {host}, port {port} ({(error.strerror or '').lower()}).",
        "Set PANEL_BIND to an address of this machine and, unless you are root, to a port from 1024 up.",
    )


def answers(settings: Settings) -> bool:
    """Whether the web server answers requests by now."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.bind_host, settings.bind_host)  # noqa: S104
    connection = http.client.HTTPConnection(host, settings.bind_port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status > 0
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Hold the data directory's server lock. The kernel lets go of it however this process ends."""
    with (settings.data_dir / "serve.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServeError(
                f"Mailkeep is already running on the data directory {settings.data_dir}.",
                "Stop that server first, or set PANEL_DATA_DIR to another directory.",
            ) from None
        yield


def _tell(settings: Settings, invitation: str | None) -> None:
    host = f"[{settings.bind_host}]" if ":" in settings.bind_host else settings.bind_host
    base = settings.url or f"http://{host}:{settings.bind_port}"
    log.info("Mailkeep answers on %s/ (Ctrl-C stops it).", base)
    if invitation:
        log.info("Set up Mailkeep at %s%s (once, by whoever opens it first).", base, invitation)


def _say_ready(fd: int) -> None:
    os.write(fd, b".")
    os.close(fd)


if __name__ == "__main__":
    main(sys.argv[1:])
