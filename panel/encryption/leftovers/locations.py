"""Which files are searched for old copies. They are only listed here: `search` reads them elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from panel.config import Settings

Kind = Literal["database", "queue", "data", "also"]

SQLITE = "sqlite:///"
ENDS = ("", "-wal", "-shm", "-journal")
NOT_VISIBLE = (
    "old backups and snapshots",
    "replicas",
    "swap and hibernation files",
    "blocks that the file system or the disk has set aside",
)


@dataclass(frozen=True)
class Place:
    """One file to search. `name`: what people are told, short where it lies in the data directory."""

    path: Path
    name: str
    kind: Kind


@dataclass(frozen=True)
class Skipped:
    """What was not looked into, and why."""

    name: str
    reason: str


def of(settings: Settings, also: Iterable[Path] = ()) -> tuple[list[Place], list[Skipped]]:
    """Every file to search, each once, and what is left out.

    These are the files of database and queue, all that lies in the data directory but
    the key files and the mail spool, and all below `also`. Links are not followed.
    """
    found: dict[Path, Place] = {}
    skipped: list[Skipped] = []
    for place in _every(settings, also, skipped):
        found.setdefault(place.path.absolute(), place)
    return list(found.values()), skipped


def not_visible(settings: Settings) -> list[str]:
    """What may hold old copies and cannot be searched from here."""
    servers = [
        f"the files of the {what} server"
        for what, url in (("database", settings.database_url), ("queue", settings.queue_url))
        if not url.startswith(SQLITE)
    ]
    return [*servers, *NOT_VISIBLE]


def _every(settings: Settings, also: Iterable[Path], skipped: list[Skipped]) -> Iterator[Place]:
    own: tuple[tuple[Kind, str], ...] = (("database", settings.database_url), ("queue", settings.queue_url))
    for kind, url in own:
        if url.startswith(SQLITE):
            base = Path(url.removeprefix(SQLITE))
            files = [base.with_name(base.name + end) for end in ENDS]
            yield from (Place(path, _name(path, settings), kind) for path in files if path.is_file())
    leave_out = {settings.mail_spool}
    for path in _below(settings.data_dir, leave_out, skipped, settings):
        if not _is_key(path, settings):
            yield Place(path, _name(path, settings), "data")
    for root in also:
        for path in _below(root.absolute(), leave_out, skipped, settings):
            yield Place(path, _name(path, settings), "also")


def _below(path: Path, leave_out: set[Path], skipped: list[Skipped], settings: Settings) -> Iterator[Path]:
    """Regular files at and below `path`, in the order of their names."""
    if path.is_symlink():
        skipped.append(Skipped(_name(path, settings), "a link"))
    elif path in leave_out:
        skipped.append(Skipped(_name(path, settings), "collected mail"))
    elif path.is_dir():
        try:
            inside = sorted(path.iterdir())
        except OSError as error:
            skipped.append(Skipped(_name(path, settings), _why(error)))
            return
        for each in inside:
            yield from _below(each, leave_out, skipped, settings)
    elif path.is_file():
        yield path


def _is_key(path: Path, settings: Settings) -> bool:
    """Whether it is the key file or a copy that Mailkeep set aside itself (`KeyStore.retire` and others)."""
    key = settings.key_file
    aside = path.name.startswith(f"{key.stem}.") and path.suffix == ".bin"
    return path.parent == key.parent and (path == key or aside)


def _name(path: Path, settings: Settings) -> str:
    inside = path.is_relative_to(settings.data_dir) and path != settings.data_dir
    return os.fsencode(path.relative_to(settings.data_dir) if inside else path).decode("utf-8", "replace")


def _why(error: OSError) -> str:
    return (error.strerror or "it cannot be read").lower()
