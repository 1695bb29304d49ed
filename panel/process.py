"""Kernel protections for every process that may hold secrets (Linux only)."""

from __future__ import annotations

import ctypes
import os
import resource
import secrets
import signal
import socket
import sys

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4  # linux/prctl.h


def harden() -> None:
    """No core dumps, no reading of this memory by other processes of the user, private files."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_DUMPABLE, 0)


def raise_file_limit() -> None:
    """Allow as many open files as the system does: each client and mail server needs some."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, its parent process, ends.

    Every step that writes can be interrupted and is finished after the next start.
    Call it in the child, before or after `exec`.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def holder() -> str:
    """A name for who holds a lease in the database: this machine, this process, this time."""
    return f"{_host()}:{os.getpid()}:{secrets.token_hex(6)}"


def is_dead(name: str) -> bool:
    """Whether the process of this machine that called itself so has ended. False for other machines."""
    host, _, rest = name.partition(":")
    return host == _host() and not _alive(rest.partition(":")[0])


def is_alive(name: str) -> bool:
    """Whether that process is one of this machine, and has not ended. False for other machines."""
    return name.partition(":")[0] == _host() and not is_dead(name)


def _host() -> str:
    return socket.gethostname().replace(":", "")[:32]


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
