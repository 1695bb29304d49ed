"""Addresses and names of people: how they are compared, and which are accepted."""

from __future__ import annotations

import re
import unicodedata

from panel.errors import BadInput

LONGEST_EMAIL, LONGEST_NAME = 254, 200  # RFC 5321, 4.5.3.1.3; the column
LONGEST_TYPED = 4 * LONGEST_EMAIL  # characters, before Unicode normalisation


def fold_email(text: str) -> str:
    """`text` as addresses are compared: Unicode NFC, lower case, without surrounding spaces.

    Text longer than any address stays as it is: normalising takes the square of its length.
    """
    if len(text) > LONGEST_TYPED:
        return text
    return unicodedata.normalize("NFC", text).strip().lower()


def normalise_email(text: str) -> str:
    """`text` folded, if it can be an email address. Raises BadInput(field='email') otherwise."""
    email = fold_email(text)
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email) or not email.isprintable() or len(email) > LONGEST_EMAIL:
        raise BadInput("This is not an email address.", "Enter it as name@example.org.", "email")
    return email


def normalise_name(text: str) -> str:
    """`text` with single spaces. Raises BadInput(field='name') if it is empty, too long or unprintable."""
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadInput(
            f"The name is empty, longer than {LONGEST_NAME} characters or not printable.",
            "Enter the name that colleagues know.",
            "name",
        )
    return name
