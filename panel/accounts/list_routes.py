"""The list of mailboxes in the browser, and what is done from it."""

from __future__ import annotations

from typing import Any

from flask import Response, current_app, flash, request, url_for

from panel.accounts import overview, service
from panel.accounts.routes import blueprint
from panel.services import current
from panel.web.access import actor, reauth_required, safe_redirect
from panel.web.htmx import go, page

__all__ = ["blueprint"]


@blueprint.get("")
def show() -> Any:
    """The list: is mail being collected, and if not, why."""
    found = overview.page(current().vault, request.args.get("page", 1, type=int))
    return page("accounts/list.html", fragment="accounts/_list.html", found=found)


@blueprint.post("/<uuid>/pause")
def pause(uuid: str) -> Any:
    """Stop collecting."""
    service.pause(uuid, actor())
    return _back()


@blueprint.post("/<uuid>/resume")
def resume(uuid: str) -> Any:
    """Collect again."""
    account, _ = service.find(uuid)
    service.resume(account.uuid, actor())
    current_app.extensions["mailkeep.jobs"].collect(account.uuid)
    return _back()


def _back() -> Response:
    """The page that the button stood on: of the mailbox, or of the list."""
    own = safe_redirect(request.form.get("next"))
    return go(own or url_for(".show", page=request.form.get("page", type=int)))


@blueprint.get("/<uuid>/remove")
def ask_remove(uuid: str) -> Any:
    """Ask before a mailbox is removed."""
    account = service.find_account(uuid)
    return page("accounts/remove.html", account=account, spool=current().settings.mail_spool / account.uuid)


@blueprint.post("/<uuid>/remove")
@reauth_required
def remove(uuid: str) -> Any:
    """Remove the mailbox and its passwords."""
    account = service.find_account(uuid)
    service.remove(uuid, actor())
    flash(f"{account.address} was removed. Delivered mail stays on this server.", "good")
    return go(url_for(".show"))
