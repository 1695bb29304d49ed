"""Mail accounts in the browser."""

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
from wtforms import HiddenField

from panel.accounts import overview, probe, rules, service
from panel.accounts import suggest as suggestions
from panel.accounts.forms import EditForm, MailboxForm, NewForm, ServerForm
from panel.accounts.service import Seen
from panel.errors import BadInput, EditedMeanwhile, NotFound, PanelError, PasswordNeeded
from panel.mail.server import MailServer
from panel.mail.steps import Step
from panel.models import Account, Endpoint, Skipped
from panel.secret import Secret
from panel.services import current
from panel.sign_in.login import actor, require_reauth
from panel.vault import credential
from panel.vault.credential import Credential
from panel.web.access import allow, reauth_required, recently_authenticated
from panel.web.form_tokens import keeps_typed, out_of_date, refused
from panel.web.htmx import go, is_htmx, page

blueprint = Blueprint("accounts", __name__, url_prefix="/accounts")
allow(blueprint, read={"admin"}, write={"admin"})


def _collect_soon(uuid: str) -> None:
    current_app.extensions["mailkeep.jobs"].collect(uuid)


@blueprint.get("")
def show() -> Any:
    """The list: is mail coming in, and what is wrong where it is not."""
    found = overview.page(current().vault, request.args.get("page", 1, type=int))
    return page("accounts/list.html", fragment="accounts/_list.html", found=found)


# -- adding and changing ---------------------------------------------------------


@blueprint.get("/new")
def new() -> Any:
    """An empty form."""
    return _new_page(NewForm(formdata=None))


@blueprint.post("/new")
@keeps_typed
def add() -> Any:
    """Store a new account and have its mail collected."""
    form = NewForm()
    if not form.validate_on_submit():
        return _again(form)
    try:
        require_reauth(form.own_password.data)
        box, password = _mailbox(form), _password(form) or Secret("")
        uuid = service.add(box, _server(form), password, form.begin.data, actor(), _sending(form, password))
    except PanelError as error:
        return _again(form, error)
    _collect_soon(uuid)
    flash(f"{box.address} was added. The list says when its mail was last collected.", "good")
    return go(url_for(".show"))


def _new_page(form: ServerForm, status: int = 200, problem: PanelError | None = None) -> Response:
    return page(
        "accounts/new.html", status=status, form=form, problem=problem, ask_own=not recently_authenticated()
    )


@blueprint.get("/<uuid>")
def edit(uuid: str) -> Any:
    """An account's settings, without its password; and its health."""
    account, endpoint, sending = service.find_servers(uuid)
    authentic = credential.is_authentic(endpoint, current().vault)
    form = EditForm(formdata=None, data=_stored(endpoint, account, authentic))
    return _edit_page(endpoint, sending, form, authentic)


@blueprint.post("/<uuid>")
@keeps_typed
def change(uuid: str) -> Any:
    """Store what was changed."""
    form = _edit_form(uuid)
    if not form.validate_on_submit():
        return _again(form)
    try:
        require_reauth(form.own_password.data)
        box = _mailbox(form)
        seen = Seen(form.rev.data, form.seen.data or None)
        service.edit(uuid, box, _server(form), _password(form), seen, actor())
    except PanelError as error:
        return _again(form, error)
    _collect_soon(form.account.data)
    flash(f"{box.address} was changed.", "good")
    return go(url_for(".show"))


def _edit_form(uuid: str) -> EditForm:
    """What was sent for an account that is there. Raises NotFound."""
    account, _ = service.find(uuid)
    form = EditForm()
    form.account.data = account.uuid
    return form


def _stored(endpoint: Endpoint, account: Account, authentic: bool) -> dict[str, Any]:
    """What the form begins with: not the server, where its record does not open and it may be forged."""
    values: dict[str, Any] = {
        "address": account.address,
        "folder": account.folder,
        "interval": account.interval,
        "on_server": account.on_server,
        "move_to": account.move_to,
    }
    values |= {
        "account": account.uuid,
        "rev": endpoint.rev if isinstance(endpoint.rev, int) else None,
        "seen": endpoint.place.digest,
    }
    if authentic:
        names = ("protocol", "host", "port", "security", "username")
        values |= {name: getattr(endpoint, name) for name in names}
    else:
        values |= {"protocol": None, "port": None, "security": None}
    return values


def _again(form: ServerForm, error: PanelError | None = None) -> Response:
    """The form as it was typed, without the passwords, and what is wrong with it."""
    status = error.status if error else 422
    problem = _on_field(form, error) if error else None
    if isinstance(form, EditForm):
        _, endpoint, sending = service.find_servers(form.account.data)
        authentic = credential.is_authentic(endpoint, current().vault)
        stale = isinstance(error, EditedMeanwhile)
        return _edit_page(endpoint, sending, form, authentic, status, problem, stale)
    return _new_page(form, status, problem)


def _edit_page(
    endpoint: Endpoint,
    sending: Endpoint | None,
    form: ServerForm,
    authentic: bool,
    status: int = 200,
    problem: PanelError | None = None,
    stale: bool = False,
) -> Response:
    uuid = endpoint.account_id
    line = overview.line(current().vault, uuid)
    if line is None:
        raise NotFound("This account was removed meanwhile.", "Go back to the list of accounts.")
    skipped = Skipped.select().where(Skipped.account == uuid).order_by(Skipped.at.desc()).limit(100)
    return page(
        "accounts/edit.html",
        status=status,
        form=form,
        problem=problem,
        stale=stale,
        line=line,
        forged=not authentic,
        skipped=list(skipped) if line.skipped else [],
        sending=sending,
        last_change=service.last_change(endpoint),
        ask_own=not recently_authenticated(),
    )


