"""The overview at `/`, `/status` for support staff, and `/healthz`, `/readyz` and `/metrics` for programs."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from flask_login import current_user

from panel import db
from panel.errors import NotFound, PanelError
from panel.health import status
from panel.health.heartbeat import ProxyWatch
from panel.models import schema
from panel.services import current, one_rows
from panel.web.access import ANYBODY, allow
from panel.web.htmx import go, page

blueprint = Blueprint("health", __name__)
home_blueprint = Blueprint("home", __name__)
status_blueprint = Blueprint("status", __name__, url_prefix="/status")
allow(blueprint, read={ANYBODY}, write=set())
allow(home_blueprint, read={"admin", "agent", "user"}, write=set())
allow(status_blueprint, read={"admin", "agent"}, write=set())

START_PAGES = {"agent": "/status", "user": "/profile"}


@blueprint.record_once
def watch_for_proxies(state: Any) -> None:
    """Where no proxy is trusted, record requests that come through one."""
    if state.app.extensions["mailkeep"].settings.trusted_proxies:
        return
    watch = ProxyWatch()

    def see(response: Response) -> Response:
        if not db.database.is_closed():
            watch.see(request.headers.keys(), request.remote_addr or "")
        return response

    state.app.after_request(see)


@home_blueprint.get("/", endpoint="show")
def overview() -> Any:
    """The state of everything, for administrators; others are sent to their own start page."""
    if current_user.role in START_PAGES:
        return go(request.script_root + START_PAGES[current_user.role])
    return _summary("health/overview.html", "health/_overview.html")


@status_blueprint.get("")
def show() -> Any:
    """Whether mail is collected and passwords are encrypted, and who to contact."""
    return _summary("health/status.html", "health/_status.html")


def _summary(template: str, fragment: str) -> Any:
    services = current()
    found = status.summary(services.settings, services.vault, one_rows())
    return page(template, fragment=fragment, found=found, contact=services.settings.contact)


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


@blueprint.get("/metrics")
def metrics() -> Response:
    """Numbers for Prometheus, where enabled, for programs on this server; 404 for all others."""
    services = current()
    if services.settings.metrics:
        from panel.health import metrics as numbers

        if numbers.is_local(request.remote_addr or "", request.host, request.headers.keys()):
            found = numbers.text(services.settings, services.vault)
            return Response(found, content_type="text/plain; version=0.0.4; charset=utf-8")
    raise NotFound("There is no such page.", "Check the address, or go back to the start page.")
