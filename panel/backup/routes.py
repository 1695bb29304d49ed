"""Confirming in the browser that a restored copy may collect mail."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, url_for
from flask_login import current_user

from panel import identity
from panel.backup import restored
from panel.errors import PanelError
from panel.models import InstallCopy
from panel.services import current, one_rows
from panel.web.access import actor, allow, reauth_required
from panel.web.htmx import go, page

blueprint = Blueprint("backup", __name__, url_prefix="/server/restored")
allow(blueprint, read={"admin"}, write={"admin"})


def _copy() -> identity.Restored | None:
    return identity.restored_by(one_rows().of(InstallCopy), current().settings.data_dir)


@blueprint.app_context_processor
def restored_copy() -> dict[str, Any]:
    """For the banner of every page."""
    seen = getattr(current_user, "role", "") in ("admin", "agent")
    return {"restored_copy": _copy() if seen else None}


@blueprint.get("")
def show() -> Any:
    """The question, or that there is nothing to confirm."""
    return _page(200)


@blueprint.post("/confirm")
@reauth_required
def confirm() -> Any:
    """The other install is switched off: collect here from now on."""
    try:
        restored.confirm(current().settings.data_dir, actor())
    except PanelError as error:
        return _page(error.status, refused=error)
    flash("Mail is collected here from now on.", "good")
    return go(url_for("home.show"))


def _page(status: int, refused: PanelError | None = None) -> Any:
    return page("backup/restored.html", status=status, copy=_copy(), refused=refused)
