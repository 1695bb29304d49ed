"""Which rows a page shows, and as what: so that the server answers with those that changed since."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from panel.accounts.overview import Line
from panel.accounts.strips import Strip
from panel.listing import ROWS

ROW = struct.Struct("<qI")
HEAD = struct.Struct("<I")


@dataclass(frozen=True)
class Shown:
    """The rows by number with a digest of each, and one of the numbers above them."""

    rows: Mapping[int, int]
    counts: int

    @classmethod
    def of(cls, lines: Iterable[Line], counts: Mapping[str, int], mail: Mapping[str, Strip]) -> Shown:
        """What a page shows that is made now."""
        digests = {line.place: _digest(line, mail.get(line.uuid)) for line in lines}
        return cls(digests, zlib.crc32(repr(sorted(counts.items())).encode()))

    @classmethod
    def parse(cls, text: str) -> Shown | None:
        """`str` of one; None for anything else."""
        try:
            data = base64.urlsafe_b64decode(text)
            (counts,) = HEAD.unpack_from(data)
            rows = dict(ROW.iter_unpack(data[HEAD.size :]))
        except (binascii.Error, ValueError, struct.error):
            return None
        return cls(rows, counts) if len(rows) <= ROWS else None

    def __str__(self) -> str:
        """For an address."""
        rows = b"".join(ROW.pack(*row) for row in self.rows.items())
        return base64.urlsafe_b64encode(HEAD.pack(self.counts) + rows).decode()


def _digest(line: Line, strip: Strip | None) -> int:
    """Of all that may change in the row."""
    shown = (
        str(line.health), line.problem, line.next_try_at, line.last_success_at, line.password, line.consent,
        line.waits_for_key, line.host, line.skipped, strip,
    )  # fmt: skip
    return zlib.crc32(repr(shown).encode())
