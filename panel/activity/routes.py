"""Activity in the browser: who did what, when and from where."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request, stream_with_context

from panel.activity import log
from panel.activity.log import Filter
from panel.web.access import allow
from panel.web.htmx import page

blueprint = Blueprint("activity", __name__, url_prefix="/activity")
allow(blueprint, read={"admin"}, write=set())
PERIODS = {1: "Last 24 hours", 7: "Last 7 days", 30: "Last 30 days", 90: "Last 90 days"}


def _chosen() -> Filter:
    days = request.args.get("days", 0, type=int)
    what, text, who = (
        request.args.get(name, "").replace("\0", "").strip()[:most]
        for name, most in (("what", 64), ("text", 200), ("who", 254))
    )
    return Filter(what, text, who, days if days in PERIODS else 0)


@blueprint.get("")
def show() -> Any:
    chosen = _chosen()
    before, after = (request.args.get(name, type=int) for name in ("before", "after"))
    kinds, people = log.choices()
    return page(
        "activity/list.html",
        found=log.page(chosen, before, after),
        chosen=chosen,
        kinds=kinds,
        people=people,
        periods=PERIODS,
        query={name: value for name, value in vars(chosen).items() if value},
    )


@blueprint.get("/activity.csv")
def download() -> Any:
    headers = {"Content-Disposition": "attachment; filename=activity.csv"}
    return Response(stream_with_context(log.as_csv(_chosen())), mimetype="text/csv", headers=headers)
