"""What a person typed into a form after their session had ended, preserved in the sign-in page.

It is a hidden field of that page, without secrets. Afterwards it is submitted without a form token, so that
the form is only shown again as it was typed, never acted on.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from flask import current_app, request

from panel.web import form_tokens
from panel.web.access import safe_redirect
from panel.web.htmx import is_htmx

FIELD = "preserved_form"
NOT_TYPED = {form_tokens.NAME, FIELD, "came_from", "next"}
SECRETS = re.compile(r"(^|-)password$|^old$|^client_secret$")


@dataclass(frozen=True)
class PreservedForm:
    """A form: where it was submitted to, and its fields."""

    path: str
    fields: list[tuple[str, str]]
    text: str  # for the hidden field


def of_this_request() -> PreservedForm | None:
    """The form of this request, if its view preserves input and the form has any besides secrets."""
    view = current_app.view_functions.get(request.endpoint or "")
    if request.method != "POST" or is_htmx() or not hasattr(view, "preserve_form_input"):
        return None
    typed = [each for each in request.form.items(multi=True) if each[0] not in NOT_TYPED]
    fields = [(name, value) for name, value in typed if not SECRETS.search(name)]
    if form_tokens.from_elsewhere() or not any(value for _, value in fields):
        return None
    return PreservedForm(request.path, fields, json.dumps([request.path, fields]))


def from_hidden_field() -> PreservedForm | None:
    """The form that the page of this request preserves; None unless its path is a page of this panel."""
    text = request.form.get(FIELD, "")
    try:
        path, fields = json.loads(text)
        pairs = [(str(name), str(value)) for name, value in fields]
    except (ValueError, TypeError, RecursionError):
        return None
    return PreservedForm(path, pairs, text) if isinstance(path, str) and safe_redirect(path) else None
