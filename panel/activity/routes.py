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


def _chosen() -> Filter:
    return Filter(request.args.get("what", "")[:64], request.args.get("text", "").strip()[:200])


@blueprint.get("")
def show() -> Any:
    """One page of events, newest first."""
    number = request.args.get("page", 1, type=int)
    chosen = _chosen()
    return page("activity/list.html", found=log.page(chosen, number), chosen=chosen, kinds=log.kinds())


@blueprint.get("/activity.csv")
def download() -> Any:
    """All events that match the filter, as CSV."""
    headers = {"Content-Disposition": "attachment; filename=activity.csv"}
    return Response(stream_with_context(log.as_csv(_chosen())), mimetype="text/csv", headers=headers)
