"""The list of mailboxes in the browser, and what is done from it."""

from __future__ import annotations

from typing import Any

from flask import Response, current_app, flash, request, url_for

from panel.accounts import listing, live, overview, removal, service, strips
from panel.accounts.routes import blueprint
from panel.errors import PanelError
from panel.listing import Listing, ListQuery
from panel.services import current
from panel.web import viewer
from panel.web.access import actor, reauth_required, safe_redirect
from panel.web.htmx import go, is_htmx, page
from panel.web.listing import read_query

__all__ = ["blueprint"]


@blueprint.get("")
def show() -> Any:
    """The list: is mail being collected, and if not, why. With `rows`, what changed in them since."""
    query = read_query(listing.STATES, listing.SORTS)
    if is_htmx() and (seen := live.Shown.parse(request.args.get("rows", ""))):
        return _changes(query, seen)
    found = listing.page(current().vault, query)
    mail = strips.of([line.uuid for line in found.rows], viewer.zone())
    return page(
        "accounts/list.html", listing=found, mail=mail, seen=live.Shown.of(found.rows, found.counts, mail)
    )


def _changes(query: ListQuery, seen: live.Shown) -> Any:
    """The rows that the page shows and that changed, in their places; 204 where nothing did."""
    vault = current().vault
    counts = listing.counts(vault, query)
    lines = overview.lines_of(vault.latest(), list(seen.rows))
    mail = strips.of([line.uuid for line in lines], viewer.zone())
    now = live.Shown.of(lines, counts, mail)
    if now == seen:
        return Response(status=204)
    changed = [line for line in lines if now.rows[line.place] != seen.rows[line.place]]
    gone = [place for place in seen.rows if place not in now.rows]
    found = Listing(lines, counts[query.state], query, counts)
    return page("accounts/_changes.html", listing=found, mail=mail, seen=now, changed=changed, gone=gone)


@blueprint.post("/<uuid>/pause")
def pause(uuid: str) -> Any:
    account = service.find_account(uuid)
    service.pause(account.uuid, actor())
    text = f"{account.address} was paused."
    flash({"text": text, "undo": url_for(".resume", uuid=account.uuid)}, "good")  # type: ignore[arg-type]
    return _back()


@blueprint.post("/<uuid>/resume")
def resume(uuid: str) -> Any:
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
    account = service.find_account(uuid)
    return page("accounts/remove.html", account=account, spool=current().settings.mail_spool / account.uuid)


@blueprint.post("/<uuid>/remove")
@reauth_required
def remove(uuid: str) -> Any:
    account = service.find_account(uuid)
    removal.remove(uuid, actor())
    text = f"{account.address} was removed. Delivered mail stays on this server."
    flash({"text": text, "undo": url_for(".restore", uuid=account.uuid)}, "good")  # type: ignore[arg-type]
    return go(url_for(".show"))


@blueprint.post("/<uuid>/restore")
def restore(uuid: str) -> Any:
    try:
        flash(f"{removal.restore(uuid, actor())} was restored.", "good")
    except PanelError as error:
        flash(str(error), "bad")
    return go(url_for(".show"))
