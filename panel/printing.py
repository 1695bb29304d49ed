"""What commands print: names come from mail servers, folders and people, and none may control a terminal.

A command goes on where printing fails, so that its work does not depend on its reader. The loss is reported
at its end, and the exit status is 1.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import click

from panel.logs import escaped
from panel.wording import reason

SECONDS_BETWEEN_LINES = 2

Progress = Callable[[int, int], None]  # done, in all

# The errors of standard output during the current command.
_lost: list[OSError] = []


def say(text: str, *, err: bool = False, alarm: bool = False) -> None:
    """Print one line for people, to standard error with `err`; `alarm`: red where there are colours."""
    line = escaped(text)
    _write((click.style(line, fg="red", bold=True) if alarm else line) + "\n", err)


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


def print_json(value: object) -> None:
    """Print `value` as JSON in ASCII, which cannot control a terminal. SQL may have put bytes into it."""
    _write(json.dumps(value, indent=1, default=lambda found: found.decode("utf-8", "replace")) + "\n")


def print_exactly(content: bytes) -> None:
    """Print bytes that Mailkeep itself generated for a file."""
    _write(content)


def on_a_terminal(*, err: bool = False) -> bool:
    """Whether standard output, or with `err` standard error, is a terminal."""
    stream = sys.stderr if err else sys.stdout
    return stream is not None and stream.isatty()


def require_whole() -> None:
    """Raise the OSError that some of the output was lost by."""
    if _lost:
        raise _lost[0]


def reader_is_gone() -> bool:
    """Whether the reader of standard output has closed it (`| head`)."""
    return any(error.errno == errno.EPIPE for error in _lost)


def _write(text: str | bytes, err: bool = False) -> None:
    stream = sys.stderr if err else sys.stdout
    try:
        if stream is None:
            raise OSError(errno.EBADF, "it was closed before the command started")
        shown = text if isinstance(text, bytes) else encodable(text, stream)
        click.echo(shown, file=stream, nl=False)
    except OSError as error:
        lose(stream, error)


def encodable(text: str, stream: TextIO) -> str:
    """`text` for the encoding of `stream`; other characters become `\\xfc` and the like."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def lose(stream: TextIO | None, error: OSError) -> None:
    """Discard all further output, so that Python does not fail on it at exit."""
    if stream is not sys.stderr:
        _lost.append(error)
    with suppress(OSError, AttributeError):  # closed, or a test's stream
        fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(fd, stream.fileno())  # type: ignore[union-attr]
        os.close(fd)


@contextmanager
def whole_output() -> Iterator[None]:
    """Exit status 1 where a successful command lost output; not where the reader closed it."""
    _lost.clear()
    try:
        yield
    except (SystemExit, click.exceptions.Exit) as ended:
        if ended.exit_code if isinstance(ended, click.exceptions.Exit) else ended.code:
            raise
        if not _lost:
            raise
    if _lost and not reader_is_gone():
        say(
            f"The output could not be written ({reason(_lost[0])}). The command's changes are in effect.",
            err=True,
        )
        sys.exit(1)


def open_standard_streams() -> None:
    """Open closed standard streams on /dev/null; otherwise the next file would get their number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open("r")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


@contextmanager
def progress(label: str, quiet: bool = False) -> Iterator[Progress]:
    """Show progress on standard error: a bar on a terminal, lines otherwise.

    Yields a function of the number done and the total.
    """
    if quiet:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        with _bar(label) as show:
            yield show
    else:
        yield _lines(label)


@contextmanager
def _bar(label: str) -> Iterator[Progress]:
    with click.progressbar(length=0, label=label, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield show


def _lines(label: str) -> Progress:
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{label}: {done} of {total}", err=True)

    return show
