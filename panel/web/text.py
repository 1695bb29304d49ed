"""What forms send is text: refused where it is none, instead of stored as something else.

Werkzeug reads a byte that is no UTF-8 as '%FF' or as a replacement character. In
a password that would be another password, and nobody would know.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from flask import Flask, request

from panel.errors import BadInput


def init_app(app: Flask) -> None:
    """Look at every form before it is read. Call it before what reads forms, CSRFProtect first of all."""
    app.before_request(_require_utf8)


def _require_utf8() -> None:
    body = request.get_data()
    if request.mimetype == "application/x-www-form-urlencoded":
        body = unquote_to_bytes(body)
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(
            "What was sent contains a character that has no UTF-8 form, so nothing was read.",
            "Go back and type it again without that character.",
        ) from None
