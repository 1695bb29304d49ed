"""Search files for many byte strings at once, in a process that holds no database connection.

It is started as a script of its own (see `scan`) and imports nothing of the panel's
web or database. Standard input: {"files": [path, …], "needles": [[base64, …], …]}, one
list per password. Standard output: {"searched": [file, …], "skipped": [[file, why], …],
"found": [[file, [password, …]], …]}: numbers, never what was looked for.
"""

from __future__ import annotations

import base64
import json
import os
import runpy
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from ahocorasick_rs import BytesAhoCorasick

CHUNK = 1 << 18  # bytes; bounds the memory also where every byte is a hit
ARCHIVES = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip", b"7z\xbc\xaf\x27\x1c": "7z", b"\x04\x22\x4d\x18": "lz4", b"PGDMP": "pg_dump",
    b"age-encryption.org/": "age", b"-----BEGIN AGE ": "age", b"-----BEGIN PGP ": "OpenPGP",
}  # fmt: skip
ENCRYPTED = {".gpg", ".pgp"}  # binary OpenPGP has no beginning of its own


class Searcher:
    """All needles as one automaton: each byte of a file is looked at once, however many they are."""

    def __init__(self, patterns: Iterable[Iterable[bytes]]) -> None:
        """Take the forms of each password; a form that several share counts for all of them."""
        self._owners: dict[bytes, list[int]] = {}
        for password, forms in enumerate(patterns):
            for form in forms:
                self._owners.setdefault(form, []).append(password)
        self._forms = list(self._owners)
        self._automaton = BytesAhoCorasick(self._forms)
        self._overlap = max(map(len, self._forms), default=1) - 1

    def passwords_in(self, file: BinaryIO) -> set[int]:
        """The numbers of the passwords that stand in `file`."""
        hits: set[int] = set()
        tail = b""
        while chunk := file.read(CHUNK):
            window = tail + chunk
            hits.update(n for n, _, _ in self._automaton.find_matches_as_indexes(window, overlapping=True))
            tail = window[-self._overlap :] if self._overlap else b""
        return {password for hit in hits for password in self._owners[self._forms[hit]]}


def why_not(path: str, file: BinaryIO) -> str | None:
    """Why there is no use in searching `file`; None where there is."""
    begin = file.read(32)
    file.seek(0)
    for magic, name in ARCHIVES.items():
        if begin.startswith(magic):
            return f"an archive ({name})"
    return "encrypted (OpenPGP)" if Path(path).suffix in ENCRYPTED else None


def open_regular(path: str) -> BinaryIO:
    """Open `path`, which was a regular file when it was listed. Raises OSError where it is none now."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "not a regular file")
    return os.fdopen(fd, "rb", buffering=0)


def search(files: list[str], patterns: Iterable[Iterable[bytes]]) -> dict[str, list[object]]:
    """Read each file once. A file that is gone by now is left out."""
    searcher = Searcher(patterns)
    searched: list[object] = []
    skipped: list[object] = []
    found: list[object] = []
    for number, path in enumerate(files):
        try:
            with open_regular(path) as file:
                reason = why_not(path, file)
                hits = set() if reason else searcher.passwords_in(file)
        except FileNotFoundError:
            continue
        except OSError as error:
            reason, hits = (error.strerror or "it cannot be read").lower(), set()
        if reason:
            skipped.append([number, reason])
            continue
        searched.append(number)
        if hits:
            found.append([number, sorted(hits)])
    return {"searched": searched, "skipped": skipped, "found": found}


def main() -> None:
    """Answer one request. The mail that is collected meanwhile has the machine first."""
    runpy.run_path(str(Path(__file__).parents[2] / "process.py"))["harden"]()
    os.nice(10)
    request = json.load(sys.stdin)
    patterns = ([base64.b64decode(form) for form in forms] for forms in request["needles"])
    print(json.dumps(search(request["files"], patterns)))


if __name__ == "__main__":
    main()
