"""The same URLs for htmx and for browsers without JavaScript."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, redirect, render_template, request


def is_htmx() -> bool:
    return request.headers.get("HX-Request") == "true"


def go(url: str) -> Response:
    """Redirect to `url`: 303, or HX-Redirect for htmx, which would swap the target of a 303 into the page."""
    if is_htmx():
        return Response(status=204, headers={"HX-Redirect": url})
    response = redirect(url, 303)
    assert isinstance(response, Response)
    return response


def page(template: str, *, fragment: str | None = None, status: int = 200, **context: Any) -> Response:
    """Render `template`, or for htmx only its `fragment`."""
    name = fragment if fragment and is_htmx() else template
    response: Response = make_response(render_template(name, **context), status)
    response.vary.add("HX-Request")
    return response
