"""People in the browser: who may sign in, and as what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, flash, request, url_for
from flask_login import current_user

from panel.errors import NotFound, PanelError
from panel.people import service
from panel.people.forms import NewForm, PasswordForm, RoleForm
from panel.people.service import Someone
from panel.secret import Secret
from panel.web.access import allow, reauth_required
from panel.web.form_tokens import keeps_typed
from panel.web.htmx import go, page

blueprint = Blueprint("people", __name__, url_prefix="/people")
allow(blueprint, read={"admin"}, write={"admin"})


def _by() -> dict[str, str]:
    return {"who": current_user.email, "address": request.remote_addr or ""}


def _find(person_id: int) -> Someone:
    for someone in service.everybody():
        if someone.id == person_id:
            return someone
    raise NotFound("There is no such person.", "See the list of people.")


@blueprint.get("")
def show() -> Any:
    """Everybody."""
    return page("people/list.html", people=service.everybody())


@blueprint.get("/new")
@reauth_required
def new() -> Any:
    """An empty form."""
    return page("people/new.html", form=NewForm(formdata=None))


@blueprint.post("/new")
@keeps_typed
@reauth_required
def add() -> Any:
    """Add a person."""
    form = NewForm()
    if not form.validate_on_submit():
        return page("people/new.html", status=422, form=form)
    try:
        password = Secret(form.password.data)
        someone = service.add(form.email.data, form.name.data, form.role.data, password, **_by())
    except PanelError as error:
        return page("people/new.html", status=error.status, form=form, problem=error)
    flash(f"{someone.email} was added.", "good")
    return go(url_for(".show"))


@blueprint.get("/<int:person_id>")
def edit(person_id: int) -> Any:
    """One person: role, password, disabled or not."""
    return _edit_page(_find(person_id))


def _edit_page(someone: Someone, status: int = 200, **context: Any) -> Response:
    context.setdefault("role_form", RoleForm(formdata=None, data={"role": someone.role}))
    context.setdefault("password_form", PasswordForm(formdata=None))
    return page("people/edit.html", status=status, someone=someone, **context)


@blueprint.post("/<int:person_id>/role")
@keeps_typed
@reauth_required
def role(person_id: int) -> Any:
    """Give another role."""
    form = RoleForm()
    if not form.validate_on_submit():
        return _edit_page(_find(person_id), 422, role_form=form)
    words = f"has the role {form.role.data} now"
    return _act(person_id, lambda email: service.change_role(email, form.role.data, **_by()), words)


@blueprint.post("/<int:person_id>/disable")
@reauth_required
def disable(person_id: int) -> Any:
    """Keep somebody out."""
    return _act(person_id, lambda email: service.disable(email, **_by()), "cannot sign in any more")


@blueprint.post("/<int:person_id>/enable")
@reauth_required
def enable(person_id: int) -> Any:
    """Let somebody in again."""
    return _act(person_id, lambda email: service.enable(email, **_by()), "can sign in again")


@blueprint.post("/<int:person_id>/password")
@keeps_typed
@reauth_required
def password(person_id: int) -> Any:
    """Give another login password."""
    form = PasswordForm()
    if not form.validate_on_submit():
        return _edit_page(_find(person_id), 422, password_form=form)
    typed = form.password.data
    return _act(
        person_id,
        lambda email: service.set_password(email, Secret(typed), **_by()),
        "has another password now",
    )


def _act(person_id: int, step: Callable[[str], None], words: str) -> Any:
    someone = _find(person_id)
    try:
        step(someone.email)
    except PanelError as error:
        return _edit_page(someone, error.status, problem=error)
    flash(f"{someone.email} {words}.", "good")
    return go(url_for(".show"))
