"""Who set the server of a mailbox: a log file beside the database, shown before a password is entered.

An attacker who writes the database can become an administrator, change a server through the panel, then
delete that administrator and Activity. The panel only appends to this file (docs/not-protected.md).
"""

from __future__ import annotations

import json
import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path

from panel import db
from panel.errors import Refused
from panel.models.endpoint import Place
from panel.vault import files

FILE = "server-changes.log"
LONGEST_LINE = 16_384  # bytes: JSON takes up to twelve per character of username, address and name
UUID = re.compile(r"[0-9a-f-]{36}")


@dataclass(frozen=True)
class Change:
    """One line: when, by whom, and which server."""

    at: int
    who: str
    server: str
    differs: bool = False  # from the stored server


def append(data_dir: Path, place: Place, who: str) -> None:
    """Log that `who` sets the server of `place`. Raises Refused if that is impossible."""
    if not UUID.fullmatch(place.account):
        raise Refused(
            "The mailbox's id was not assigned by Mailkeep, so nothing was stored.", "Remove the mailbox."
        )
    server = described(place)
    what = json.dumps({"at": db.now(), "who": who[:254], "server": server, "mailbox": place.address})
    line = f"{place.account} {place.direction} {what}\n"
    path = data_dir / FILE
    with files.explained(path):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)


def described(place: Place) -> str:
    """The server of `place` as a line shows it."""
    return f"{place.protocol} {place.host}:{place.port} {place.security} as {place.username}"


def last(data_dir: Path, account: str, direction: str) -> Change | None:
    """The newest line of that mailbox and direction; None if there is none or it cannot be read."""
    prefix = f"\n{account} {direction} ".encode()
    try:
        with (
            (data_dir / FILE).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as all_,
        ):
            start = all_.rfind(prefix)
            start = start + 1 if start >= 0 else 0
            line = all_[start : start + LONGEST_LINE].split(b"\n", 1)[0]
        found = json.loads(line.removeprefix(prefix[1:]))
        return Change(int(found["at"]), str(found["who"]), str(found["server"]))
    except (OSError, ValueError, KeyError, TypeError):  # missing, empty, or edited by hand
        return None
