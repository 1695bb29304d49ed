"""People in the browser: who may sign in, and in which role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, flash, url_for

from panel.audit import Actor
from panel.errors import PanelError
from panel.people import service
from panel.people.forms import NewForm, PasswordForm, RoleForm
from panel.people.service import PersonInfo
from panel.secret import Secret
from panel.web.access import actor, allow, reauth_required
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page

blueprint = Blueprint("people", __name__, url_prefix="/people")
allow(blueprint, read={"admin"}, write={"admin"})


@blueprint.get("")
def show() -> Any:
    """The list of people."""
    return page("people/list.html", people=service.everybody())


@blueprint.get("/new")
def new() -> Any:
    """An empty form."""
    return page("people/new.html", form=NewForm(formdata=None))


@blueprint.post("/new")
@preserve_form_input
@reauth_required
def add() -> Any:
    """Add a person."""
    form = NewForm()
    if not form.validate_on_submit():
        return page("people/new.html", status=422, form=form)
    try:
        password = Secret(form.password.data)
        person = service.add(form.email.data, form.name.data, form.role.data, password, actor())
    except PanelError as error:
        return page("people/new.html", status=error.status, form=form, problem=error)
    flash(f"{person.email} was added.", "good")
    return go(url_for(".show"))


@blueprint.get("/<int:person_id>")
def edit(person_id: int) -> Any:
    """One person: role, password, access."""
    return _edit_page(service.get(person_id))


def _edit_page(person: PersonInfo, status: int = 200, **context: Any) -> Response:
    context.setdefault("role_form", RoleForm(formdata=None, data={"role": person.role}))
    context.setdefault("password_form", PasswordForm(formdata=None))
    return page("people/edit.html", status=status, person=person, **context)


@blueprint.post("/<int:person_id>/role")
@preserve_form_input
@reauth_required
def role(person_id: int) -> Any:
    """Change the role."""
    form = RoleForm()
    if not form.validate_on_submit():
        return _edit_page(service.get(person_id), 422, role_form=form)
    role = form.role.data
    return _change(
        person_id, lambda email, by: service.change_role(email, role, by), f"{{}} now has the role {role}."
    )


@blueprint.post("/<int:person_id>/disable")
@reauth_required
def disable(person_id: int) -> Any:
    """Disable access."""
    return _change(person_id, service.disable, "Access for {} is disabled.")


@blueprint.post("/<int:person_id>/enable")
@reauth_required
def enable(person_id: int) -> Any:
    """Enable access again."""
    return _change(person_id, service.enable, "Access for {} is enabled.")


@blueprint.post("/<int:person_id>/password")
@preserve_form_input
@reauth_required
def password(person_id: int) -> Any:
    """Set the login password."""
    form = PasswordForm()
    if not form.validate_on_submit():
        return _edit_page(service.get(person_id), 422, password_form=form)
    new = Secret(form.password.data)
    return _change(
        person_id, lambda email, by: service.set_password(email, new, by), "The password of {} was changed."
    )


def _change(person_id: int, change: Callable[[str, Actor], None], message: str) -> Any:
    """Make the `change` of the service; then the list, with `message` about that address."""
    person = service.get(person_id)
    try:
        change(person.email, actor())
    except PanelError as error:
        return _edit_page(person, error.status, problem=error)
    flash(message.format(person.email), "good")
    return go(url_for(".show"))
