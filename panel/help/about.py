"""What Mailkeep is made of: its own terms, the files it brings along, the packages that are installed."""

from __future__ import annotations

import platform
import sqlite3
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

MOST = 200  # packages; an install of ours has two dozen
LONGEST_TERMS = 80  # characters; some packages put the whole text there
BUNDLED = {"htmx.org": "0BSD", "@fontsource-variable/inter": "OFL-1.1"}  # by package in VERSIONS
MIT = "Permission is hereby granted, free of charge"


@dataclass(frozen=True)
class Part:
    """Something that others made, and the name of its licence."""

    name: str
    version: str
    licence: str


@dataclass(frozen=True)
class Components:
    """Everything, as it was when the process began."""

    python: str
    sqlite: str
    own_licence: str
    bundled: tuple[Part, ...]
    bundled_texts: tuple[tuple[str, str], ...]  # file and terms
    packages: tuple[Part, ...]


@cache
def read(root: Path) -> Components:
    """What is installed in this Python and lies below `root`."""
    packages = {part.name.lower(): part for part in map(_package, metadata.distributions()) if part.name}
    licence = root / "LICENSE"
    return Components(
        platform.python_version(),
        sqlite3.sqlite_version,
        licence.read_text("utf-8") if licence.is_file() else "",
        tuple(_bundled(root / "static/vendor")),
        tuple(
            (path.name, path.read_text("utf-8"))
            for path in sorted((root / "static/vendor").glob("*-LICENSE"))
        ),
        tuple(packages[name] for name in sorted(packages)[:MOST]),
    )


def _bundled(vendor: Path) -> list[Part]:
    """The files that lie in static/vendor, by the package they came from."""
    lines = (vendor / "VERSIONS").read_text("utf-8").splitlines()
    names = dict.fromkeys(line.split()[1] for line in lines if line.strip() and not line.startswith("#"))
    return [
        Part(package, version, BUNDLED.get(package, "not stated"))
        for package, _, version in (name.rpartition("@") for name in names)
    ]


def _package(found: metadata.Distribution) -> Part:
    return Part(str(found.metadata["Name"] or ""), found.version, _terms(found))


def _terms(found: metadata.Distribution) -> str:
    """The name of its licence: as SPDX, else as its author wrote it, else by its classifier or its text."""
    expression = found.metadata["License-Expression"]
    written = found.metadata["License"] or ""
    if expression or (written and len(written) <= LONGEST_TERMS):
        return str(expression or written)
    classifiers: list[str] = found.metadata.get_all("Classifier") or []
    named = [each.rpartition("::")[2].strip() for each in classifiers if each.startswith("License ::")]
    if named:
        return named[-1]
    texts = (file for file in found.files or [] if file.stem.upper() in ("LICENSE", "LICENCE", "COPYING"))
    return "MIT" if any(MIT in str(file.read_text("utf-8")) for file in texts) else "not stated"
