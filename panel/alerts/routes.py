"""Notices in the browser: whom to tell, what is wrong now, what was; and the banner of every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Response, flash, stream_template, url_for
from flask_login import current_user
from wtforms.fields.choices import SelectChoice

from panel.alerts import conditions, service
from panel.alerts.forms import ANY, ChannelsForm
from panel.alerts.service import Picture
from panel.errors import PanelError
from panel.mail.session import ProbeStep
from panel.models import Heartbeat
from panel.sending import outbox
from panel.services import current, one_rows
from panel.sign_in.login import require_reauth
from panel.web.access import actor, allow, reauth_required, recently_authenticated
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page

blueprint = Blueprint("alerts", __name__, url_prefix="/server/alerts")
allow(blueprint, read={"admin"}, write={"admin"})


@blueprint.app_context_processor
def trouble() -> dict[str, Any]:
    """For the banner of every page: what is wrong, in the words for whoever looks."""
    role = getattr(current_user, "role", "")
    if role not in ("admin", "agent"):
        return {"trouble": [], "trouble_total": 0}
    found = conditions.banner(current().vault.latest(), one_rows().of(Heartbeat))
    if role == "admin":
        shown = [{"message": each.message, "path": each.path} for each in found.conditions]
        return {"trouble": shown, "trouble_total": found.total}
    told = [{"message": each.told, "path": "/status"} for each in found.conditions if each.told]
    return {"trouble": told, "trouble_total": found.total - len(found.conditions) + len(told)}


@blueprint.get("")
def show() -> Any:
    """Whom to tell, and what is being told."""
    picture = service.picture(current().vault)
    return _page(picture, _form(picture))


def _form(picture: Picture) -> ChannelsForm:
    now = picture.channels
    stored = {"recipients": "\n".join(now.recipients), "through": now.through, "webhook": now.webhook}
    return ChannelsForm(formdata=None, data=stored)


def _page(picture: Picture, form: ChannelsForm, status: int = 200, problem: PanelError | None = None) -> Any:
    senders = outbox.senders()
    form.through.choices = [ANY, *(SelectChoice(each.uuid, each.address) for each in senders)]
    return page(
        "alerts/page.html", status=status, picture=picture, form=form, problem=problem,
        ask_own=not recently_authenticated(),
        no_key=current().vault.latest().state.no_key, senders=senders,
    )  # fmt: skip


@blueprint.post("")
@preserve_form_input
def store() -> Any:
    """Store whom to tell."""
    form = ChannelsForm()
    if not form.validate_on_submit():
        return _page(service.picture(current().vault), form, 422)
    try:
        require_reauth(form.own_password.data)
        recipients = service.recipients_of(form.recipients.data or "")
        service.store(recipients, form.through.data or "", form.webhook.data or "", actor())
    except PanelError as error:
        return _again(form, error)
    flash("Saved. Send a test, so that you know it arrives.", "good")
    return go(url_for("alerts.show"))


def _again(form: ChannelsForm, error: PanelError) -> Any:
    """The form as it was typed, and what is wrong with it."""
    name = getattr(error, "field", None)
    if name in form:
        form[name].errors = [str(error)]
        return _page(service.picture(current().vault), form, error.status)
    return _page(service.picture(current().vault), form, error.status, error)


@blueprint.post("/test-mail")
@reauth_required
def test_mail() -> Any:
    """Send a test mail: a page that grows."""
    return _tested("Test mail", lambda: service.test_mail(current().settings, current().vault, actor()))


@blueprint.post("/test-webhook")
@reauth_required
def test_webhook() -> Any:
    """Call the webhook now."""
    return _tested("Test of the webhook", lambda: service.test_webhook(current().settings, actor()))


def _tested(title: str, begin: Callable[[], Iterator[ProbeStep]]) -> Any:
    try:
        steps = begin()
    except PanelError as error:
        picture = service.picture(current().vault)
        return _page(picture, _form(picture), error.status, error)
    return Response(stream_template("alerts/test.html", steps=steps, title=title), mimetype="text/html")
