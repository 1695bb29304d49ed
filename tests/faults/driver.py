"""Many runs under one strace, each in a fork of its own: `python -m tests.faults.driver JOBS WHEN LOG`.

strace counts the calls of each process anew, each kind for itself, and spoils the WHEN-th of a kind. A run
whose Nth call of one kind is to be spoiled makes WHEN - N of that kind first that do nothing. Python and
Mailkeep are loaded once for all runs.

JOBS is a JSON list of [data directory, steps in Python, kind, N]; N of 0 spoils nothing. What a run prints goes
to LOG-<number>; their process ids and how they ended (a status of wait) to LOG.ended, at the very end: this
process too is killed at its WHEN-th call that writes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from traceback import print_exc

from panel import create_app, db
from panel.audit import Actor
from panel.config import Settings
from panel.models import Consent, Endpoint
from panel.secret import Secret
from panel.vault import forget, only_encrypted, retired_keys, rotation, turn_off, turn_on, unfinished
from panel.vault.vault import Vault
from tests.installs import BOTH

LONGER = 10**7  # seconds, for the ten minutes of a flow: all runs together take longer, and it must be there
NO_FILE = 2**20  # no process has so many files open
IDLE: dict[str, Callable[[], object]] = {  # calls of each kind that do nothing
    "write": lambda: os.write(NO_FILE, b""),
    "pwrite64": lambda: os.pwrite(NO_FILE, b"", 0),
    "fsync": lambda: os.fsync(NO_FILE),
    "fdatasync": lambda: os.fdatasync(NO_FILE),
    "link": lambda: os.link("", ""),
    "linkat": lambda: os.link("", ""),
    "rename": lambda: os.rename("", ""),
    "renameat": lambda: os.rename("", ""),
    "renameat2": lambda: os.rename("", ""),
    "unlink": lambda: os.unlink(""),
    "unlinkat": lambda: os.unlink(""),
    "ftruncate": lambda: os.ftruncate(NO_FILE, 0),
}
NAMES = {
    "Endpoint": Endpoint, "Consent": Consent, "Secret": Secret,
    "forget": forget, "retired_keys": retired_keys, "turn_off": turn_off, "rotation": rotation, "turn_on": turn_on,
    "unfinished": unfinished, "BOTH": BOTH,
}  # fmt: skip


def main(jobs: Path, when: int, log: Path) -> None:
    """Run them one after the other."""
    vars(only_encrypted)["PENDING_SECONDS"] = LONGER
    ended = []
    for number, (data, steps, kind, spoiled) in enumerate(json.loads(jobs.read_text())):
        out = os.open(f"{log}-{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if (pid := os.fork()) == 0:
            os.dup2(out, 1)
            os.dup2(out, 2)
            _idle(kind, when - spoiled if spoiled else 0)
            _run(data, steps)
        ended.append(os.waitpid(pid, 0))
        os.close(out)
    Path(f"{log}.ended").write_text(json.dumps(ended))


def _idle(kind: str, calls: int) -> None:
    for _ in range(calls):
        with suppress(OSError):
            IDLE[kind]()


def _run(data: str, steps: str) -> None:
    try:
        settings = Settings.load({"PANEL_DATA_DIR": data, "PANEL_ENV_FILE": "/dev/null"})
        create_app(settings)
        db.database.connect()
        names = {"vault": Vault.of(settings, db.database), "actor": Actor("admin@example.org")}
        exec(steps, NAMES | names)  # noqa: S102 - the scenarios of test_every_write
    except BaseException:  # noqa: BLE001 - told by the traceback
        print_exc()
    finally:
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
