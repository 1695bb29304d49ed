"""What forms and addresses send is text of bounded length: refused where it is not.

Length comes before meaning: no field, header or address is normalised, parsed or looked for before
it was measured. What a field may hold exactly is its service's to say; here is the most that
any of them may hold.

Werkzeug reads a byte that is no UTF-8 as '%FF' or as a replacement character. In
a password that would be another password, and nobody would know.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from flask import Flask, abort, request

from panel.errors import BadInput

LONGEST_FIELD = 4096  # characters, of a form's field or of one in the query
LONGEST_URL = 8192  # bytes, of path and query each
MOST_FIELDS = 100


def init_app(app: Flask) -> None:
    """Look at every form before it is read. Call it before what reads forms, CSRFProtect first of all."""
    app.before_request(_require_short_url)
    app.before_request(_require_utf8)
    app.before_request(_require_short_fields)


def _require_short_url() -> None:
    if max(len(request.path), len(request.query_string)) > LONGEST_URL:
        abort(414)


def _require_short_fields() -> None:
    fields = [*request.args.items(multi=True), *request.form.items(multi=True)]
    if len(fields) > MOST_FIELDS or any(len(text) > LONGEST_FIELD for field in fields for text in field):
        abort(413)


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
