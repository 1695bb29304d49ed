"""What SASL mechanisms send to log in with a password."""

from __future__ import annotations

from panel.secret import Secret


def sasl_plain(username: str, secret: Secret) -> bytes:
    """The message of SASL PLAIN, RFC 4616: no authorization identity, then both in UTF-8."""
    return b"\0" + username.encode() + b"\0" + secret.reveal_bytes()
