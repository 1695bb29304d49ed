"""/setup: the first administrator is created with the one-time token, then guided through the other steps.

Encryption and the first mailbox are set up on their own pages; until set-up is finished, a frame at the top
of every page shows the current step and the next.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, request, session, url_for
from flask_login import current_user

from panel.accounts import listing
from panel.errors import AlreadySetUp, BadInput, NotFound, PanelError
from panel.listing import ListQuery
from panel.models import SetupState
from panel.people.password_rules import LONGEST, SHORTEST
from panel.secret import Secret
from panel.services import current, one_rows
from panel.setup import checks, service
from panel.setup.forms import AdminForm
from panel.setup.service import Step
from panel.sign_in import login, sessions
from panel.web.access import ANYBODY, allow
from panel.web.fields import show_on_field
from panel.web.form_tokens import preserve_form_input
from panel.web.headers import plain_http_exposed
from panel.web.htmx import go, page

blueprint = Blueprint("setup", __name__, url_prefix="/setup")
steps_blueprint = Blueprint("setup_steps", __name__, url_prefix="/setup")
allow(blueprint, read={ANYBODY}, write={ANYBODY})
allow(steps_blueprint, read={"admin"}, write={"admin"})

TOKEN = "setup"  # noqa: S105 - the name of the cookie's entry
PAGES = {
    Step.ENCRYPTION: "encryption.show",
    Step.MAILBOX: "accounts.new",
    Step.SUMMARY: "setup_steps.summary",
}


def _step() -> Step | None:
    """The current step of the visitor's own set-up."""
    if not current_user.is_authenticated:
        return None
    return service.step_of(current_user.id, current().vault)


@blueprint.app_context_processor
def set_up_frame() -> dict[str, Any]:
    """For the frame on every page of the administrator who is setting up."""
    row = one_rows().of(SetupState) if current_user.is_authenticated else None
    step = service.step_of(current_user.id, current().vault, row) if row else None
    if step is None:
        return {"set_up": None}
    return {"set_up": {"step": step, "here": request.endpoint == PAGES[step], "page": url_for(PAGES[step])}}


@blueprint.get("")
def where() -> Any:
    """Say where to find the one-time address; or go to the current step."""
    step = _step()
    if step is not None:
        return go(url_for(PAGES[step]))
    service.require_open()
    return page("setup/where.html")


@blueprint.get("/<token>")
def enter(token: str) -> Any:
    """Move the token from the address into the cookie."""
    service.require_open()
    if not service.check(token):
        raise NotFound(
            "This set-up address is wrong.",
            "Copy the whole address from the server's log, or the token from the file setup-token "
            "in the data directory.",
        )
    session.clear()
    session[TOKEN] = token
    return go(url_for("setup.check"))


@blueprint.get("/checks")
def check() -> Any:
    """Check whether this server is ready."""
    service.require_open()
    if not service.check(session.get(TOKEN, "")):
        return go(url_for("setup.where"))
    settings = current().settings
    found = checks.run(settings, current().vault, exposed=plain_http_exposed())
    return page("setup/checks.html", checks=found, ready=all(each.ok for each in found))


@blueprint.route("/admin", methods=["GET", "POST"])
@preserve_form_input
def admin() -> Any:
    """Create the first administrator and sign them in."""
    service.require_open()
    if not service.check(session.get(TOKEN, "")):
        return go(url_for("setup.where"))
    form = AdminForm()
    if not form.is_submitted():
        return _admin_page(form)
    if not form.validate():
        return _admin_page(form, 422)
    try:
        password, address = Secret(form.password.data), login.address()
        person = service.create_admin(current().settings, form.name.data, form.email.data, password, address)
    except BadInput as error:
        return _admin_page(form, error.status, show_on_field(form, error))
    login.start(sessions.begin(person.id, address, login.agent()))
    flash(f"You are signed in as {person.email}.", "good")
    return go(url_for("encryption.show"))


def _admin_page(form: AdminForm, status: int = 200, problem: PanelError | None = None) -> Any:
    return page(
        "setup/admin.html", status=status, form=form, problem=problem, shortest=SHORTEST, longest=LONGEST
    )


# -- the later steps ---------------------------------------------------------------------


def _own_step() -> Step:
    """The current step of the visitor's own set-up. Raises AlreadySetUp for other administrators."""
    step = _step()
    if step is None:
        raise AlreadySetUp("Set-up is finished, or another administrator is doing it.")
    return step


@steps_blueprint.post("/later")
def later() -> Any:
    """Leave the current step, encryption or the first mailbox, for later."""
    step = _own_step()
    if step in (Step.ENCRYPTION, Step.MAILBOX):
        service.skip(step)
    return go(url_for(PAGES[_own_step()]))


@steps_blueprint.get("/summary")
def summary() -> Any:
    """What is set up, and what to do next."""
    step = _own_step()
    if step is not Step.SUMMARY:
        return go(url_for(PAGES[step]))
    now = current().vault.latest()
    return page("setup/summary.html", now=now, lines=listing.page(current().vault, ListQuery()).rows)


@steps_blueprint.post("/finish")
def finish() -> Any:
    """Close set-up for good."""
    _own_step()
    service.finish(current_user.email, login.address())
    flash("Mailkeep is set up.", "good")
    return go(url_for("home.show"))
