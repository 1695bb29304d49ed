"""The page of the password by which a helpdesk sends as a mailbox."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, url_for

from panel.accounts import service as accounts
from panel.errors import PanelError
from panel.models import Account
from panel.services import current
from panel.submission import passwords
from panel.submission.forms import SubmissionForm
from panel.web.access import actor, allow, reauth_required, require_reauth
from panel.web.fields import show_on_field
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page

blueprint = Blueprint("submission", __name__, url_prefix="/accounts/<uuid>/submission")
allow(blueprint, read={"admin"}, write={"admin"})


@blueprint.get("")
def show(uuid: str) -> Any:
    """Where the helpdesk sends to, and from which addresses."""
    account, _ = accounts.find(uuid)
    stored = passwords.info(account.uuid)
    return _page(
        account, SubmissionForm(formdata=None, data={"aliases": " ".join(stored.aliases) if stored else ""})
    )


def _page(
    account: Account, form: SubmissionForm, status: int = 200, problem: PanelError | None = None
) -> Response:
    return page(
        "submission/show.html", status=status, account=account, form=form, problem=problem,
        bind=current().settings.submission_bind, sends=accounts.sending_of(account.uuid) is not None,
        stored=passwords.info(account.uuid),
    )  # fmt: skip


@blueprint.post("")
@preserve_form_input
def create(uuid: str) -> Any:
    """Make a new password and show it, once."""
    account, _ = accounts.find(uuid)
    form = SubmissionForm()
    if not form.validate_on_submit():
        return _page(account, form, 422)
    try:
        require_reauth()
        aliases = (form.aliases.data or "").split()
        secret = passwords.create(account.uuid, aliases, actor())
    except PanelError as error:
        return _page(account, form, error.status, show_on_field(form, error))
    return page(
        "submission/created.html", account=account, password=secret.reveal(),
        bind=current().settings.submission_bind, stored=passwords.info(account.uuid),
    )  # fmt: skip


@blueprint.post("/remove")
@reauth_required
def remove(uuid: str) -> Any:
    account, _ = accounts.find(uuid)
    passwords.remove(account.uuid, actor())
    flash(f"No helpdesk can send as {account.address} any more.", "good")
    return go(url_for(".show", uuid=account.uuid))
