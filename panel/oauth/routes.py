"""/server/oauth: the apps through which mailboxes sign in at Microsoft 365, Google or another issuer."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, request, url_for

from panel.errors import PanelError
from panel.models.oauth import new_uid
from panel.oauth import app_rules, apps
from panel.oauth.forms import AppForm, SecretForm
from panel.services import current
from panel.vault.state import State
from panel.web.access import actor, allow, reauth_required, require_reauth, safe_redirect
from panel.web.fields import show_on_field
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page

blueprint = Blueprint("oauth", __name__, url_prefix="/server/oauth")
allow(blueprint, read={"admin"}, write={"admin"})


@blueprint.get("")
def show() -> Any:
    return page("oauth/list.html", apps=apps.all_apps(), off=_off())


def _off() -> bool:
    """Whether nothing can be stored, since encryption is off."""
    return current().vault.latest().state is State.OFF


@blueprint.get("/new")
def new() -> Any:
    """An empty form, with the redirect address of the app that it will make."""
    form = AppForm(formdata=None)
    asked = request.args.get("provider", "")
    form.provider.data = asked if asked in app_rules.PROVIDERS else form.provider.data
    form.uid.data, form.back.data = new_uid(), request.args.get("back", "")
    return _new_page(form)


def _new_page(form: AppForm, status: int = 200, problem: PanelError | None = None) -> Response:
    settings = current().settings
    uid = form.uid.data if app_rules.UID.match(form.uid.data or "") else new_uid()
    form.uid.data = uid
    return page(
        "oauth/new.html", status=status, form=form, problem=problem, off=_off(),
        redirect=apps.redirect_address(settings, uid), comes_back=apps.comes_back(settings),
        cancel=safe_redirect(form.back.data) or url_for("oauth.show"),
    )  # fmt: skip


@blueprint.post("/new")
@preserve_form_input
def add() -> Any:
    form = AppForm()
    if not form.validate_on_submit():
        return _new_page(form, 422)
    try:
        app, expires_at = form.app, form.expires_at
        app_rules.require_secret(app, form.entered)
        require_reauth()
        apps.add(current().vault, app, form.entered, expires_at, actor())
    except PanelError as error:
        return _new_page(form, error.status, show_on_field(form, error))
    flash(f"{app.name} was added.", "good")
    return go(safe_redirect(form.back.data) or url_for("oauth.app", uid=app.uid))


@blueprint.get("/<uid>")
def app(uid: str) -> Any:
    return _app_page(uid, SecretForm(formdata=None))


def _app_page(uid: str, form: SecretForm, status: int = 200, problem: PanelError | None = None) -> Response:
    found = apps.show(current().vault, uid)
    form.seen.data = found.seen
    return page(
        "oauth/app.html", status=status, app=found, form=form, problem=problem,
        redirect=apps.redirect_address(current().settings, found.uid), mailboxes=apps.mailboxes(found.uid),
        comes_back=apps.comes_back(current().settings),
    )  # fmt: skip


@blueprint.post("/<uid>/secret")
@preserve_form_input
def set_secret(uid: str) -> Any:
    found, form = apps.find(uid), SecretForm()
    if not form.validate_on_submit():
        return _app_page(uid, form, 422)
    try:
        require_reauth()
        vault, seen = current().vault, form.seen.data or ""
        apps.set_secret(vault, found.uid, form.entered, form.expires_at, actor(), seen)
    except PanelError as error:
        return _app_page(uid, form, error.status, show_on_field(form, error))
    flash("The client secret was replaced. Nobody needs to sign in again.", "good")
    return go(url_for("oauth.app", uid=found.uid))


@blueprint.post("/<uid>/remove")
@reauth_required
def remove(uid: str) -> Any:
    """Delete the app, unless mailboxes use it."""
    found = apps.find(uid)
    try:
        apps.remove(found.uid, actor())
    except PanelError as error:
        return _app_page(uid, SecretForm(formdata=None), error.status, error)
    flash(f"{found.name} was removed. Its registration at the provider stays.", "good")
    return go(url_for("oauth.show"))
