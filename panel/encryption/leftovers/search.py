"""Search files for many secrets at once, in a process that holds no database connection.

`scan` starts it as a script of its own; it imports nothing of the panel's web or database. Standard input:
{"files": [path, …], "secrets": [text, …]}. Standard output, for each file: the numbers of the secrets in
it, never a secret; a text that says why it was not searched; or null where it is gone.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import runpy
import stat
import struct
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, quote_plus

SHORTEST = 8  # characters; a shorter secret stands in files by chance
LONGEST = 192  # bytes; longer forms are searched for in three pieces: a database splits them over pages
PIECE = 48
BLOCK = 1 << 16  # bytes read at once
HEAD, WORD = SHORTEST, 4
ARCHIVES = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar",
    b"\x04\x22\x4d\x18": "lz4", b"PGDMP": "pg_dump", b"age-encryption.org/": "age",
    b"-----BEGIN AGE ": "age", b"-----BEGIN PGP ": "OpenPGP",
}  # fmt: skip
ENCRYPTED = {".gpg", ".pgp"}  # binary OpenPGP has no beginning of its own


def forms(secret: str) -> set[bytes]:
    """How `secret` may stand in a file: any one of them found means that it, or a piece of it, is there."""
    escaped = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    texts = escaped | {text.replace("/", "\\/") for text in escaped}  # as PHP writes JSON
    texts |= {secret, quote(secret, safe=""), quote_plus(secret)}  # URLs
    texts.add(secret.replace("'", "''"))  # SQL dumps
    whole = {text.encode() for text in texts} | {secret.encode("utf-16-le"), *_in_base64(secret.encode())}
    return {piece for form in whole for piece in _pieces(form)}


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """The run that is the same whatever stands before and behind it, in both alphabets.

    A base64 character holds 6 bits, so a text may begin at three places between two characters.
    """
    for before, lead in enumerate((0, 2, 3)):
        run = base64.b64encode(bytes(before) + raw)[lead : (before + len(raw)) * 8 // 6]
        yield run
        yield run.translate(bytes.maketrans(b"+/", b"-_"))


def _pieces(form: bytes) -> list[bytes]:
    """Not its beginning: tokens of one provider begin alike."""
    if len(form) <= LONGEST:
        return [form]
    return [form[at : at + PIECE] for at in (len(form) // 2, len(form) * 3 // 4, len(form) - PIECE)]


class Searcher:
    """All secrets in one pass, in a time that hardly grows with their number.

    Wherever a form begins, one of its first four words of four bytes lies at a multiple of four. Only where
    such a word stands, the eight bytes from each possible beginning are looked up, then the whole form.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        """Take the secrets, of SHORTEST characters or more. What several share counts for all of them."""
        self._owners: dict[bytes, list[int]] = defaultdict(list)
        self._lengths: dict[bytes, tuple[int, ...]] = {}
        for number, secret in enumerate(secrets):
            for form in forms(secret):
                self._owners[form].append(number)
                lengths = self._lengths.get(form[:HEAD], ())
                if len(form) not in lengths:
                    self._lengths[form[:HEAD]] = (*lengths, len(form))
        self._words = {head[at : at + WORD] for head in self._lengths for at in range(WORD)}

    def secrets_in(self, file: BinaryIO) -> set[int]:
        """The numbers of the secrets that stand in `file`."""
        found: set[int] = set()
        tail = b""
        while chunk := file.read(BLOCK):
            block = tail + chunk
            found.update(self._in_block(block))
            tail = block[-LONGEST:]
        return found

    def _in_block(self, block: bytes) -> Iterator[int]:
        words = struct.unpack(f"{WORD}s" * (len(block) // WORD), block[: len(block) // WORD * WORD])
        here = self._words.intersection(words)
        for place in [place for place, word in enumerate(words) if word in here] if here else ():
            for begin in range(max(0, place * WORD - WORD + 1), place * WORD + 1):
                for length in self._lengths.get(block[begin : begin + HEAD], ()):
                    yield from self._owners.get(block[begin : begin + length], ())


def _search(path: str, searcher: Searcher) -> list[int] | str | None:
    try:
        with open_regular(path) as file:
            return _not_searchable(path, file) or sorted(searcher.secrets_in(file))
    except FileNotFoundError:
        return None
    except OSError as error:
        return "a link" if error.errno == errno.ELOOP else (error.strerror or "it cannot be read").lower()


def open_regular(path: str) -> BinaryIO:
    """Open `path`, which was a regular file when it was listed. Raises OSError where it is none now."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(fd, "rb", buffering=0)


def _not_searchable(path: str, file: BinaryIO) -> str | None:
    """Why searching `file` would find nothing; None where it may."""
    begin = file.read(32)
    file.seek(0)
    for magic, name in ARCHIVES.items():
        if begin.startswith(magic):
            return f"an archive ({name})"
    return "encrypted (OpenPGP)" if Path(path).suffix in ENCRYPTED else None


def main() -> None:
    """Answer one request. The mail that is collected meanwhile has the machine first."""
    runpy.run_path(str(Path(__file__).parents[2] / "process.py"))["harden"]()
    os.nice(10)
    request = json.load(sys.stdin)
    searcher = Searcher(request["secrets"])
    print(json.dumps([_search(path, searcher) for path in request["files"]]))


if __name__ == "__main__":
    main()
