"""Which passwords are looked for, and how each may stand in a file. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from urllib.parse import quote, quote_plus

from panel.people.password_rules import is_common
from panel.secret import Secret

SHORTEST = 8  # characters; a shorter password stands everywhere by chance
LONGEST = 192  # bytes; a longer form is looked for by three pieces: a database splits long values over pages
PIECE = 48


def says_something(secret: Secret, names: Collection[str]) -> bool:
    """Whether finding `secret` in a file would mean that a password stands there.

    Not where it is short, a common password, or (part of) one of the `names`, in small letters, that the
    database holds in clear anyway: addresses, usernames, servers.
    """
    text = secret.reveal()
    if len(text) < SHORTEST or is_common(text):
        return False
    lower = text.lower()
    return not any(lower in name for name in names)


def of(secret: Secret) -> set[bytes]:
    """What to look for; any one of it found means that the password, or a piece of it, stands there."""
    raw = secret.reveal_bytes()
    return {piece for form in {raw, *_in_base64(raw), *_escaped(secret.reveal())} for piece in _pieces(form)}


def _escaped(text: str) -> set[bytes]:
    """In JSON (with and without signs beyond ASCII, and as PHP writes it), URLs, SQL dumps and UTF-16."""
    plain, ascii_only = (json.dumps(text, ensure_ascii=ascii)[1:-1] for ascii in (False, True))
    forms = {plain, ascii_only, plain.replace("/", "\\/"), ascii_only.replace("/", "\\/")}
    forms |= {quote(text, safe=""), quote_plus(text), text.replace("'", "''")}
    return {form.encode() for form in forms} | {text.encode("utf-16-le")}


def _in_base64(raw: bytes) -> set[bytes]:
    """Alone, and the run that is the same whatever stands before and behind it, in both alphabets.

    A base64 sign holds 6 bits, so a text may begin at three places between two signs.
    """
    forms = {base64.b64encode(raw), base64.b64encode(raw).rstrip(b"=")}
    for before in range(3):
        whole = base64.b64encode(bytes(before) + raw)
        forms.add(whole[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6])
    return forms | {form.translate(bytes.maketrans(b"+/", b"-_")) for form in forms}


def _pieces(form: bytes) -> list[bytes]:
    """Not its beginning: tokens of one provider begin alike."""
    if len(form) <= LONGEST:
        return [form]
    return [form[at : at + PIECE] for at in (len(form) // 2, len(form) * 3 // 4, len(form) - PIECE)]
