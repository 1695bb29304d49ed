"""What stands at the top of every page."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, request
from flask_login import current_user

from panel import db
from panel.web.headers import plain_http_exposed

# endpoint, words, roles that see it
ENTRIES = (
    ("home.show", "Overview", {"admin"}),
    ("status.show", "Status", {"agent"}),
    ("accounts.show", "Mail accounts", {"admin"}),
    ("encryption.show", "Encryption", {"admin", "agent"}),
    ("alerts.show", "Alerts", {"admin"}),
    ("people.show", "People", {"admin"}),
    ("activity.show", "Activity", {"admin"}),
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
        "plain_http_exposed": plain_http_exposed(),
        "printed_at": db.now(),
    }
