"""People in the browser: who may sign in, and in which role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, flash, request, url_for
from flask_login import current_user

from panel.audit import Actor
from panel.errors import EditedMeanwhile, PanelError
from panel.people import directory, invitations, service
from panel.people.forms import EditForm, NewForm, PasswordForm
from panel.people.service import PersonInfo
from panel.secret import Secret
from panel.services import current
from panel.web.access import actor, allow, reauth_required, require_reauth
from panel.web.fields import show_on_field
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page
from panel.web.listing import read_query

blueprint = Blueprint("people", __name__, url_prefix="/people")
allow(blueprint, read={"admin"}, write={"admin"})


@blueprint.get("")
def show() -> Any:
    return page("people/list.html", found=directory.page(read_query(directory.STATES, directory.SORTS)))


@blueprint.get("/new")
def new() -> Any:
    return page("people/new.html", form=NewForm(formdata=None))


@blueprint.post("/new")
@preserve_form_input
def add() -> Any:
    """Add a person: with a password, or with a link to choose one."""
    form = NewForm()
    if not form.validate_on_submit():
        return page("people/new.html", status=422, form=form)
    require_reauth()
    try:
        password = Secret(form.password.data) if form.password.data else None
        person = service.add(form.email.data, form.name.data, form.role.data, password, actor())
    except PanelError as error:
        return page("people/new.html", status=error.status, form=form, problem=show_on_field(form, error))
    if password is None:
        return _link_page(person)
    flash(f"{person.email} was added.", "good")
    return go(url_for(".show"))


@blueprint.get("/<int:person_id>")
def edit(person_id: int) -> Any:
    return _edit_page(service.get(person_id))


def _named(person_id: int) -> PersonInfo:
    """The person with this id, whom the form of this request named: ids are given out again.

    Raises NotFound, EditedMeanwhile.
    """
    person = service.get(person_id)
    if request.form.get("named", person.email) != person.email:
        raise EditedMeanwhile(
            f"This page was about another person or address; it is {person.email} now. Nothing was changed.",
            "Open the list of people, and repeat the step there.",
        )
    return person


def _edit_page(person: PersonInfo, status: int = 200, **context: Any) -> Response:
    form = context.setdefault("form", EditForm(formdata=None, data=vars(person)))
    form.seen.data = person.digest
    context.setdefault("password_form", PasswordForm(formdata=None))
    return page(
        "people/edit.html", status=status, person=person, sessions=directory.sessions_of(person.id), **context
    )


@blueprint.post("/<int:person_id>")
@preserve_form_input
def change(person_id: int) -> Any:
    person, form = service.get(person_id), EditForm()
    if not form.validate_on_submit():
        return _edit_page(person, 422, form=form)
    require_reauth()
    values = (form.email.data, form.name.data, form.role.data, form.seen.data or "")
    try:
        person = service.edit(person_id, *values, actor())
    except PanelError as error:
        return _edit_page(person, error.status, form=form, problem=show_on_field(form, error))
    flash(f"{person.email} was changed.", "good")
    return go(url_for(".edit", person_id=person_id))


@blueprint.post("/<int:person_id>/invitation")
@reauth_required
def invite(person_id: int) -> Any:
    """Show a new link to choose a password with, once."""
    person = _named(person_id)
    try:
        return _link_page(person)
    except PanelError as error:
        return _edit_page(person, error.status, problem=error)


def _link_page(person: PersonInfo) -> Response:
    """A new link. It names the address in PANEL_URL, whatever host this request was sent to."""
    path = invitations.create(person.id, actor())
    base = current().settings.url or request.url_root.rstrip("/")
    return page("people/link.html", person=service.get(person.id), link=base + path)


@blueprint.post("/<int:person_id>/password")
@preserve_form_input
def password(person_id: int) -> Any:
    person, form = _named(person_id), PasswordForm()
    if not form.validate_on_submit():
        return _edit_page(person, 422, password_form=form)
    require_reauth()
    try:
        service.set_password(person.email, Secret(form.password.data), actor())
    except PanelError as error:
        return _edit_page(person, error.status, password_form=form, problem=show_on_field(form, error))
    flash(f"The password of {person.email} was changed.", "good")
    return go(url_for(".show"))


@blueprint.post("/<int:person_id>/disable")
@reauth_required
def disable(person_id: int) -> Any:
    return _change(person_id, service.disable, "Access for {} is disabled.")


@blueprint.post("/<int:person_id>/enable")
@reauth_required
def enable(person_id: int) -> Any:
    return _change(person_id, service.enable, "Access for {} is enabled.")


@blueprint.post("/<int:person_id>/delete")
@reauth_required
def delete(person_id: int) -> Any:
    return _change(person_id, service.delete, "{} was deleted.")


def _change(person_id: int, change: Callable[[str, Actor], None], message: str) -> Any:
    """Make the `change` of the service; then the list, with `message` about that address."""
    person = _named(person_id)
    try:
        change(person.email, actor())
    except PanelError as error:
        return _edit_page(person, error.status, problem=error)
    if person.id == current_user.id and change != service.enable:
        return go(url_for("sign_in.login"))
    flash(message.format(person.email), "good")
    return go(url_for(".show"))
