"""Limits for everything that forms and URLs carry: bounded length, valid UTF-8.

Length is checked before anything is normalised, parsed or looked up. These are upper bounds for all
fields; each service checks its own.

Werkzeug turns an invalid UTF-8 byte into '%FF' or a replacement character, which would silently
change a password.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from flask import Flask, abort, current_app, request
from werkzeug.routing import IntegerConverter, Map

from panel.errors import BadInput
from panel.web.headers import LARGEST_FILE

LONGEST_FIELD = 4096  # characters, of a form's field or of one in the query
LONGEST_URL = 8192  # bytes, of path and query each
MOST_FIELDS = 100
LARGEST_NUMBER = 2**63 - 1  # in an address: of the database


View = TypeVar("View", bound=Callable[..., Any])


def file_upload(view: View) -> View:
    """Declare that `view` reads a file, or its text in a field, and checks both itself."""
    view.takes_file = True  # type: ignore[attr-defined]
    return view


def takes_file(view: Callable[..., Any]) -> bool:
    """Whether `file_upload` declared that."""
    return hasattr(view, "takes_file")


class Number(IntegerConverter):
    """A number in an address that the database can look up: of a larger one there is no page."""

    regex = r"\d{1,19}"

    def __init__(self, map_: Map) -> None:
        super().__init__(map_, max=LARGEST_NUMBER)


def init_app(app: Flask) -> None:
    """Check every request before its form is read. Call it before CSRFProtect, and before any <int:…>."""
    app.url_map.converters["int"] = Number
    app.before_request(_allow_file)
    app.before_request(_require_short_url)
    app.before_request(_require_utf8)
    app.before_request(_require_short_fields)


def _allow_file() -> None:
    if _is_upload():
        request.max_content_length = request.max_form_memory_size = LARGEST_FILE
        request.get_data()  # kept as it came, for panel.web.replay


def _is_upload() -> bool:
    return request.method == "POST" and takes_file(
        current_app.view_functions.get(request.endpoint or "", len)
    )


def _require_short_url() -> None:
    if max(len(request.path), len(request.query_string)) > LONGEST_URL:
        abort(414)


def _require_short_fields() -> None:
    if _is_upload():
        return
    fields = [*request.args.items(multi=True), *request.form.items(multi=True)]
    if len(fields) > MOST_FIELDS or any(len(text) > LONGEST_FIELD for field in fields for text in field):
        abort(413)


def _require_utf8() -> None:
    if _is_upload() and request.mimetype == "multipart/form-data":
        return
    body = request.get_data()
    if request.mimetype == "application/x-www-form-urlencoded":
        body = unquote_to_bytes(body)
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(
            "The form contains a character that is not valid UTF-8, so nothing was saved.",
            "Go back and enter it again without that character.",
        ) from None
