"""What every template can use: the navigation, the facts of the page frame, filters for times and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import Flask, current_app, g, request, url_for
from flask_login import current_user

from panel import db
from panel.config import VERSION, Settings
from panel.program import command_line, split_command
from panel.times import ago, clock, day, exact, machine, short, until, zone_of
from panel.web.headers import plain_http_exposed

# Blueprints whose pages belong to the entry of another.
PARTS = {
    "connect": "accounts",
    "mailbox_delivery": "accounts",
    "sending": "accounts",
    "submission": "accounts",
}
ROLES = {"admin": "Administrator", "agent": "Agent", "user": "User"}
# endpoint, label, icon, roles that see it
MAIL = (
    ("home.show", "Overview", "overview", {"admin"}),
    ("status.show", "Status", "overview", {"agent"}),
    ("accounts.show", "Mailboxes", "inbox", {"admin"}),
    ("messages.show", "Messages", "mail", {"admin", "agent"}),
)
SERVER = (
    ("encryption.show", "Encryption", "shield", {"admin", "agent"}),
    ("oauth.show", "OAuth2 apps", "key", {"admin"}),
    ("delivery.show", "Delivery", "upload", {"admin"}),
    ("alerts.show", "Alerts", "bell", {"admin"}),
    ("activity.show", "Activity", "clock", {"admin"}),
    ("people.show", "People", "people", {"admin"}),
    ("server_settings.show", "Settings", "settings", {"admin"}),
    ("help.show", "Help", "help", {"admin", "agent", "user"}),
)
GROUPS = (("", MAIL), ("Server", SERVER))
UNITS = ("B", "kB", "MB", "GB", "TB")


def init_app(app: Flask, settings: Settings) -> None:
    """Register them. Times are shown in the person's own time zone, else in that of `settings`."""

    def zone() -> ZoneInfo:
        if "zone" not in g:
            g.zone = zone_of(getattr(current_user, "timezone", None), settings.timezone)
        found: ZoneInfo = g.zone
        return found

    app.context_processor(lambda: _context(zone()))
    app.jinja_env.globals["role_names"] = ROLES
    app.jinja_env.globals["command_line"] = command_line
    app.jinja_env.globals["sprite"] = _sprite
    app.jinja_env.globals["viewer_zone"] = zone
    app.jinja_env.filters["split_command"] = split_command
    app.jinja_env.filters["ago"] = ago
    app.jinja_env.filters["until"] = until
    app.jinja_env.filters["exact_time"] = lambda at: exact(at, zone())
    app.jinja_env.filters["short_time"] = lambda at: short(at, zone())
    app.jinja_env.filters["day"] = lambda at: day(at, zone())
    app.jinja_env.filters["clock"] = lambda at: clock(at, zone())
    app.jinja_env.filters["machine_time"] = machine
    app.jinja_env.filters["number"] = number
    app.jinja_env.filters["size"] = size
    app.jinja_env.filters["initials"] = initials
    app.jinja_env.filters["link_with"] = link_with


def _context(zone: ZoneInfo) -> dict[str, Any]:
    signed_in = bool(current_user and current_user.is_authenticated)
    role = current_user.role if signed_in else ""
    groups = [{"label": label, "entries": _entries(of, role)} for label, of in GROUPS]
    theme = getattr(current_user, "theme", "")
    return {
        "navigation": [group for group in groups if group["entries"]],
        "plain_http_exposed": plain_http_exposed(),
        "printed_at": db.now(),
        "theme": theme if theme in ("light", "dark") else "",
        "version": VERSION,
        "zone_name": zone.key,
    }


def _entries(of: tuple[tuple[str, str, str, set[str]], ...], role: str) -> list[dict[str, Any]]:
    return [
        {
            "endpoint": endpoint,
            "label": label,
            "icon": icon,
            "here": PARTS.get(request.blueprint or "", request.blueprint) == endpoint.split(".")[0],
        }
        for endpoint, label, icon, roles in of
        if role in roles and endpoint in current_app.view_functions
    ]


def _sprite() -> str:
    """The address of the file that holds all icons: asked for a hundred times on a page."""
    if "sprite" not in g:
        g.sprite = url_for("static", filename="icons.svg")
    found: str = g.sprite
    return found


def number(value: object) -> str:
    """A number as 1,284; anything else as it is."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def size(value: object) -> str:
    """Bytes as '38 kB' or '1.4 MB'; a dash for what is no size."""
    if not isinstance(value, int) or value < 0:
        return "–"
    amount, unit = float(value), 0
    while amount >= 999.5 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {UNITS[unit]}" if unit > 1 and amount < 9.95 else f"{amount:.0f} {UNITS[unit]}"


def initials(name: str) -> str:
    """The first letters of the first and the last word of a name."""
    words = [word for word in name.split() if word[0].isalnum()] or ["?"]
    return (words[0][0] + (words[-1][0] if len(words) > 1 else "")).upper()


def link_with(path: str, query: Mapping[str, object]) -> str:
    """`path` with the `query` that is not empty."""
    found = urlencode({name: value for name, value in query.items() if value})
    return f"{request.script_root}{path}{'?' if found else ''}{found}"
