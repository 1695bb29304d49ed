"""What stands at the top of every page."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, request
from flask_login import current_user

from panel.encryption import facts
from panel.encryption.state import State
from panel.web.headers import plain_http_exposed

# endpoint, words, roles that see it
ENTRIES = (
    ("accounts.show", "Mail accounts", {"admin"}),
    ("encryption.show", "Encryption", {"admin", "agent"}),
)


def init_app(app: Flask) -> None:
    """Give every template the navigation and the banners."""
    app.context_processor(_context)


def _context() -> dict[str, Any]:
    signed_in = bool(current_user and current_user.is_authenticated)
    role = current_user.role if signed_in else ""
    return {
        "navigation": [
            {"endpoint": endpoint, "words": words, "here": request.blueprint == endpoint.split(".")[0]}
            for endpoint, words, roles in ENTRIES
            if role in roles and endpoint in current_app.view_functions
        ],
        "key_trouble": _key_trouble() if role in ("admin", "agent") else None,
        "plain_http_exposed": plain_http_exposed(),
    }


def _key_trouble() -> facts.Status | None:
    """The status where every page must speak of it: no usable key, or records that do not open."""
    now = facts.look(current_app.extensions["mailkeep"].keystore)
    return now if now.state.no_key or now.state is State.INCONSISTENT else None
