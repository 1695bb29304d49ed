"""What was typed into a form that cannot be taken yet, kept in the page that asks for a password first.

It stands in a hidden field of that page, without secrets. Afterwards it is sent on without a form token, so
that all that can come of it is the form as it was typed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from flask import current_app, request

from panel.web import form_tokens
from panel.web.htmx import is_htmx

FIELD = "held"
NOT_TYPED = {form_tokens.NAME, FIELD, "came_from", "next"}
SECRETS = re.compile(r"(^|-)(own_)?password$|^(old|again)$")


@dataclass(frozen=True)
class Held:
    """A form: where it was sent, and its fields."""

    path: str
    fields: list[tuple[str, str]]


def this_form() -> str | None:
    """The form of this request, as text for a hidden field. None where nothing in it would be lost."""
    view = current_app.view_functions.get(request.endpoint or "")
    if request.method != "POST" or is_htmx() or not hasattr(view, "keeps_typed"):
        return None
    typed = [each for each in request.form.items(multi=True) if each[0] not in NOT_TYPED]
    fields = [(name, value) for name, value in typed if not SECRETS.search(name)]
    if form_tokens.from_elsewhere() or not any(value for _, value in fields):
        return None
    return json.dumps([request.path, fields])


def read(text: str | None) -> Held | None:
    """What `this_form` has written; None where it is anything else. Its path has not been looked at."""
    try:
        path, fields = json.loads(text or "")
        pairs = [(str(name), str(value)) for name, value in fields]
    except (ValueError, TypeError, RecursionError):
        return None
    return Held(path, pairs) if isinstance(path, str) else None
