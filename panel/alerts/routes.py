"""Alerts in the browser: open ones, recipients, thresholds, history; and the bell of every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, flash, stream_template, url_for
from flask_login import current_user
from wtforms.fields.choices import SelectChoice

from panel.alerts import alert_log, conditions, service
from panel.alerts.forms import ANY, ChannelsForm, ThresholdsForm
from panel.alerts.service import Overview
from panel.alerts.thresholds import LIMITS, Thresholds
from panel.errors import BadInput, PanelError
from panel.mail.session import ProbeStep
from panel.models import Heartbeat
from panel.sending import outbox
from panel.services import current, one_rows
from panel.web.access import actor, allow, reauth_required, require_reauth
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page
from panel.web.listing import read_query

blueprint = Blueprint("alerts", __name__, url_prefix="/server/alerts")
allow(blueprint, read={"admin"}, write={"admin"})
# What opens the page that solves a problem.
ACTIONS = {
    "mailbox-failing": "Open mailbox", "backup-unverified": "Verify backup", "backup-due": "Verify backup",
    "encryption-off": "Turn on encryption", "worker-silent": "Open Overview",
    "target-failing": "Open Delivery", "delivery-stopped": "Open Delivery", "mail-waiting": "Open Delivery",
    "mail-set-aside": "Open Delivery",
    "disk-almost-full": "Open Overview", "consent-ended": "Connect again", "consent-needed": "Connect",
    "app-fault": "Open app", "secret-expires": "Replace secret",
}  # fmt: skip


@blueprint.app_context_processor
def bell() -> dict[str, Any]:
    """For every page: how many alerts are open, and the gravest of them; whether the worker responds."""
    role = getattr(current_user, "role", "")
    if role not in ("admin", "agent"):
        return {"open_alerts": 0, "worst_alert": "", "worker_silent": False}
    count, worst = service.attention(current().vault.latest(), one_rows()) if role == "admin" else (0, "")
    silent = conditions.worker_is_silent(one_rows().of(Heartbeat))
    return {"open_alerts": count, "worst_alert": worst, "worker_silent": silent}


@blueprint.get("")
def show() -> Any:
    return _page()


def _page(
    form: ChannelsForm | None = None,
    status: int = 200,
    problem: PanelError | None = None,
    limits: ThresholdsForm | None = None,
) -> Any:
    """The page with the forms as they were typed, or as they are stored."""
    query = read_query(alert_log.SEVERITIES, alert_log.SORTS)
    overview = service.read(current().vault, query, one_rows())
    senders = outbox.senders(overview.channels.through)
    form = form or _stored(overview)
    form.through.choices = [ANY, *(SelectChoice(each.uuid, each.address) for each in senders)]
    return page(
        "alerts/page.html", status=status, overview=overview, form=form, problem=problem,
        limits=limits or ThresholdsForm(formdata=None, data=asdict(overview.limits)), ranges=LIMITS,
        actions=ACTIONS,
        no_key=current().vault.latest().state.no_key, senders=senders,
    )  # fmt: skip


def _stored(overview: Overview) -> ChannelsForm:
    to = overview.channels
    data = {"recipients": "\n".join(to.recipients), "through": to.through, "webhook": to.webhook}
    return ChannelsForm(formdata=None, data=data)


@blueprint.post("")
@preserve_form_input
def store() -> Any:
    form = ChannelsForm()
    if not form.validate_on_submit():
        return _page(form, 422)
    try:
        require_reauth()
        recipients = service.recipients_of(form.recipients.data or "")
        service.store(recipients, form.through.data or "", form.webhook.data or "", actor())
    except PanelError as error:
        name = getattr(error, "field", None)
        if name not in form:
            return _page(form, error.status, error)
        form[name].errors = [str(error)]
        return _page(form, error.status)
    flash("Saved. Send a test to make sure that alerts arrive.", "good")
    return go(url_for("alerts.show"))


@blueprint.post("/thresholds")
@preserve_form_input
@reauth_required
def set_thresholds() -> Any:
    form = ThresholdsForm()
    if not form.validate_on_submit():
        return _page(status=422, limits=form)
    try:
        service.set_thresholds(Thresholds(**{name: form[name].data for name in LIMITS}), actor())
    except BadInput as error:
        form[error.field or ""].errors = [str(error)]
        return _page(status=error.status, limits=form)
    flash("Saved. The next check uses the new thresholds.", "good")
    return go(url_for("alerts.show"))


@blueprint.post("/<int:alert_id>/mute")
def mute(alert_id: int) -> Any:
    """Send no reminder of this alert for a day."""
    return _muted(alert_id, True, "Muted for a day. If it gets worse, it is sent at once.")


@blueprint.post("/<int:alert_id>/unmute")
def unmute(alert_id: int) -> Any:
    return _muted(alert_id, False, "Reminders are sent again.")


def _muted(alert_id: int, muted: bool, text: str) -> Any:
    try:
        alert_log.mute(alert_id, actor(), muted=muted)
    except PanelError as error:
        return _page(status=error.status, problem=error)
    flash(text, "good")
    return go(url_for("alerts.show"))


@blueprint.post("/test-mail")
@reauth_required
def test_mail() -> Any:
    """Send a test mail; the page grows with each step."""
    return _tested("Test mail", lambda: service.test_mail(current().settings, current().vault, actor()))


@blueprint.post("/test-webhook")
@reauth_required
def test_webhook() -> Any:
    return _tested("Test webhook", lambda: service.test_webhook(current().settings, actor()))


def _tested(title: str, begin: Callable[[], Iterator[ProbeStep]]) -> Any:
    try:
        steps = begin()
    except PanelError as error:
        return _page(status=error.status, problem=error)
    return Response(stream_template("alerts/test.html", steps=steps, title=title), mimetype="text/html")
