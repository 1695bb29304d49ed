"""Processes that need not start Python and import the panel anew: one that has, forks for each.

`python -m flask …` spends 0.7 s of CPU on imports and 0.05 s on the command. What is run here is
a process of its own with its own environment, files, exit status and end, as if it had been
started: what is shared is only what Python did before (tests/house/test_warm.py holds the two
against each other). That commands work from a cold start too is shown by the manual's pages that
begin with nothing (tests/docs).

This module is both sides. Run as `python -m tests.warm SOCKET` it is the process that forks.
"""

from __future__ import annotations

import array
import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 2**20  # bytes of a request
# What Python, libc and OpenSSL read when they start: who needs it otherwise gets another parent.
READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "OPENSSL_", "TZ", "TMPDIR")
T = TypeVar("T", str, bytes)


# -- who asks --------------------------------------------------------------------------


def run_module(
    module: str, arguments: Sequence[str], environ: Mapping[str, str], stdin: str, seconds: float
) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE ARGUMENTS…` in the repository root, with `environ` and nothing else.

    Raises subprocess.TimeoutExpired, and ends it, after `seconds`.
    """
    pipe = subprocess.PIPE
    with Popen(
        ["-m", module, *arguments], env=environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            printed, complained = process.communicate(stdin, seconds)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess([module, *arguments], process.returncode, printed, complained)


def run(command: Sequence[str], *, input: bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """subprocess.run of a Python program, as `Popen` runs it."""
    begun: Any = Popen(command[1:], env=os.environ, stdin=subprocess.PIPE, **options)
    with begun as process:
        printed, complained = process.communicate(input)
    return subprocess.CompletedProcess(command, process.returncode, printed, complained)


class Popen(subprocess.Popen[T]):
    """subprocess.Popen of `["-m", MODULE, ARGUMENTS…]` or `["-c", CODE, ARGUMENTS…]`, forked instead of started.

    It runs in the repository root and needs `env`. Overridden are the three places in which
    subprocess itself starts a process and waits for one.
    """

    def _execute_child(
        self, args: Sequence[str], executable: object, preexec_fn: object, close_fds: object,
        pass_fds: object, cwd: object, env: Mapping[str, str], startupinfo: object, creationflags: object,
        shell: object, p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int, errread: int, errwrite: int,
        *others: object,
    ) -> None:  # fmt: skip
        program = list(args[1:] if args[0] == "-m" else ["tests.snippet", *args[1:]])
        request = {"argv": program, "environ": dict(env), "group": others[-1]}
        fds = [n if fd == -1 else fd for n, fd in enumerate((p2cread, c2pwrite, errwrite))]
        self._connection, self.pid = _parent(_read_at_start(env)).start(request, fds)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]

    def _waitpid(self, pid: int, flags: int) -> tuple[int, int]:
        """As os.waitpid answers, which knows children only."""
        if self._connection.fileno() < 0:
            raise ChildProcessError  # nobody waited for it, and its connection went before it as garbage
        if flags & os.WNOHANG and not select.select([self._connection], [], [], 0)[0]:
            return 0, 0
        status = int(self._connection.recv(64))
        self._connection.close()
        return pid, status

    def _try_wait(self, flags: int) -> tuple[int, int]:
        return self._waitpid(self.pid, flags)

    def _internal_poll(self, _deadstate: int | None = None) -> int | None:
        found: int | None = super()._internal_poll(_deadstate, self._waitpid)  # type: ignore[misc]
        return found


def address(environ: Mapping[str, str]) -> str:
    """The socket of the process that forks, for a child that asks it by itself (tests/docs/bin/flask)."""
    return _parent(_read_at_start(environ)).path


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode().replace("\r\n", "\n"))  # as text=True does


def _read_at_start(environ: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((k, v) for k, v in environ.items() if k.startswith(READ_AT_START))


@functools.cache
def _parent(environ: frozenset[tuple[str, str]]) -> _Parent:
    parent = _Parent(dict(environ))
    atexit.register(parent.stop)
    return parent


class _Parent:
    """The process that has imported everything, as the one who asks sees it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm-")
        self.path = f"{self._folder.name}/socket"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", self.path],
            cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", "the process that forks did not start"

    def start(self, request: Mapping[str, object], files: Sequence[int]) -> tuple[socket.socket, int]:
        """Have `request` run on `files` as its standard input, output and error.

        Its process id, and the connection on which the status that os.waitpid gives will come.
        """
        umask = os.umask(0o077)
        os.umask(umask)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self.path)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST)
        message = json.dumps({**request, "umask": umask}).encode()
        connection.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))])
        return connection, int(connection.recv(64))

    def stop(self) -> None:
        """End it: it goes when its standard input is closed."""
        self._process.communicate(timeout=60)
        self._folder.cleanup()


# -- who forks -------------------------------------------------------------------------


def main(path: str) -> None:
    """Import everything, then fork for whoever asks. Returns in a fork, which is to `_become`."""
    import flask.cli  # noqa: F401 - importing is what this is for

    import panel
    from tests import remembered, running  # noqa: F401

    for found in pkgutil.walk_packages(panel.__path__, "panel."):
        if ".migrations." not in found.name and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    remembered.compile_once()

    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as listening:
        listening.bind(path)
        listening.listen(64)
        gc.collect()
        gc.freeze()
        os.write(1, b"ready\n")
        while request := _next(listening):
            if os.fork() == 0:
                listening.close()
                return _serve(request)
            request.close()
            _reap()
    sys.exit(0)


def _next(listening: socket.socket) -> socket.socket | None:
    """The next who asks; None once the standard input is closed."""
    ended, asked = 0, listening.fileno()
    return None if ended in select.select([ended, asked], [], [])[0] else listening.accept()[0]


def _reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _serve(connection: socket.socket) -> None:
    """Fork once more; wait for that process and tell its status. Returns in it."""
    message, ancillary, _, _ = connection.recvmsg(LONGEST, socket.CMSG_SPACE(3 * 4))
    files = array.array("i", ancillary[0][2])
    pid = os.fork()
    if pid == 0:
        connection.close()
        return _become(json.loads(message), list(files))
    for fd in files:
        os.close(fd)
    connection.send(str(pid).encode())
    with suppress(BrokenPipeError):  # nobody waits any more
        connection.send(str(os.waitpid(pid, 0)[1]).encode())
    os._exit(0)


def _become(request: dict[str, Any], files: Sequence[int]) -> None:
    """Be what was asked for, up to the module itself."""
    for number, fd in enumerate(files):
        os.dup2(fd, number)
        os.close(fd)
    if request["group"] == 0:
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores Ctrl-C
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv[:] = request["argv"]


if __name__ == "__main__":
    main(sys.argv[1])
    # Only forks come here. The end of the module is that of the process, exceptions and exit status too.
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
