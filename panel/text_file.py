"""Text that a person put into a file with any editor: bounded first, then decoded, then judged."""

from __future__ import annotations

import re
from typing import BinaryIO

from panel.errors import BadInput

LONGEST_SECRET = 64 * 2**10  # bytes; the longest tokens of providers have a few thousand characters
BOM, UTF_16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
SAVE = "Save it as UTF-8 without a byte order mark (BOM)."


def decoded(data: bytes) -> str:
    """`data` as text, without the byte order mark that some editors put first.

    Raises BadInput for what is not UTF-8, and names UTF-16.
    """
    if data.startswith(UTF_16):
        raise BadInput("The file is in UTF-16.", SAVE)
    try:
        return data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput("The file is not UTF-8.", SAVE) from None


def secret(file: BinaryIO) -> str:
    """The content of `file`, every blank of it, without one line break at its end (LF, CRLF or CR).

    Other line breaks belong to it: IMAP carries them in a literal (RFC 9051, 4.3). Raises BadInput for NUL,
    which no login carries and UTF-16 is full of; for a byte order mark, which would silently become part of
    the secret; for what is longer than LONGEST_SECRET bytes, of which no more is read; for what is not UTF-8.
    """
    data = file.read(LONGEST_SECRET + 1)
    if len(data) > LONGEST_SECRET:
        raise BadInput(f"The file is longer than {LONGEST_SECRET} bytes.", "Name the file with the secret.")
    if data.startswith(BOM):
        raise BadInput("The file begins with a byte order mark (BOM).", SAVE)
    text = re.sub(r"(?:\r\n|\n|\r)\Z", "", decoded(data), count=1)
    if "\0" in text:
        raise BadInput("The file contains a NUL character (U+0000); it may be UTF-16.", SAVE)
    return text
