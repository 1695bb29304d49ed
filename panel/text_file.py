"""Text files that people write with any editor: bounded, then decoded, then checked."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from panel.errors import BadInput

LONGEST_SECRET = 64 * 2**10  # bytes; tokens of providers have a few thousand characters at most
BOM, UTF_16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
SAVE = "Save it as UTF-8 without a byte order mark (BOM)."


def open_regular(path: Path) -> BinaryIO:
    """Open a file; no link is followed, no FIFO waited for. Raises OSError, also for what is no file."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)  # which `open` does not do for a folder
        raise OSError(errno.EINVAL, "Not a file", str(path))
    return open(fd, "rb")  # noqa: PTH123


def decoded(data: bytes) -> str:
    """`data` as text, without a byte order mark. Raises BadInput for UTF-16 and other non-UTF-8."""
    if data.startswith(UTF_16):
        raise BadInput("The file is in UTF-16.", SAVE)
    try:
        return data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput("The file is not UTF-8.", SAVE) from None


def secret(file: BinaryIO) -> str:
    """The exact content of `file` but for one line break at its end (LF, CRLF or CR).

    Other line breaks belong to the secret: IMAP sends them in a literal (RFC 9051, 4.3). Raises BadInput
    for NUL, for a byte order mark (it would silently become part of the secret), for more than
    LONGEST_SECRET bytes, and for what is not UTF-8.
    """
    data = file.read(LONGEST_SECRET + 1)
    if len(data) > LONGEST_SECRET:
        raise BadInput(f"The file is longer than {LONGEST_SECRET} bytes.", "Name the right file.")
    if data.startswith(BOM):
        raise BadInput("The file begins with a byte order mark (BOM).", SAVE)
    text = re.sub(r"(?:\r\n|\n|\r)\Z", "", decoded(data), count=1)
    if "\0" in text:
        raise BadInput("The file contains a NUL character (U+0000); it may be UTF-16.", SAVE)
    return text
