"""/invitation: with a link from an administrator, a person chooses their own password and is signed in."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, request, url_for

from panel.errors import PanelError
from panel.people import invitations
from panel.secret import Secret
from panel.sign_in import login as current_login
from panel.sign_in import sessions
from panel.sign_in.forms import ChosenPasswordForm
from panel.web.access import ANYBODY, allow
from panel.web.fields import show_on_field
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page

blueprint = Blueprint("invitation", __name__, url_prefix="/invitation")
allow(blueprint, read={ANYBODY}, write={ANYBODY})


@blueprint.route("/<token>", methods=["GET", "POST"])
@preserve_form_input
def accept(token: str) -> Any:
    """Choose a password; a session of another person in this browser ends."""
    person, form = invitations.find(token), ChosenPasswordForm()
    context: dict[str, Any] = {"person": person, "token": token, "form": form}
    if request.method != "POST":
        return page("sign_in/invitation.html", **context)
    if not form.validate_on_submit():
        return page("sign_in/invitation.html", status=422, **context)
    try:
        person = invitations.accept(token, Secret(form.password.data), current_login.address())
    except PanelError as error:
        problem = show_on_field(form, error)
        return page("sign_in/invitation.html", status=error.status, problem=problem, **context)
    current_login.stop()
    current_login.start(sessions.begin(person.id, current_login.address(), current_login.agent()))
    flash(f"You are signed in as {person.email}.", "good")
    return go(url_for("home.show"))
