"""`/healthz`: the process answers. `/readyz`: the database can be used. `/status`: for support staff."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app

from panel import db
from panel.errors import PanelError
from panel.health import status
from panel.models import schema
from panel.web.access import ANYBODY, allow
from panel.web.htmx import page

blueprint = Blueprint("health", __name__)
status_blueprint = Blueprint("status", __name__, url_prefix="/status")
allow(blueprint, read={ANYBODY}, write=set())
allow(status_blueprint, read={"admin", "agent"}, write=set())


@status_blueprint.get("")
def show() -> Any:
    """Is mail coming in, is it protected, whom to call."""
    services = current_app.extensions["mailkeep"]
    return page(
        "health/status.html",
        fragment="health/_status.html",
        found=status.summary(services.keystore),
        contact=services.settings.contact,
    )


@blueprint.get("/healthz")
def healthz() -> Response:
    """200 as long as this process answers."""
    return Response("ok\n", mimetype="text/plain")


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 where the database is reachable and of this code's schema, else 503."""
    try:
        schema.check(db.database.obj)
    except PanelError:
        return Response("not ready\n", 503, mimetype="text/plain")
    return Response("ready\n", mimetype="text/plain")
