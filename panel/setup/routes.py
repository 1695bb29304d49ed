"""/setup: the first administrator is created with the one-time token, then guided through the other steps.

Encryption and the first mailbox are set up on their own pages, without the navigation: a frame around them
shows the steps, and where one is done, its page leads on to the next. The last one is the overview.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, request, session, url_for
from flask_login import current_user

from panel.errors import AlreadySetUp, BadInput, NotFound, PanelError
from panel.models import LISTED, Account, SetupState
from panel.oauth import connections
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
from panel.web.htmx import go, is_htmx, page

blueprint = Blueprint("setup", __name__, url_prefix="/setup")
steps_blueprint = Blueprint("setup_steps", __name__, url_prefix="/setup")
allow(blueprint, read={ANYBODY}, write={ANYBODY})
allow(steps_blueprint, read={"admin"}, write={"admin"})

TOKEN = "setup"  # noqa: S105 - the name of the cookie's entry
PAGES = {Step.ENCRYPTION: "encryption.show", Step.MAILBOX: "accounts.new", Step.FINISH: "home.show"}
# Where the pages of the steps lead once they are done.
ENDS = ("encryption.show", "accounts.show", "accounts.mailbox", "home.show")


def _step() -> Step | None:
    """The current step of the visitor's own setup."""
    row = one_rows().of(SetupState) if current_user.is_authenticated else None
    return service.step_of(current_user.id, current().vault, row) if row else None


@blueprint.app_context_processor
def set_up_frame() -> dict[str, Any]:
    """For the frame on every page of the administrator who is setting up."""
    step = _step()
    if step is None:
        return {"set_up": None, "set_up_steps": Step}
    here = request.endpoint is not None and request.blueprint == PAGES[step].split(".")[0]
    return {"set_up": {"step": step, "here": here, "page": url_for(PAGES[step])}, "set_up_steps": Step}


@blueprint.before_app_request
def lead_on() -> Any:
    """From the page of a step that is done to the next step; after the last one setup is closed."""
    if request.method != "GET" or is_htmx() or request.endpoint not in ENDS:
        return None
    step = _step()
    if step is Step.FINISH:
        service.finish(current_user.email, login.address())
        flash(_finished(), "good")
        return go(url_for("home.show"))
    if step is Step.MAILBOX and request.endpoint == PAGES[Step.ENCRYPTION]:
        return go(url_for(PAGES[step]))
    return None


def _finished() -> str:
    first = Account.select().where(LISTED).order_by(Account.created_at).first()
    if first is None:
        return "Mailkeep is set up. No mailboxes yet: add the first one to collect mail."
    consent = connections.state_of(first.uuid)
    if consent is not None and consent.state != "ok":
        return f"Mailkeep is set up. {first.address} is not connected yet: open it under Mailboxes."
    return f"Mailkeep is set up. Mail of {first.address} is collected now and shown here."


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
            "This setup address is wrong.",
            "Copy the whole address from the server's log, or the token from the file setup-token "
            "in the data directory.",
        )
    session.clear()
    session[TOKEN] = token
    return go(url_for("setup.check"))


@blueprint.get("/checks")
def check() -> Any:
    """Check whether this server is ready, and go on if it is."""
    service.require_open()
    if not service.check(session.get(TOKEN, "")):
        return go(url_for("setup.where"))
    found = checks.run(current().settings, current().vault, exposed=plain_http_exposed())
    if all(each.ok for each in found):
        return go(url_for("setup.admin"))
    return page("setup/checks.html", checks=found)


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
    return go(url_for("encryption.show"))


def _admin_page(form: AdminForm, status: int = 200, problem: PanelError | None = None) -> Any:
    return page(
        "setup/admin.html", status=status, form=form, problem=problem, shortest=SHORTEST, longest=LONGEST
    )


@steps_blueprint.post("/later")
def later() -> Any:
    """Leave the current step, encryption or the first mailbox, for later."""
    step = _step()
    if step is None:
        raise AlreadySetUp("Setup is finished, or another administrator is doing it.")
    if step is not Step.FINISH:
        service.skip(step)
    next_step = service.step_of(current_user.id, current().vault) or Step.FINISH
    return go(url_for(PAGES[next_step]))
