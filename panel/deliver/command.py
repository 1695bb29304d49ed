"""The target that runs a program: the message is its standard input."""

from __future__ import annotations

import os
import pwd
import selectors
import signal
import subprocess
import threading
import time
from contextlib import suppress

from panel.deliver.message import Disposition, OutgoingMessage, TryResult, result
from panel.deliver.targets import CommandTarget
from panel.wording import counted

REFUSED = 65  # EX_DATAERR of sysexits.h
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOST_OUTPUT = 4096  # bytes of output; the rest is read and dropped
STOP_SECONDS = 10.0  # that a running program has when the deliverer stops, or once it was killed
LEFT_SECONDS = 300  # for which no other is started beside one that cannot be killed


def deliver(target: CommandTarget, message: OutgoingMessage, stopping: threading.Event) -> TryResult:
    """Run the program. Exit status 0: delivered; 65: refused; everything else: later.

    It gets the file itself as standard input, no other descriptor, and a process group of its own, which
    is killed with all that it left behind.
    """
    try:
        process = subprocess.Popen(
            target.command,
            stdin=message.file,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(message),
            process_group=0,
            umask=0o022,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = (getattr(error, "strerror", None) or "unknown reason").lower()
        return result(Disposition.LATER, f"{target.command[0]} cannot be started: {why}.")
    output, in_time = _watch(process, target.timeout, stopping)
    text = output.decode("utf-8", "replace")
    status = process.returncode
    if not in_time:
        late = f"No result within {counted(target.timeout, 'second')}"
        if status is None:  # sudo and its like belong to root
            return result(Disposition.LATER, f"{late}, and the program cannot be ended. {text}", LEFT_SECONDS)
        return result(Disposition.LATER, f"{late}. {text}")
    if status == 0:
        return result(Disposition.DELIVERED, text)
    how = f"Killed by signal {-status}." if status < 0 else f"Exit status {status}."
    return result(Disposition.REFUSED if status == REFUSED else Disposition.LATER, f"{how} {text}")


def _environment(message: OutgoingMessage) -> dict[str, str]:
    try:
        user = pwd.getpwuid(os.geteuid())
        who = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    except KeyError:  # a container's user need not have a name
        who = {"HOME": "/"}
    return who | {
        "PATH": PATH, "LANG": "C.UTF-8",
        "MAILKEEP_DELIVERY_ID": message.id, "MAILKEEP_MAILBOX": message.mailbox, "MAILKEEP_UID": message.uid,
    }  # fmt: skip


def _watch(process: subprocess.Popen[bytes], seconds: float, stopping: threading.Event) -> tuple[bytes, bool]:
    """Wait for its end, reading what it says: the first bytes of that, and whether it ended in time."""
    assert process.stdout is not None
    pipe, ended = process.stdout.fileno(), os.pidfd_open(process.pid)
    os.set_blocking(pipe, False)
    ends_at, output = time.monotonic() + seconds, bytearray()
    with process.stdout, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        in_time = False
        while not in_time and (left := ends_at - time.monotonic()) > 0:
            if stopping.is_set():
                ends_at = min(ends_at, time.monotonic() + STOP_SECONDS)
            ready = {key.fd for key, _ in selector.select(min(left, 1.0))}
            in_time = ended in ready
            if pipe in ready and not _read(pipe, output):
                selector.unregister(pipe)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # before `wait`: until then the number is taken
    with suppress(PermissionError):
        process.kill()  # it may have left its group
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    os.close(ended)
    return bytes(output), in_time


def _read(pipe: int, output: bytearray) -> bool:
    """Keep the first bytes of what is there. False at the end."""
    with suppress(BlockingIOError):
        for _ in range(16):
            if not (some := os.read(pipe, 2**16)):
                return False
            output += some[: MOST_OUTPUT - len(output)]
    return True
