"""Times in templates."""

from __future__ import annotations

from flask import Flask

from panel.config import Settings
from panel.times import ago, exact, machine, until


def init_app(app: Flask, settings: Settings) -> None:
    """The filters ago, until, exact_time and machine_time, in the zone of the settings."""
    app.jinja_env.filters["ago"] = ago
    app.jinja_env.filters["until"] = until
    app.jinja_env.filters["exact_time"] = lambda at: exact(at, settings.timezone)
    app.jinja_env.filters["machine_time"] = machine
