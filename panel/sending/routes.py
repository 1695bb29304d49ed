"""The page of the server that a mailbox sends through."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, stream_template, url_for

from panel.accounts import auth, rules
from panel.accounts import service as accounts
from panel.accounts.service import Seen
from panel.errors import EditedMeanwhile, PanelError
from panel.mail.server import MailServer
from panel.models import Account, Endpoint
from panel.models.endpoint import CONSENT
from panel.oauth import apps, connections
from panel.sending import service
from panel.sending.forms import SendingForm
from panel.services import current
from panel.vault import credential
from panel.web.access import actor, allow, reauth_required, require_reauth
from panel.web.fields import show_on_field
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page

blueprint = Blueprint("sending", __name__, url_prefix="/accounts/<uuid>/sending")
allow(blueprint, read={"admin"}, write={"admin"})


@blueprint.get("")
def show(uuid: str) -> Any:
    """The form, without the password."""
    account, incoming, endpoint = accounts.find_servers(uuid)
    data = _stored(endpoint) if endpoint is not None else _usual(incoming)
    return _page(account, endpoint, SendingForm(formdata=None, data=data))


def _usual(incoming: Endpoint) -> dict[str, Any]:
    """Where a mailbox signs in at its provider, it can send so too: with the same consent."""
    values: dict[str, Any] = auth.as_typed(incoming, current().vault) if incoming.kind == CONSENT else {}
    if "app" not in values:
        return {}
    consent = connections.state_of(str(incoming.account_id))
    known = rules.KNOWN.get(consent.provider) if consent else None
    server = dict(zip(("host", "port", "security"), known.server("smtp"), strict=True)) if known else {}
    return values | server


def _stored(endpoint: Endpoint) -> dict[str, Any]:
    """The form's initial values; without the server where its record is not authentic."""
    seen = Seen.of(endpoint)
    values: dict[str, Any] = {"rev": seen.rev, "seen": seen.place}
    values |= auth.as_typed(endpoint, current().vault)
    if _is_forged(endpoint):
        return values | {"port": None, "security": None}
    return values | {name: getattr(endpoint, name) for name in ("host", "port", "security", "username")}


def _is_forged(endpoint: Endpoint | None) -> bool:
    return endpoint is not None and not credential.is_authentic(endpoint, current().vault)


def _page(
    account: Account,
    endpoint: Endpoint | None,
    form: SendingForm,
    status: int = 200,
    problem: PanelError | None = None,
) -> Response:
    return page(
        "sending/edit.html", status=status, account=account, endpoint=endpoint, form=form, problem=problem,
        forged=_is_forged(endpoint),
        last_change=accounts.last_change(current().vault, endpoint) if endpoint else None,
        stale=isinstance(problem, EditedMeanwhile),
        apps=apps.by_provider(), secrets_dir=current().settings.secrets_dir,
    )  # fmt: skip


@blueprint.post("")
@preserve_form_input
def store(uuid: str) -> Any:
    account, _ = accounts.find(uuid)
    form = SendingForm()
    if not form.validate_on_submit():
        return _invalid(account, form)
    try:
        vault, entered = current().vault, auth.entered(*form.ways, form.entered_password)
        auth.require_encryption(entered, vault)
        auth.require_password_for(accounts.sending_of(account.uuid), entered)
        require_reauth()
        seen = Seen(form.rev.data, form.seen.data or None)
        service.store(vault, account.uuid, _server(form, account), entered, seen, actor())
    except PanelError as error:
        return _invalid(account, form, error)
    if form.by == "oauth":  # its page offers to connect it, where that is needed
        flash(f"The server that {account.address} sends through was saved.", "good")
        return go(url_for("accounts.mailbox", uuid=account.uuid))
    flash(f"{account.address} sends through {form.host.data} now.", "good")
    return go(url_for("sending.show", uuid=account.uuid))


def _invalid(account: Account, form: SendingForm, error: PanelError | None = None) -> Response:
    """The form as it was typed, without the password, with what is wrong."""
    status, endpoint = error.status if error else 422, accounts.sending_of(account.uuid)
    return _page(account, endpoint, form, status, error and show_on_field(form, error))


def _server(form: SendingForm, account: Account) -> MailServer:
    user = form.username.data or account.address
    return rules.server(current().settings, "smtp", form.host.data, form.port.data, form.security.data, user)


@blueprint.post("/remove")
@reauth_required
def remove(uuid: str) -> Any:
    account, _ = accounts.find(uuid)
    service.remove(account.uuid, actor())
    flash(f"{account.address} no longer sends mail.", "good")
    return go(url_for("accounts.mailbox", uuid=account.uuid))


@blueprint.post("/test")
@reauth_required
def test(uuid: str) -> Any:
    """Log in and send a message to the mailbox's own address; the page shows each step as it happens."""
    account, _ = accounts.find(uuid)
    steps = service.send_test(account.uuid, current().settings, current().vault, actor())
    page_ = stream_template("sending/test.html", steps=steps, account=account)
    return Response(page_, mimetype="text/html")
