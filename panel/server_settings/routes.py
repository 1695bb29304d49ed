"""Server > Settings, for administrators."""

from __future__ import annotations

from flask import Blueprint, Response

from panel.config import ROOT
from panel.server_settings import service
from panel.services import current
from panel.web.access import allow
from panel.web.htmx import page

blueprint = Blueprint("server_settings", __name__, url_prefix="/server/settings")
allow(blueprint, read={"admin"}, write=set())


@blueprint.get("")
def show() -> Response:
    found = service.read(current().settings, ROOT / "docs/settings.md")
    return page("server_settings/show.html", found=found)
