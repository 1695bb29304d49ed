"""/accounts/<uuid>: one mailbox to read, and what is done with it at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Self

from flask import Response, flash, render_template, request, stream_template, url_for
from markupsafe import Markup

from panel.accounts import asked, overview, probe, service
from panel.accounts.add_routes import blueprint
from panel.accounts.asked import Asked, Phase, Progress
from panel.accounts.connect_routes import collecting
from panel.accounts.routes import beside, live
from panel.collect import older
from panel.deliver import status
from panel.errors import NotFound, PanelError
from panel.messages.chart import SPANS
from panel.messages.service import mailbox_activity
from panel.models import Account, Collection, Skipped
from panel.models.endpoint import CONSENT
from panel.oauth import connections
from panel.services import current
from panel.web import viewer
from panel.web.access import actor
from panel.web.htmx import go, is_htmx, page

__all__ = ["blueprint"]

SKIPPED_SHOWN = 100
LONGEST_TOAST = 300  # characters; the page itself shows a problem in full


@blueprint.get("/<uuid>")
def mailbox(uuid: str) -> Any:
    """The mailbox; with `collecting`, until the round that was asked for has brought something."""
    account, endpoint, sending = service.find_servers(uuid)
    row = Collection.get_or_none(Collection.account == account.uuid)
    progress, watch = _progress(account, row)
    if progress and progress.phase is Phase.DONE:
        more = "…" if len(progress.message) > LONGEST_TOAST else ""  # it lies in a cookie
        message = progress.message[:LONGEST_TOAST] + more
        flash(message, "good" if progress.ok else "bad")
        return go(url_for("accounts.mailbox", uuid=account.uuid, span=request.args.get("span")))
    line = overview.line(current().vault, account.uuid)
    if line is None:
        raise NotFound("This mailbox was removed.", "Go back to the list of mailboxes.")
    activity = _mail(account.uuid)
    by_consent = CONSENT in (endpoint.kind, sending and sending.kind)
    consent = connections.state_of(account.uuid) if by_consent else None
    state = _Part.of(
        "accounts/_state.html", uuid=account.uuid, line=line, progress=progress, consent=consent,
        mail=activity["mail"],
    )  # fmt: skip
    mail = _Part.of("accounts/_activity.html", uuid=account.uuid, line=line, **activity)
    around: dict[str, Any] = {
        "uuid": account.uuid, "state": state, "mail": mail, "watch": watch, "span": request.args.get("span"),
        "hurry": progress is not None and progress.phase is not Phase.LATE,
    }  # fmt: skip
    if is_htmx():
        return _what_changed(around)
    return page(
        "accounts/mailbox.html", account=account, line=line, row=row, sending=sending, consent=consent,
        last_change=service.last_change(current().vault, endpoint),
        spool=current().settings.mail_spool / account.uuid,
        out=status.mailbox(current().settings, account.uuid, account.deliver_to), **around,
    )  # fmt: skip


def _progress(account: Account, row: Collection | None) -> tuple[Progress | None, str]:
    """How far the run is that the address of this page names, and that name."""
    watch = Asked.parse(request.args.get("collecting", "")) if account.paused_at is None else None
    return (asked.progress(watch, account, row), str(watch)) if watch else (None, "")


def _mail(uuid: str) -> dict[str, Any]:
    """What came in, for the time that the address names, and what was skipped."""
    span = viewer.choice("span", SPANS, "14d")
    skipped = Skipped.select().where(Skipped.account == uuid).order_by(Skipped.at.desc()).limit(SKIPPED_SHOWN)
    return {
        "mail": mailbox_activity(uuid, viewer.zone(), current().settings.mail_spool, span),
        "spans": SPANS, "logged": current().settings.message_log_days > 0, "skipped": skipped,
    }  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """A part of the page that changes by itself."""

    html: Markup
    digest: str  # by which a page says what it has

    @classmethod
    def of(cls, template: str, **context: Any) -> Self:
        html = render_template(template, **context)
        return cls(Markup(html), hashlib.sha256(html.encode()).hexdigest()[:12])  # noqa: S704 - a template of ours


def _what_changed(around: dict[str, Any]) -> Response:
    """The parts that the asking page has not; 204 where it has them all."""
    has = request.args.get("have", "").split(".")
    parts = (around["state"], around["mail"])
    if has == [part.digest for part in parts]:
        return Response(status=204)
    return page("accounts/_live.html", changed=has[-1] != parts[-1].digest, **around)


# -- what is done at once ------------------------------------------------------------------


@blueprint.post("/<uuid>/collect")
def collect(uuid: str) -> Any:
    """Have its mail collected now; the page then shows what that brings."""
    account = asked.collectable(uuid, current().settings, current().vault)
    return go(collecting(account.uuid))


@blueprint.post("/<uuid>/older")
def collect_older(uuid: str) -> Any:
    """Collect what 'Start with' left on the server, too."""
    account = asked.collectable(uuid, current().settings, current().vault)
    service.collect_older(account.uuid, actor())
    return go(collecting(account.uuid))


@blueprint.post("/<uuid>/retry")
def retry_skipped(uuid: str) -> Any:
    account = asked.collectable(uuid, current().settings, current().vault)
    older.retry_skipped(account.uuid)
    return go(collecting(account.uuid))


@blueprint.post("/<uuid>/test")
def test_stored(uuid: str) -> Any:
    """Test the stored server and password: as events for htmx, otherwise as a page that grows."""
    account, endpoint = service.find(uuid)
    try:
        settings = current().settings
        found = [probe.stored(endpoint, settings, current().vault)]
        steps = probe.run(found, account.folder, settings, actor(), account.address)
    except PanelError as error:
        if not is_htmx():
            raise
        return beside(error)
    if is_htmx():
        return live(steps, probe.plan(found))
    body = stream_template("accounts/tested.html", steps=steps, account=account)
    return Response(body, mimetype="text/html")
