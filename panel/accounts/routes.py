"""One mailbox in the browser. The list of them is `list_routes`, on the same blueprint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    flash,
    render_template,
    request,
    stream_template,
    stream_with_context,
    url_for,
)  # fmt: skip

from panel.accounts import overview, probe, rules, service
from panel.accounts import suggest as suggestions
from panel.accounts.forms import EditForm, NewForm, ServerForm
from panel.accounts.service import Seen
from panel.errors import BadInput, EditedMeanwhile, NotFound, PanelError
from panel.mail.session import ProbeStep
from panel.models import Account, Endpoint, Skipped
from panel.secret import Secret
from panel.services import current
from panel.vault import credential
from panel.web.access import actor, allow, require_reauth
from panel.web.fields import show_on_field
from panel.web.form_tokens import out_of_date, preserve_form_input, refused
from panel.web.htmx import go, is_htmx, page

blueprint = Blueprint("accounts", __name__, url_prefix="/accounts")
allow(blueprint, read={"admin"}, write={"admin"})


def _collect_soon(uuid: str) -> None:
    current_app.extensions["mailkeep.jobs"].collect(uuid)


# -- adding and changing ---------------------------------------------------------


@blueprint.get("/new")
def new() -> Any:
    """An empty form."""
    return _new_page(NewForm(formdata=None))


@blueprint.post("/new")
@preserve_form_input
def add() -> Any:
    """Store a new mailbox and collect its mail."""
    form, settings = NewForm(), current().settings
    if not form.validate_on_submit():
        return _again(form)
    try:
        require_reauth()
        box, where, password = form.mailbox(), form.server(settings), form.entered_password or Secret("")
        uuid = service.add(
            current().vault, box, where, password, form.begin.data, actor(), form.sending_credential(settings)
        )
    except PanelError as error:
        return _again(form, error)
    _collect_soon(uuid)
    flash(f"{box.address} was added. The list shows when its mail was last collected.", "good")
    return go(url_for(".show"))


def _new_page(form: ServerForm, status: int = 200, **context: Any) -> Response:
    context.setdefault("problem", None)
    return page("accounts/new.html", status=status, form=form, **context)


@blueprint.get("/<uuid>")
def edit(uuid: str) -> Any:
    """A mailbox: its status, and its settings without the password."""
    return _edit_page(uuid)


@blueprint.post("/<uuid>")
@preserve_form_input
def change(uuid: str) -> Any:
    """Store the changed settings."""
    form = _edit_form(uuid)
    if not form.validate_on_submit():
        return _again(form)
    try:
        require_reauth()
        box, where = form.mailbox(), form.server(current().settings)
        seen = Seen(form.rev.data, form.seen.data or None)
        service.edit(current().vault, uuid, box, where, form.entered_password, seen, actor())
    except PanelError as error:
        return _again(form, error)
    _collect_soon(form.account.data)
    flash(f"{box.address} was changed.", "good")
    return go(url_for(".show"))


def _edit_form(uuid: str) -> EditForm:
    """The submitted form of a stored mailbox. Raises NotFound."""
    account, _ = service.find(uuid)
    form = EditForm()
    form.account.data = account.uuid
    return form


def _again(form: ServerForm, error: PanelError | None = None) -> Response:
    """The form as it was submitted, without the passwords, and what is wrong with it."""
    status = error.status if error else 422
    problem = error and show_on_field(form, error)
    if isinstance(form, EditForm):
        stale = isinstance(error, EditedMeanwhile)
        return _edit_page(form.account.data, form, status=status, problem=problem, stale=stale)
    return _new_page(form, status, problem=problem)


def _edit_page(uuid: str, form: EditForm | None = None, status: int = 200, **context: Any) -> Response:
    account, endpoint, sending = service.find_servers(uuid)
    line = overview.line(current().vault, account.uuid)
    if line is None:
        raise NotFound("This mailbox was removed meanwhile.", "Go back to the list of mailboxes.")
    forged = not credential.is_authentic(endpoint, current().vault)
    form = form or _stored_form(account, endpoint, forged)
    skipped = Skipped.select().where(Skipped.account == account.uuid).order_by(Skipped.at.desc()).limit(100)
    return page(
        "accounts/edit.html", status=status, form=form, line=line, forged=forged, sending=sending,
        skipped=list(skipped) if line.skipped else [],
        last_change=service.last_change(current().vault, endpoint),
        **{"problem": None, "stale": False} | context,
    )  # fmt: skip


def _stored_form(account: Account, endpoint: Endpoint, forged: bool) -> EditForm:
    """The stored settings; a server that may be forged is not filled in."""
    seen = Seen.of(endpoint)
    rev = seen.rev if isinstance(seen.rev, int) else None  # SQL may have stored any type
    values = vars(service.mailbox_of(account)) | {"account": account.uuid, "rev": rev, "seen": seen.place}
    names = rules.SERVER_FIELDS
    values |= dict.fromkeys(names) if forged else {name: getattr(endpoint, name) for name in names}
    return EditForm(formdata=None, data=values)


@blueprint.post("/suggest")
@preserve_form_input
def suggest() -> Any:
    """Fill in the servers for the address, if they can be found. Saves nothing."""
    form = NewForm()
    if refused() and not is_htmx():
        return _again(form, out_of_date())
    try:
        if refused():
            raise out_of_date()
        found = suggestions.suggest(rules.address_of(form.address.data or ""), current().settings, actor())
    except PanelError as error:
        found = suggestions.Suggestion(f"{error.message} {error.remedy}")
    _fill(form, found)
    return page(
        "accounts/new.html", fragment="accounts/_suggested.html", form=form, suggestion=found,
        problem=None,
    )  # fmt: skip


def _fill(form: NewForm, found: suggestions.Suggestion) -> None:
    for fields, where in ((form, found.incoming), (form.sending.form, found.outgoing)):
        for name in rules.SERVER_FIELDS if where else ():
            if name in fields:
                fields[name].process_data(getattr(where, name))


# -- the connection test -------------------------------------------------------------


@blueprint.post("/test")
@preserve_form_input
def test() -> Any:
    """Test the server that was entered, step by step: as events for htmx, otherwise as a page that grows."""
    uuid, settings = request.form.get("account") or None, current().settings
    form = _edit_form(uuid) if uuid else NewForm()
    if not form.validate_on_submit():
        return _no_test(form)
    try:
        require_reauth()
        rules.address_of(form.address.data)
        where, vault = form.server(settings), current().vault
        found = [probe.credential_for(where, form.entered_password, uuid, vault)]
        if isinstance(form, NewForm) and (sending := form.sending_credential(settings)):
            found.append(sending)
        steps = probe.run(found, form.folder.data or "INBOX", settings, actor(), form.address.data)
    except PanelError as error:
        return _no_test(form, error)
    if is_htmx():
        return Response(stream_with_context(_events(steps, probe.plan(found))), mimetype="text/event-stream")
    return Response(stream_template("accounts/test.html", steps=steps, form=form), mimetype="text/html")


def _no_test(form: ServerForm, error: PanelError | None = None) -> Response:
    """Why there was no test: for htmx in the place of the steps, otherwise at the top of the form."""
    if not is_htmx():
        return _again(form, error)
    if error is None:
        first = next(iter(form.errors.values()))[0]
        error = out_of_date() if refused() else BadInput(first, "Then test again.")
    return page("accounts/_no_test.html", status=error.status, message=error.message, remedy=error.remedy)


def _events(steps: Iterator[ProbeStep], plan: list[str]) -> Iterator[str]:
    """Server-sent events, each with the list of all steps: those done, and those pending."""
    done: list[ProbeStep] = []
    yield _steps_event(done, plan, running=True)
    for step in steps:
        done.append(step)
        yield _steps_event(done, plan, running=step.ok)
    yield _steps_event(done, plan, running=False)


def _steps_event(done: list[ProbeStep], plan: list[str], *, running: bool) -> str:
    pending = plan[len(done) :]
    html = render_template("accounts/_steps.html", steps=done, pending=pending, running=running)
    return "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"