def _mailbox(form: MailboxForm) -> rules.Mailbox:
    names = ("address", "folder", "interval", "on_server", "move_to")
    return rules.mailbox(*(form[name].data for name in names))


def _sending(form: NewForm, password: Secret) -> Credential | None:
    """The server to send through, if one is wanted; with the same password, or the one typed for it."""
    if not form.sends.data:
        return None
    typed = form.sending.form
    user = typed.username.data or form.user
    try:
        where = rules.server(
            current().settings, "smtp", typed.host.data, typed.port.data, typed.security.data, user
        )
        other = password if form.same_password.data else Secret(typed.password.data or "")
        rules.require_password(other)
    except BadInput as error:
        error.field = f"sending-{error.field}" if error.field else None
        raise
    return Credential(where, other)


def _server(form: ServerForm) -> MailServer:
    f = form
    return rules.server(
        current().settings, f.protocol.data, f.host.data, f.port.data, f.security.data, f.user
    )


def _password(form: ServerForm) -> Secret | None:
    return Secret(form.password.data) if form.password.data else None


def _on_field(form: ServerForm, error: PanelError) -> PanelError | None:
    """Put the error beside the field that it is about; the error itself where there is none."""
    name = "password" if isinstance(error, PasswordNeeded) else getattr(error, "field", None) or ""
    fields: Any = form
    if name.startswith("sending-") and isinstance(form, NewForm):
        fields, name = form.sending.form, name.removeprefix("sending-")
    if name not in fields or isinstance(fields[name], HiddenField):
        return error
    fields[name].errors = [str(error)]
    return None


@blueprint.post("/suggest")
@keeps_typed
def suggest() -> Any:
    """Fill in the servers of the address that was typed, where anybody knows them. Saves nothing."""
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
        ask_own=not recently_authenticated(), problem=None,
    )  # fmt: skip


def _fill(form: NewForm, found: suggestions.Suggestion) -> None:
    for fields, where in ((form, found.incoming), (form.sending.form, found.outgoing)):
        for name in ("protocol", "host", "port", "security", "username") if where else ():
            if name in fields:
                fields[name].process_data(getattr(where, name))


# -- pausing and removing ------------------------------------------------------------


@blueprint.post("/<uuid>/pause")
def pause(uuid: str) -> Any:
    """Stop collecting for a while."""
    service.pause(uuid, actor())
    return _back()


@blueprint.post("/<uuid>/resume")
def resume(uuid: str) -> Any:
    """Collect again."""
    account, _ = service.find(uuid)
    service.resume(account.uuid, actor())
    _collect_soon(account.uuid)
    return _back()


def _back() -> Response:
    """The page of the list that the button stood on."""
    return go(url_for(".show", page=request.form.get("page", type=int)))


@blueprint.get("/<uuid>/remove")
def ask_remove(uuid: str) -> Any:
    """Ask before an account goes."""
    account = service.find_account(uuid)
    return page("accounts/remove.html", account=account, spool=current().settings.mail_spool / account.uuid)


@blueprint.post("/<uuid>/remove")
@reauth_required
def remove(uuid: str) -> Any:
    """Forget the account and its password."""
    account = service.find_account(uuid)
    service.remove(uuid, actor())
    flash(f"{account.address} was removed. Mail that was delivered stays.", "good")
    return go(url_for(".show"))


# -- the live test -------------------------------------------------------------------


@blueprint.post("/test")
@keeps_typed
def test() -> Any:
    """Try the typed server out: steps as they happen, by htmx as events, else as a page that grows."""
    uuid = request.form.get("account") or None
    form = _edit_form(uuid) if uuid else NewForm()
    if not form.validate_on_submit():
        return _no_test(form)
    try:
        require_reauth(form.own_password.data)
        rules.address_of(form.address.data)
        found = [probe.credential_for(_server(form), _password(form), uuid, current().vault)]
        if isinstance(form, NewForm) and (sending := _sending(form, found[0].secret)):
            found.append(sending)
        steps = probe.run(found, form.folder.data or "INBOX", current().settings, actor(), form.address.data)
    except PanelError as error:
        return _no_test(form, error)
    if is_htmx():
        return Response(stream_with_context(_events(steps, probe.plan(found))), mimetype="text/event-stream")
    return Response(stream_template("accounts/test.html", steps=steps, form=form), mimetype="text/html")


def _no_test(form: ServerForm, error: PanelError | None = None) -> Response:
    """Why there was no test: in the form's own place for the steps, else at the top of the form."""
    if not is_htmx():
        return _again(form, error)
    if error is None:
        first = next(iter(form.errors.values()))[0]
        error = out_of_date() if refused() else BadInput(first, "Then test again.")
    ask_own = not recently_authenticated() and "own_password" not in request.form
    return page("accounts/_no_test.html", status=error.status, message=error.message, remedy=error.remedy,
                form=form, ask_own=ask_own)  # fmt: skip


def _events(steps: Iterator[Step], plan: list[str]) -> Iterator[str]:
    """Server-sent events, each with the list of all steps: those done, and those to come."""
    done: list[Step] = []
    yield _event(render_template("accounts/_steps.html", steps=done, to_come=plan, running=True))
    for step in steps:
        done.append(step)
        to_come = plan[len(done) :]
        yield _event(render_template("accounts/_steps.html", steps=done, to_come=to_come, running=step.ok))
    to_come = plan[len(done) :]
    yield _event(render_template("accounts/_steps.html", steps=done, to_come=to_come, running=False))


def _event(html: str) -> str:
    return "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"
