"""Editing a mailbox in the browser, and the connection test. More views are on this blueprint: `*_routes`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Response, flash, render_template, request, stream_template, stream_with_context

from panel.accounts import auth, overview, probe, rules, service
from panel.accounts.connect_routes import begin as connect
from panel.accounts.connect_routes import collecting
from panel.accounts.forms import EditForm, NewForm, ServerForm
from panel.accounts.service import Seen
from panel.errors import BadInput, EditedMeanwhile, NotFound, PanelError
from panel.mail.session import ProbeStep
from panel.models import Account, Endpoint
from panel.oauth import apps, connections
from panel.services import current
from panel.vault import credential
from panel.web.access import actor, allow, require_reauth
from panel.web.fields import show_on_field
from panel.web.form_tokens import out_of_date, preserve_form_input, refused
from panel.web.htmx import go, is_htmx, page

blueprint = Blueprint("accounts", __name__, url_prefix="/accounts")
allow(blueprint, read={"admin"}, write={"admin"})


# -- editing ---------------------------------------------------------------------------


@blueprint.get("/<uuid>/edit")
def edit(uuid: str) -> Any:
    """The settings of a mailbox, without the password."""
    return _edit_page(uuid)


@blueprint.post("/<uuid>/edit")
@preserve_form_input
def change(uuid: str) -> Any:
    form = _edit_form(uuid)
    if not form.validate_on_submit():
        return again(form)
    try:
        entered = auth.entered(*form.ways, form.entered_password)
        auth.require_encryption(entered, current().vault)
        auth.require_password_for(service.find(uuid)[1], entered)
        require_reauth()
        box, where = form.mailbox(), form.server(current().settings)
        seen = Seen(form.rev.data, form.seen.data or None)
        service.edit(current().vault, uuid, box, where, entered, seen, actor())
    except PanelError as error:
        return again(form, error)
    flash(f"{box.address} was changed.", "good")
    consent = connections.state_of(form.account.data) if form.by == "oauth" else None
    waits = consent is not None and consent.state == "needed"
    return connect(form.account.data) if waits else go(collecting(form.account.data))


def _edit_form(uuid: str) -> EditForm:
    """The submitted form of a stored mailbox. Raises NotFound."""
    account, _ = service.find(uuid)
    form = EditForm()
    form.account.data = account.uuid
    return form


def _edit_page(uuid: str, form: EditForm | None = None, status: int = 200, **context: Any) -> Response:
    account, endpoint = service.find(uuid)
    line = overview.line(current().vault, account.uuid)
    if line is None:
        raise NotFound("This mailbox was removed.", "Go back to the list of mailboxes.")
    forged = not credential.is_authentic(endpoint, current().vault)
    form = form or _stored_form(account, endpoint, forged)
    return page(
        "accounts/edit.html", status=status, form=form, line=line, forged=forged, **ways(),
        last_change=service.last_change(current().vault, endpoint),
        **{"problem": None, "stale": False, "steps": None} | context,
    )  # fmt: skip


def _stored_form(account: Account, endpoint: Endpoint, forged: bool) -> EditForm:
    """The stored settings; a server that may be forged is not filled in."""
    seen = Seen.of(endpoint)
    values = vars(service.mailbox_of(account)) | {
        "account": account.uuid,
        "rev": seen.rev,
        "seen": seen.place,
    }
    names = rules.SERVER_FIELDS
    values |= dict.fromkeys(names) if forged else {name: getattr(endpoint, name) for name in names}
    values |= {} if forged else auth.as_typed(endpoint, current().vault)
    return EditForm(formdata=None, data=values)


# -- the connection test -----------------------------------------------------------------


@blueprint.post("/test")
@preserve_form_input
def test() -> Any:
    """Test the server that was entered, step by step: as events for htmx, otherwise as a page that grows."""
    uuid, settings = request.form.get("account") or None, current().settings
    form = _edit_form(uuid) if uuid else NewForm()
    if not form.validate_on_submit():
        return again(form)
    try:
        require_reauth()
        rules.address_of(form.address.data)
        where, vault = form.server(settings), current().vault
        entered = auth.entered(*form.ways, form.entered_password)
        entered = None if uuid and form.by == "oauth" else entered  # the stored consent is tested
        found = [probe.source_for(where, entered, uuid, settings, vault)]
        if isinstance(form, NewForm) and (sending := form.sending_login(settings)):
            found.append(probe.entered_source(sending, settings))
        steps = probe.run(found, form.folder.data or "INBOX", settings, actor(), form.address.data)
    except PanelError as error:
        return again(form, error)
    if is_htmx():
        return live(steps, probe.plan(found), form)
    line = overview.line(current().vault, uuid) if uuid else None
    body = stream_template("accounts/test.html", steps=steps, form=form, line=line, **ways())
    return Response(body, mimetype="text/html")


def live(
    steps: Iterator[ProbeStep],
    plan: list[str],
    form: ServerForm | None = None,
    store: Callable[[], str] | None = None,
    submitted: str | None = None,
) -> Response:
    """The steps as server-sent events, each with the list of all steps: those done, and those pending.

    `store` follows a test that has passed; where to go on.
    """
    done: list[ProbeStep] = []

    def shown(*, running: bool, **more: Any) -> str:
        return _event(
            "accounts/_steps.html", steps=done, pending=plan[len(done) :], running=running, form=form, **more
        )

    def events() -> Iterator[str]:
        yield shown(running=True)
        for step in steps:
            done.append(step)
            yield shown(running=step.ok)
        if store is None:
            yield shown(running=False)
        elif not done[-1].ok:
            yield shown(running=False, force=submitted, live=True)
        else:
            try:
                yield shown(running=False, added=store())
            except PanelError as error:
                yield _event("accounts/_no_test.html", message=error.message, remedy=error.remedy, form=form)

    return Response(stream_with_context(events()), mimetype="text/event-stream")


def _event(template: str, **context: Any) -> str:
    html = render_template(template, **context)
    return "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"


# -- what is wrong -----------------------------------------------------------------------


def again(form: ServerForm, error: PanelError | None = None, force: str | None = None) -> Response:
    """What is wrong: for htmx beside the form, otherwise in the form, as it was typed, without passwords."""
    if is_htmx():
        return beside(error, form, force)
    status = error.status if error else 422
    if error is not None and error.field == "app":
        error.field = form.app_field.name
    problem = error and show_on_field(form, error)
    if isinstance(form, EditForm):
        stale = isinstance(error, EditedMeanwhile)
        return _edit_page(form.account.data, form, status=status, problem=problem, stale=stale)
    return new_page(form, status, problem=problem, force=force)


def new_page(form: ServerForm, status: int = 200, **context: Any) -> Response:
    context = {"problem": None, "steps": None, "force": None} | ways() | context
    return page("accounts/new.html", status=status, form=form, **context)


def ways() -> dict[str, Any]:
    """For forms: the apps to sign in through, by provider, and whether secrets may be kept outside."""
    return {"apps": apps.by_provider(), "secrets_dir": current().settings.secrets_dir}


def beside(error: PanelError | None, form: ServerForm | None = None, force: str | None = None) -> Response:
    """For htmx: what is wrong, in the place of a test's steps. Everything typed stays where it is."""
    errors = [] if error else [(field.id, field.errors[0]) for field in _wrong(form)]
    if error is None and (refused() or not errors):
        error = out_of_date() if refused() else BadInput("The form could not be read.", "Reload the page.")
    status = 422 if error is None or error.status >= 500 else error.status  # htmx swaps no 5xx
    return page(
        "accounts/_no_test.html", status=status, form=form, errors=errors,
        message=error and error.message, remedy=error and error.remedy, force=force, live=True,
    )  # fmt: skip


def _wrong(form: Any) -> Iterator[Any]:
    for field in form:
        if field.type == "FormField":
            yield from _wrong(field.form)
        elif field.errors and field.type not in ("CSRFTokenField", "HiddenField"):
            yield field
