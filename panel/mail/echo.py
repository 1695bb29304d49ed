"""What a mail server says, fit to be shown: without the password it may have sent back."""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Iterator

from panel.secret import Secret

PIECE = 6  # so many characters of a password, or of an encoding of it, in a row are an echo
LONGEST = 200
WITHHELD = "(withheld: it repeats the password)"


def sasl_plain(username: str, secret: Secret) -> bytes:
    """The message of SASL PLAIN, RFC 4616: no authorization identity, then both in UTF-8."""
    return b"\0" + username.encode() + b"\0" + secret.reveal_bytes()


def without_echo(text: str | bytes, username: str, secret: Secret) -> str:
    """`text` on one line, printable, not too long; or WITHHELD if any piece of the password is in it.

    Cutting only the password out would show how long it is, and a password of
    one letter could be read from the gaps.
    """
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    folded = shown.casefold()
    for form in _forms(username, secret):
        if any(piece in folded for piece in _pieces(form.casefold())):
            return WITHHELD
    clean = "".join(c if c.isprintable() else " " for c in shown)
    return clean if len(clean) <= LONGEST else clean[: LONGEST - 1] + "…"


def _forms(username: str, secret: Secret) -> Iterator[str]:
    raw = secret.reveal_bytes()
    yield secret.reveal()
    yield raw.decode("latin-1")
    yield secret.reveal().replace("\\", "\\\\").replace('"', '\\"')
    yield urllib.parse.quote(raw)
    yield urllib.parse.quote_plus(raw)
    yield raw.hex()
    for before in (b"", b"\0", b"\0\0", b"\0" + username.encode() + b"\0"):  # all three alignments
        yield base64.b64encode(before + raw).decode()[len(before) * 4 // 3 :].rstrip("=")


def _pieces(form: str) -> set[str]:
    if len(form) <= PIECE:
        return {form} if form else set()
    return {form[at : at + PIECE] for at in range(len(form) - PIECE + 1)}
