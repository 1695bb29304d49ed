"""/accounts/<uuid>: one mailbox to read, and what is done with it at once."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, flash, render_template, request, stream_template, url_for
from markupsafe import Markup

from panel.accounts import asked, overview, probe, service
from panel.accounts.add_routes import blueprint
from panel.accounts.asked import Asked, Phase, Progress
from panel.accounts.routes import beside, collecting, live
from panel.collect import older
from panel.errors import NotFound, PanelError
from panel.messages.chart import SPANS
from panel.messages.service import MailboxActivity, mailbox_activity
from panel.models import Account, Collection, Skipped
from panel.services import current
from panel.vault import credential
from panel.web import viewer
from panel.web.access import actor
from panel.web.htmx import go, is_htmx, page

__all__ = ["blueprint"]

SKIPPED_SHOWN = 100


@blueprint.get("/<uuid>")
def mailbox(uuid: str) -> Any:
    """The mailbox; with `collecting`, until the round that was asked for has brought something."""
    account, endpoint, sending = service.find_servers(uuid)
    row = Collection.get_or_none(Collection.account == account.uuid)
    progress, watch = _progress(account, row)
    if progress and progress.phase is Phase.DONE:
        flash(progress.message, "good" if progress.ok else "bad")
        return go(url_for("accounts.mailbox", uuid=account.uuid))
    line = overview.line(current().vault, account.uuid)
    if line is None:
        raise NotFound("This mailbox was removed meanwhile.", "Go back to the list of mailboxes.")
    state = _state(line=line, progress=progress)
    if is_htmx():
        return _if_changed(state, uuid=account.uuid, watch=watch)
    skipped = Skipped.select().where(Skipped.account == account.uuid).order_by(Skipped.at.desc())
    return page(
        "accounts/mailbox.html", account=account, line=line, row=row, sending=sending,
        state=state, have=_digest(state), watch=watch,
        skipped=list(skipped.limit(SKIPPED_SHOWN)) if line.skipped else [],
        last_change=service.last_change(current().vault, endpoint),
        spool=current().settings.mail_spool / account.uuid, uuid=account.uuid,
        mail=_mail(account.uuid), spans=SPANS, logged=current().settings.message_log_days > 0,
    )  # fmt: skip


def _mail(uuid: str) -> MailboxActivity:
    """What came in, for the time that the address names."""
    span = viewer.choice("span", SPANS, "14d")
    return mailbox_activity(uuid, viewer.zone(), current().settings.mail_spool, span)


def _progress(account: Account, row: Collection | None) -> tuple[Progress | None, str]:
    """How far the round is that the address of this page names, and that name."""
    watch = Asked.parse(request.args.get("collecting", ""))
    return (asked.progress(watch, account, row), str(watch)) if watch else (None, "")


def _state(**context: Any) -> Markup:
    return Markup(render_template("accounts/_state.html", **context))  # noqa: S704 - a template of ours


def _digest(html: str) -> str:
    return hashlib.sha256(html.encode()).hexdigest()[:16]


def _if_changed(state: Markup, **context: Any) -> Response:
    """The part of the page that changes by itself; 204 where the page has it already."""
    have = _digest(state)
    if request.args.get("have") == have:
        return Response(status=204)
    return page("accounts/_live.html", state=state, have=have, **context)


# -- what is done at once ------------------------------------------------------------------


@blueprint.post("/<uuid>/collect")
def collect(uuid: str) -> Any:
    """Have its mail collected now; the page then shows what that brings."""
    account, _ = service.find(uuid)
    asked.require_collectable(account.uuid, current().settings, current().vault)
    return go(collecting(account.uuid))


@blueprint.post("/<uuid>/older")
def collect_older(uuid: str) -> Any:
    """Collect what 'Start with' left on the server, too."""
    account, _ = service.find(uuid)
    asked.require_collectable(account.uuid, current().settings, current().vault)
    older.collect_older(account.uuid)
    actor().record("mailbox changed", account.address, "New: begin.")
    return go(collecting(account.uuid))


@blueprint.post("/<uuid>/retry")
def retry_skipped(uuid: str) -> Any:
    """Try what was skipped again, now."""
    account, _ = service.find(uuid)
    asked.require_collectable(account.uuid, current().settings, current().vault)
    older.retry_skipped(account.uuid)
    return go(collecting(account.uuid))


@blueprint.post("/<uuid>/test")
def test_stored(uuid: str) -> Any:
    """Test the stored server and password: as events for htmx, otherwise as a page that grows."""
    account, endpoint = service.find(uuid)
    try:
        found = [credential.open_for(endpoint, current().vault)]
        steps = probe.run(found, account.folder, current().settings, actor(), account.address)
    except PanelError as error:
        if not is_htmx():
            raise
        return beside(error)
    if is_htmx():
        return live(steps, probe.plan(found))
    body = stream_template("accounts/tested.html", steps=steps, account=account)
    return Response(body, mimetype="text/html")
