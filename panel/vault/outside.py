"""Secrets that are kept outside: files of PANEL_SECRETS_DIR, read when they are used, never stored or cached.

A name alone reads nothing. Beside the file NAME lies NAME.server, written by whoever owns the directory: the
servers (`host port username`) that NAME may be shown to. Otherwise a stolen session of an administrator could
add a mailbox on a server of its own with the secret of another mailbox (docs/outside-secrets.md).

A message names no path, since it is also sent as an alert; the remedy does.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from panel import text_file
from panel.config import Settings, env_file
from panel.errors import BadInput, OutsideSecretError
from panel.mail.server import MailServer, normalise_host
from panel.secret import Secret
from panel.vault.files import at_most, typed
from panel.wording import reason

NAME = re.compile(r"[a-z0-9._-]{1,64}\Z")
PIN = ".server"
LONGEST_PIN = 16 * 2**10  # bytes of NAME.server
ROOT = 0
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
ITS_DIRECTORY = "The directory of PANEL_SECRETS_DIR"


@dataclass(frozen=True)
class _Directory:
    """The open directory, its real path, and the user who besides root may own what is read."""

    fd: int
    path: Path
    owner: int


def require_name(name: str) -> None:
    """Raise BadInput (field `secret_name`) for what is not the bare name of a file."""
    if not NAME.match(name) or name in (".", ".."):
        raise BadInput(
            "This is not the name of a secret kept outside.",
            "Enter the name of its file in PANEL_SECRETS_DIR: up to 64 of the characters a-z, 0-9, . _ -",
            field="secret_name",
        )


def read(name: str, server: MailServer, settings: Settings) -> Secret:
    """The secret in the file `name`, if NAME.server lists `server`; otherwise the file is not read.

    Call it only with name and server of a record that was opened. Raises BadInput for what is no name,
    OutsideSecretError, with what to type, for all else.
    """
    require_name(name)
    with _opened(settings) as directory:
        _require_pinned(directory, name, server)
        secret = _secret(directory, name)
        _require_pinned(directory, name, server)  # both may have been replaced between the two readings
    return secret


def require_directory(settings: Settings) -> None:
    """Raise OutsideSecretError unless the directory can be opened and nobody else can write it."""
    with _opened(settings):
        pass


@contextmanager
def _opened(settings: Settings) -> Iterator[_Directory]:
    path = settings.secrets_dir
    if path is None:
        raise OutsideSecretError(
            "PANEL_SECRETS_DIR is not set, so no secret kept outside can be read.",
            f"Set it in {env_file(settings.environ)}. If only the server has it, from its unit or container, "
            "this shell cannot read such secrets: use the mailbox's page.",
        )
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise OutsideSecretError(
            f"{ITS_DIRECTORY} cannot be opened here ({reason(error)}).",
            f"Check it: sudo ls -ld {typed(path)}. If systemd or a container shows it to the server alone, "
            "this shell cannot see it: use the mailbox's page, or a shell in the container.",
        ) from None
    try:
        directory = _Directory(fd, _real_path(fd), settings.data_dir.stat().st_uid)
        _require_safe(directory, fd, ITS_DIRECTORY)
        _require_in_place(directory, path)
        yield directory
    finally:
        os.close(fd)


def _require_pinned(directory: _Directory, name: str, server: MailServer) -> None:
    """Raise OutsideSecretError unless NAME.server lists `server`."""
    pin, line = f"{name}{PIN}", f"{server.host} {server.port} {server.username}"
    remedy = (
        "If it may be used there, its owner adds the line: "
        f"printf '\\n%s\\n' {shlex.quote(line)} | sudo tee -a {typed(directory.path / pin)}"
    )
    try:
        data = _content(directory, pin, LONGEST_PIN)
    except FileNotFoundError:
        raise OutsideSecretError(f"{pin} is missing, so the secret {name} was not read.", remedy) from None
    if len(data) > LONGEST_PIN:
        raise OutsideSecretError(f"{pin} is longer than {LONGEST_PIN} bytes.", "Remove lines from it.")
    lines = data.removeprefix(text_file.BOM).decode("utf-8", "replace").splitlines()
    if not any(_is_pin_of(each, server) for each in lines):
        raise OutsideSecretError(f"{pin} does not list “{line}”, so the secret {name} was not read.", remedy)


def _is_pin_of(line: str, server: MailServer) -> bool:
    """Whether `line` is `host port username` of exactly this server. A username may contain spaces."""
    parts = line.split(maxsplit=2)
    if len(parts) != 3 or parts[1] != str(server.port) or parts[2].rstrip() != server.username.strip():
        return False
    try:
        return normalise_host(parts[0]) == server.host
    except BadInput:
        return False


def _secret(directory: _Directory, name: str) -> Secret:
    path = typed(directory.path / name)
    try:
        text = text_file.secret(io.BytesIO(_content(directory, name, text_file.LONGEST_SECRET)))
        if not text:
            raise BadInput("The file is empty.", f"Write the secret into it: sudoedit {path}")
        return Secret(text)
    except FileNotFoundError:
        message = f"The secret {name} is missing in PANEL_SECRETS_DIR."
        raise OutsideSecretError(message, f"Put it back as {path}.") from None
    except BadInput as error:
        message = f"The secret {name} cannot be used. {error.message}"
        raise OutsideSecretError(message, error.remedy) from None


def _content(directory: _Directory, name: str, limit: int) -> bytes:
    """At most `limit` + 1 bytes of the file. Raises FileNotFoundError, OutsideSecretError.

    O_PATH opens no pipe and no device; what was examined is read, whatever the name leads to by then.
    """
    try:
        fd = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=directory.fd)
        try:
            _require_inside(directory, name, fd)
            return _bytes(fd, limit + 1)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        path = typed(directory.path / name)
        remedy = f"Check it: sudo ls -lL {path}"
        if error.errno == errno.EACCES:
            remedy = f"Let the user that Mailkeep runs as read it: sudo chown {directory.owner} {path}"
        raise OutsideSecretError(f"The file {name} cannot be read ({reason(error)}).", remedy) from None


def _bytes(fd: int, most: int) -> bytes:
    """The first bytes of the regular file that `fd` stands for."""
    readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return at_most(readable, most)
    finally:
        os.close(readable)


def _require_inside(directory: _Directory, name: str, fd: int) -> None:
    """Raise OutsideSecretError unless it is a regular file below the directory that others cannot write.

    Symbolic links are followed (Kubernetes makes them), so each directory on the way to the file counts.
    """
    real, path = _real_path(fd), typed(directory.path / name)
    if not real.is_relative_to(directory.path):
        message = f"The file {name} is a link that leads out of PANEL_SECRETS_DIR."
        raise OutsideSecretError(
            message, f"Put the file itself there: sudo cp --remove-destination {typed(real)} {path}"
        )
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OutsideSecretError(f"{name} is not a regular file.", f"Put the file itself at {path}.")
    for folder in real.relative_to(directory.path).parents[:-1]:
        inside = os.open(directory.path / folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _require_safe(directory, inside, f"A directory that the link {name} leads to")
        finally:
            os.close(inside)
    _require_safe(directory, fd, f"The file {name}")


def _require_safe(directory: _Directory, fd: int, what: str) -> None:
    """Raise OutsideSecretError for what another user could have written."""
    found, path = os.fstat(fd), typed(_real_path(fd))
    if found.st_uid not in (ROOT, directory.owner):
        raise OutsideSecretError(
            f"{what} belongs to another user, who could change it.", f"Run: sudo chown root {path}"
        )
    if found.st_mode & OTHERS_WRITE and not _is_kubernetes_volume(found, fd):
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise OutsideSecretError(
            f"{what} can be changed by other users (mode {mode}).", f"Run: sudo chmod go-w {path}"
        )


def _require_in_place(directory: _Directory, path: Path) -> None:
    """Raise OutsideSecretError where another user could put another directory in the place of ours."""
    for folder in dict.fromkeys((*path.parents, *directory.path.parents)):
        found = folder.stat()
        theirs = found.st_uid not in (ROOT, directory.owner)
        sticky = found.st_mode & stat.S_ISVTX  # as /tmp: only what is one's own can be replaced
        if theirs or (found.st_mode & OTHERS_WRITE and not sticky):
            how = "chown root" if theirs else "chmod go-w"
            raise OutsideSecretError(
                f"{ITS_DIRECTORY} lies in one that other users can change.",
                f"Move it, or run: sudo {how} {typed(folder)}",
            )


def _is_kubernetes_volume(found: os.stat_result, fd: int) -> bool:
    """Whether it is the root of a volume of secrets: mode 1777, but mounted so that nobody can write."""
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    return bool(sticky) and bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)


def _real_path(fd: int) -> Path:
    """Where what is open lies, without symbolic links."""
    return Path(f"/proc/self/fd/{fd}").readlink()
