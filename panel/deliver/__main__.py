"""`flask deliver run`: the deliverer, in a process that has nothing of the panel but this package."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping

from panel import logs, process
from panel.config import Settings
from panel.deliver import targets_file
from panel.deliver.deliverer import Deliverer
from panel.errors import PanelError, SettingsError
from panel.mail.policy import Policy

NEEDED = ("PANEL_MAIL_SPOOL", "PANEL_TARGETS_FILE")
READ = (
    *NEEDED,
    "PANEL_DATA_DIR",
    "PANEL_ENV_FILE",
    "PANEL_LOG_FORMAT",
    "PANEL_MAIL_CA_FILE",
    "PANEL_MAIL_DENY_NETWORKS",
)


def main(ready: int | None = None) -> None:
    """Deliver until SIGTERM. One byte is written to the descriptor `ready` once work begins."""
    process.harden()
    process.raise_file_limit()
    try:
        settings = load(os.environ)
        targets_file.read(settings.targets_file, {0, os.geteuid()})  # later mistakes in it are waited out
    except PanelError as error:
        sys.stderr.write(f"{logs.escaped(str(error))}\n")
        sys.exit(error.exit_code)
    logs.configure(settings.log_format)
    logs.catch_all()
    stopping = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: stopping.set())
    if ready is not None:
        os.write(ready, b".")
    assert settings.targets_file is not None
    Deliverer(settings.mail_spool, settings.targets_file, Policy.of(settings), stopping).run()
    logging.shutdown()
    os._exit(0)  # what still waits for a server may be cut off: it is delivered again


def load(environ: Mapping[str, str]) -> Settings:
    """The few settings that it needs. With both of NEEDED in `environ` no settings file is read.

    That file may hold secrets of the panel, and need not be readable here. Raises SettingsError.
    """
    given = {name: environ[name] for name in READ if environ.get(name)}
    if all(name in given for name in NEEDED):
        given["PANEL_ENV_FILE"] = os.devnull
    settings = Settings.load(given)
    if settings.targets_file is None:
        raise SettingsError(
            "PANEL_TARGETS_FILE is not set, so there is nothing to deliver to.",
            "Set it, and PANEL_MAIL_SPOOL, in the environment of this command (docs/deliver.md).",
        )
    return settings


if __name__ == "__main__":
    main(int(sys.argv[2]) if len(sys.argv) == 3 else None)
