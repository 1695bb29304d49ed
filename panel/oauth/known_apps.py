"""Which app each uid has stood for on this server: a file beside the database, which is only appended to.

Consents name their app by its uid alone. Whoever writes the database and is an administrator could take an
app's uid away there, and add another app by it, at an issuer of their own: the refresh tokens of all its
mailboxes would go there. So a uid stands for one app for ever (docs/decisions/0049-known-apps.md).
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import re
from dataclasses import replace
from pathlib import Path

from panel import durable
from panel.errors import Tampered
from panel.models.oauth import AppPlace, OauthApp
from panel.secret import Secret
from panel.vault import credential, files
from panel.vault.vault import Vault

FILE = "oauth-apps.log"
LINE = re.compile(rb"^([0-9a-f]{32}) ([0-9a-f]{64})$", re.MULTILINE)  # uid, digest


def note(data_dir: Path, app: AppPlace) -> bool:
    """Whether the uid has stood for no other app; it stands for this one now. Raises Refused."""
    path, digest = data_dir / FILE, _digest(app)
    with files.explained(path):
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            known = _first(fd, app.uid)
            if known is None:
                os.write(fd, f"\n{app.uid} {digest}\n".encode())  # what a crash has cut off ends before it
                os.fsync(fd)
                durable.sync_directory(data_dir)
                known = _first(fd, app.uid)  # another process may have been first
            if known is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
    return known == digest


def is_known(data_dir: Path, app: AppPlace) -> bool:
    """Whether the uid has stood for this very app already."""
    path = data_dir / FILE
    with files.explained(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return _first(fd, app.uid) == _digest(app)
        finally:
            os.close(fd)


def _first(fd: int, uid: str) -> str | None:
    """The digest of the first whole line with that uid, however long the file has become."""
    if not os.fstat(fd).st_size:
        return None
    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as lines:
        return next((line[2].decode() for line in LINE.finditer(lines) if line[1] == uid.encode()), None)


def opened(row: OauthApp, vault: Vault) -> Secret:
    """The client secret of the app. Raises as `credential.open_row`; Tampered where the uid was another's."""
    secret = credential.open_row(row, vault)
    if not note(vault.keystore.data_dir, row.place):
        raise Tampered("Another app was put in the place of this one, outside Mailkeep.", row.words.again)
    return secret


def _digest(app: AppPlace) -> str:
    """Of where its secrets go, which no edit changes."""
    return hashlib.sha256(repr(replace(app, name="", scopes="")).encode()).hexdigest()
