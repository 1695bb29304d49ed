"""How the signed-in person looks at the panel, for views that compute with it."""

from __future__ import annotations

from collections.abc import Collection
from zoneinfo import ZoneInfo

from flask import request
from flask_login import current_user

from panel.services import current
from panel.times import zone_of


def zone() -> ZoneInfo:
    """The time zone of their own, else that of the install."""
    return zone_of(getattr(current_user, "timezone", None), current().settings.timezone)


def choice(name: str, known: Collection[str], default: str) -> str:
    """What the address chooses as `name`; `default` where that is unknown."""
    found = request.args.get(name, default)
    return found if found in known else default
