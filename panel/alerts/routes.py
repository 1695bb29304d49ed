"""Alerts in the browser: recipients, open alerts, history; and the banner of every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Response, flash, stream_template, url_for
from flask_login import current_user
from wtforms.fields.choices import SelectChoice

from panel.alerts import conditions, service
from panel.alerts.forms import ANY, ChannelsForm
from panel.alerts.service import Overview
from panel.errors import PanelError
from panel.mail.session import ProbeStep
from panel.models import Heartbeat
from panel.sending import outbox
from panel.services import current, one_rows
from panel.web.access import actor, allow, reauth_required, require_reauth
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page

blueprint = Blueprint("alerts", __name__, url_prefix="/server/alerts")
allow(blueprint, read={"admin"}, write={"admin"})


@blueprint.app_context_processor
def banner() -> dict[str, Any]:
    """The problems for the banner of every page, as the role of the visitor may read them."""
    role = getattr(current_user, "role", "")
    if role not in ("admin", "agent"):
        return {"banner_problems": [], "banner_total": 0}
    found = conditions.banner(current().vault.latest(), one_rows().of(Heartbeat))
    messages = [each.message if role == "admin" else each.agent_message for each in found.conditions]
    shown = [message for message in messages if message]
    return {"banner_problems": shown, "banner_total": found.total - len(messages) + len(shown)}


@blueprint.get("")
def show() -> Any:
    """Recipients, open alerts and history."""
    return _page()


def _page(form: ChannelsForm | None = None, status: int = 200, problem: PanelError | None = None) -> Any:
    """The page with `form` as it was typed, or as it is stored."""
    overview, senders = service.read(current().vault), outbox.senders()
    form = form or _stored(overview)
    form.through.choices = [ANY, *(SelectChoice(each.uuid, each.address) for each in senders)]
    return page(
        "alerts/page.html", status=status, overview=overview, form=form, problem=problem,
        no_key=current().vault.latest().state.no_key, senders=senders,
    )  # fmt: skip


def _stored(overview: Overview) -> ChannelsForm:
    to = overview.channels
    data = {"recipients": "\n".join(to.recipients), "through": to.through, "webhook": to.webhook}
    return ChannelsForm(formdata=None, data=data)


@blueprint.post("")
@preserve_form_input
def store() -> Any:
    """Store the recipients."""
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


@blueprint.post("/test-mail")
@reauth_required
def test_mail() -> Any:
    """Send a test mail; the page grows with each step."""
    return _tested("Test mail", lambda: service.test_mail(current().settings, current().vault, actor()))


@blueprint.post("/test-webhook")
@reauth_required
def test_webhook() -> Any:
    """Send a test event to the webhook."""
    return _tested("Test webhook", lambda: service.test_webhook(current().settings, actor()))


def _tested(title: str, begin: Callable[[], Iterator[ProbeStep]]) -> Any:
    try:
        steps = begin()
    except PanelError as error:
        return _page(status=error.status, problem=error)
    return Response(stream_template("alerts/test.html", steps=steps, title=title), mimetype="text/html")
