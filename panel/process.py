"""What every process that may hold secrets asks of the kernel (Linux; elsewhere nothing)."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4  # linux/prctl.h


def harden() -> None:
    """No core dumps, no reading of this process's memory by others of the same user, private files."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_DUMPABLE, 0)


def raise_file_limit() -> None:
    """As many open files as the system allows: each client and each mail server takes some."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def die_with(parent: int) -> None:
    """Have the kernel kill this process as soon as `parent`, its parent process, is gone.

    Whatever that interrupts is finished after the next start: every step that
    writes is made for it. Called in the child, before or after `exec`.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
