"""The overview at `/`, `/status` for support staff, and `/healthz`, `/readyz` and `/metrics` for programs."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Blueprint, Response, render_template, request, url_for
from flask_login import current_user
from markupsafe import Markup

from panel import db
from panel.errors import NotFound, PanelError
from panel.health import status
from panel.health.heartbeat import ProxyWatch
from panel.messages.chart import SPANS
from panel.messages.service import summary as mail_summary
from panel.models import schema
from panel.services import current, one_rows
from panel.web import viewer
from panel.web.access import ANYBODY, allow
from panel.web.htmx import go, is_htmx, page

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
    return _summary("overview")


@status_blueprint.get("")
def show() -> Any:
    """Whether mail is collected and passwords are encrypted, and who to contact."""
    return _summary("status")


def _summary(name: str) -> Any:
    """The page `name`; to htmx its part that changes, or 204 where the page has that already."""
    services, span = current(), viewer.choice("span", SPANS, "14d")
    settings = services.settings
    context: dict[str, Any] = {
        "found": status.summary(settings, services.vault, one_rows()),
        "came": mail_summary(viewer.zone(), settings.mail_spool, span),
        "spans": SPANS,
        "contact": settings.contact,
        "logged": settings.message_log_days > 0,
    }
    live = Markup(render_template(f"health/_{name}.html", **context))  # noqa: S704 - a template of ours
    have = hashlib.sha256(live.encode()).hexdigest()[:16]
    if is_htmx() and request.args.get("have") == have:
        return Response(status=204)
    address = url_for(request.endpoint or "", span=span if "span" in request.args else None, have=have)
    seconds = 30 if context["came"].ever else 5  # the first message is waited for
    return page(
        f"health/{name}.html", fragment="health/_live.html", name=name, live=live, address=address,
        seconds=seconds,
    )  # fmt: skip


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
    raise NotFound("There is no such page.", "Check the address.")
