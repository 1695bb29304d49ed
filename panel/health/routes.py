"""`/healthz`: the process answers. `/readyz`: the database can be used. No details for anybody."""

from __future__ import annotations

from flask import Blueprint, Response

from panel import db
from panel.errors import PanelError
from panel.models import schema
from panel.web.access import ANYBODY, allow

blueprint = Blueprint("health", __name__)
allow(blueprint, read={ANYBODY}, write=set())


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
