"""What every template can use: the navigation, the facts of the page frame, filters for times."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, request
from flask_login import current_user

from panel import db
from panel.config import Settings
from panel.program import command_line
from panel.times import ago, exact, machine, until
from panel.web.headers import plain_http_exposed

ROLES = {"admin": "Administrator", "agent": "Agent", "user": "User"}
# endpoint, label, roles that see it
ENTRIES = (
    ("home.show", "Overview", {"admin"}),
    ("status.show", "Status", {"agent"}),
    ("accounts.show", "Mailboxes", {"admin"}),
    ("encryption.show", "Encryption", {"admin", "agent"}),
    ("alerts.show", "Alerts", {"admin"}),
    ("people.show", "People", {"admin"}),
    ("activity.show", "Activity", {"admin"}),
)


def init_app(app: Flask, settings: Settings) -> None:
    """Register them. Times are shown in the time zone of `settings`."""
    app.context_processor(_context)
    app.jinja_env.globals["role_names"] = ROLES
    app.jinja_env.globals["command_line"] = command_line
    app.jinja_env.filters["ago"] = ago
    app.jinja_env.filters["until"] = until
    app.jinja_env.filters["exact_time"] = lambda at: exact(at, settings.timezone)
    app.jinja_env.filters["machine_time"] = machine


def _context() -> dict[str, Any]:
    signed_in = bool(current_user and current_user.is_authenticated)
    role = current_user.role if signed_in else ""
    return {
        "navigation": [
            {"endpoint": endpoint, "label": label, "here": request.blueprint == endpoint.split(".")[0]}
            for endpoint, label, roles in ENTRIES
            if role in roles and endpoint in current_app.view_functions
        ],
        "plain_http_exposed": plain_http_exposed(),
        "printed_at": db.now(),
    }
