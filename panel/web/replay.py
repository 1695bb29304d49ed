"""A submitted form as it came, to be carried out once its person has entered the password again.

`run` has it pass every check once more, as if the browser had just sent it: the form token, the role, the
limits. So whoever was demoted meanwhile is refused, and what was removed meanwhile is not found.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from flask import current_app, request
from flask.globals import request_ctx

LARGEST = 2**20  # bytes of a body that is kept
TOKEN = "HTTP_X_CSRFTOKEN"  # noqa: S105 - htmx sends the form token in this header
# Of the request with the password: not of what is carried out.
LEFT_OUT = ("HTTP_HX_", "HTTP_TRANSFER_ENCODING", "REQUEST_URI", "RAW_URI", "werkzeug.", TOKEN)


def of_this_request() -> bytes | None:
    """This request, for `run`; None if it only reads, or is larger than what is kept."""
    body = request.get_data()
    if request.method != "POST" or len(body) > LARGEST:
        return None
    names = ("PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", TOKEN)
    head = {name: request.environ[name] for name in names if name in request.environ}
    return json.dumps(head).encode() + b"\n" + body


def run(submitted: bytes) -> Any:
    """Carry out a request of `of_this_request` in the place of the current one."""
    head, _, body = submitted.partition(b"\n")
    environ = {name: value for name, value in request.environ.items() if not name.startswith(LEFT_OUT)}
    environ |= {"QUERY_STRING": "", "CONTENT_TYPE": "", "REQUEST_METHOD": "POST"} | json.loads(head)
    environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
    context = request_ctx._get_current_object()  # type: ignore[attr-defined]
    context.request = current_app.request_class(environ)
    context.url_adapter = current_app.create_url_adapter(context.request)
    context.match_request()
    answer = current_app.preprocess_request()
    return current_app.dispatch_request() if answer is None else answer
