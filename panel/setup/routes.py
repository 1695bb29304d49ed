"""/setup: who holds the one-time token becomes the first administrator, and is led through the rest.

Encryption and the first mailbox are set up on their own pages; a frame at the top
of every page says which step it is and what comes next, until set-up is finished.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, request, session, url_for
from flask_login import current_user

from panel.accounts import overview
from panel.errors import AlreadySetUp, BadInput, NotFound, PanelError
from panel.models import SetUp
from panel.people.password_rules import LONGEST, SHORTEST
from panel.secret import Secret
from panel.services import current, one_rows
from panel.setup import checks, service
from panel.setup.forms import AdminForm
from panel.setup.service import Step
from panel.sign_in import login, sessions
from panel.web.access import ANYBODY, allow
from panel.web.form_tokens import keeps_typed
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
    """Where the visitor's own set-up stands."""
    if not current_user.is_authenticated:
        return None
    return service.step_of(current_user.id, current().vault)


@blueprint.app_context_processor
def set_up_frame() -> dict[str, Any]:
    """For the frame on every page of the administrator who is setting up."""
    row = one_rows().of(SetUp) if current_user.is_authenticated else None
    step = service.step_of(current_user.id, current().vault, row) if row else None
    if step is None:
        return {"set_up": None}
    return {"set_up": {"step": step, "here": request.endpoint == PAGES[step], "page": url_for(PAGES[step])}}


@blueprint.get("")
def where() -> Any:
    """Say where the one-time address is found; lead on who is setting up."""
    step = _step()
    if step is not None:
        return go(url_for(PAGES[step]))
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
    return go(url_for("setup.look"))


@blueprint.get("/checks")
def look() -> Any:
    """What would not hold, before anything is set up."""
    service.require_open()
    if not service.check(session.get(TOKEN, "")):
        return go(url_for("setup.where"))
    settings = current().settings
    found = checks.run(settings, current().vault, exposed=plain_http_exposed())
    return page("setup/checks.html", checks=found, well=all(check.ok for check in found))


@blueprint.route("/admin", methods=["GET", "POST"])
@keeps_typed
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
        return _begin(form)
    except BadInput as error:
        return _ask(form, error.status, error)


def _begin(form: AdminForm) -> Any:
    settings, address = current().settings, login.address()
    password = Secret(form.password.data)
    someone = service.begin(settings, form.name.data, form.email.data, password, address)
    login.start(sessions.begin(someone.id, address, login.agent()))
    flash(f"You are signed in as {someone.email}.", "good")
    return go(url_for("encryption.show"))


def _ask(form: AdminForm, status: int = 200, problem: PanelError | None = None) -> Any:
    if isinstance(problem, BadInput) and problem.field in form._fields:
        form[problem.field].errors = [str(problem)]
        problem = None
    return page(
        "setup/admin.html", status=status, form=form, problem=problem, shortest=SHORTEST, longest=LONGEST
    )


# -- the steps that belong to that administrator -----------------------------------------


def _own_step() -> Step:
    """The step of the visitor's own set-up. Raises AlreadySetUp for every other administrator."""
    step = _step()
    if step is None:
        raise AlreadySetUp("Set-up is finished, or somebody else's.", "There is nothing to do here.")
    return step


@steps_blueprint.post("/later")
def later() -> Any:
    """Put off encryption, or the first mailbox, whichever it stands at."""
    step = _own_step()
    if step in (Step.ENCRYPTION, Step.MAILBOX):
        service.put_off(step)
    return go(url_for(PAGES[_own_step()]))


@steps_blueprint.get("/summary")
def summary() -> Any:
    """What was set up, and what to do next."""
    step = _own_step()
    if step is not Step.SUMMARY:
        return go(url_for(PAGES[step]))
    now = current().vault.latest()
    return page("setup/summary.html", now=now, lines=overview.page(current().vault, 1).lines)


@steps_blueprint.post("/finish")
def finish() -> Any:
    """Close set-up for ever."""
    _own_step()
    service.finish(current_user.email, login.address())
    flash("Mailkeep is set up.", "good")
    return go(url_for("home.show"))
