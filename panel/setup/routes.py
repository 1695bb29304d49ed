"""/setup: who holds the one-time token becomes the first administrator."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, flash, session, url_for

from panel.errors import BadInput, NotFound, PanelError
from panel.people.password_rules import LONGEST, SHORTEST
from panel.secret import Secret
from panel.setup import service
from panel.setup.forms import AdminForm
from panel.sign_in import login, sessions
from panel.web.access import ANYBODY, allow
from panel.web.htmx import go, page

blueprint = Blueprint("setup", __name__, url_prefix="/setup")
allow(blueprint, read={ANYBODY}, write={ANYBODY})

TOKEN = "setup"  # noqa: S105 - the name of the cookie's entry


@blueprint.get("")
def where() -> Any:
    """Say where the one-time address is found."""
    service.require_open()
    return page("setup/where.html")


@blueprint.get("/<token>")
def enter(token: str) -> Any:
    """Take the token out of the address and into the cookie."""
    service.require_open()
    if not service.check(token):
        raise NotFound(
            "This set-up address is not the right one.",
            "Copy the whole address from the server's log, or the token from the file setup-token "
            "in the data directory.",
        )
    session.clear()
    session[TOKEN] = token
    return go(url_for("setup.admin"))


@blueprint.route("/admin", methods=["GET", "POST"])
def admin() -> Any:
    """Ask for the first administrator, and sign that person in."""
    service.require_open()
    if not service.check(session.get(TOKEN, "")):
        return go(url_for("setup.where"))
    form = AdminForm()
    if not form.is_submitted():
        return _ask(form)
    if not form.validate():
        return _ask(form, 422)
    try:
        return _complete(form)
    except BadInput as error:
        return _ask(form, error.status, error)


def _complete(form: AdminForm) -> Any:
    settings, address = current_app.extensions["mailkeep"].settings, login.address()
    password = Secret(form.password.data)
    someone = service.complete(settings, form.name.data, form.email.data, password, address=address)
    login.start(sessions.begin(someone.id, address, login.agent()))
    flash("Mailkeep is set up. Next: turn on encryption, then add a mailbox.", "good")
    return go(url_for("encryption.show"))


def _ask(form: AdminForm, status: int = 200, problem: PanelError | None = None) -> Any:
    if isinstance(problem, BadInput) and problem.field in form._fields:
        form[problem.field].errors = [str(problem)]
        problem = None
    return page(
        "setup/admin.html", status=status, form=form, problem=problem, shortest=SHORTEST, longest=LONGEST
    )
