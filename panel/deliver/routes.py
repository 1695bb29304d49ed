"""Server > Delivery, and the page of a mailbox's delivery."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, request, url_for

from panel.deliver import mailboxes, status
from panel.deliver.forms import TargetForm
from panel.errors import PanelError
from panel.models import Account
from panel.services import current
from panel.web.access import actor, allow, reauth_required, require_reauth
from panel.web.fields import show_on_field
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page

blueprint = Blueprint("delivery", __name__, url_prefix="/server/delivery")
mailbox_blueprint = Blueprint("mailbox_delivery", __name__, url_prefix="/accounts/<uuid>/delivery")
allow(blueprint, read={"admin"}, write={"admin"})
allow(mailbox_blueprint, read={"admin"}, write={"admin"})


@blueprint.get("")
def show() -> Response:
    """The targets and how they are doing; with `test`, what came of a sample message."""
    settings, tested = current().settings, request.args.get("test", "")
    result = mailboxes.sample_result(settings, tested) if tested.isalnum() and len(tested) == 32 else None
    found = status.outgoing(settings, reported_waiting=True)
    return page(
        "deliver/targets.html", found=found, tested=tested, result=result,
        name=request.args.get("name", "")[:32], file=settings.targets_file,
    )  # fmt: skip


@blueprint.post("/<name>/test")
@reauth_required
def test(name: str) -> Any:
    """Have the deliverer send a sample message to the target; the page then shows its answer."""
    requested = mailboxes.request_sample(current().settings, name, actor())
    return go(url_for("delivery.show", test=requested, name=name))


@mailbox_blueprint.get("")
def mailbox(uuid: str) -> Response:
    """Where its mail goes out to, and how that is going."""
    account = mailboxes.find(uuid)
    return _page(account, TargetForm(formdata=None, data={"deliver_to": account.deliver_to}))


def _page(
    account: Account, form: TargetForm, status_: int = 200, problem: PanelError | None = None
) -> Response:
    settings = current().settings
    found, _ = status.read_targets(settings)
    names = dict.fromkeys(["maildir", *found.by_name, *([account.deliver_to] if account.deliver_to else [])])
    form.deliver_to.choices = [("", f"The default ({found.default})"), *((name, name) for name in names)]
    out = status.mailbox(settings, account.uuid, account.deliver_to)
    return page(
        "deliver/mailbox.html", status=status_, account=account, form=form, out=out, problem=problem,
        subjects=mailboxes.subjects(account.uuid, [each.name for each in out.aside]),
    )  # fmt: skip


@mailbox_blueprint.post("")
@preserve_form_input
def choose(uuid: str) -> Any:
    account, form = mailboxes.find(uuid), TargetForm()
    form.deliver_to.choices = []
    if not form.validate_on_submit():
        return _page(account, form, 422)
    try:
        require_reauth()
        mailboxes.choose(current().settings, account.uuid, form.deliver_to.data or "", actor())
    except PanelError as error:
        return _page(account, form, error.status, show_on_field(form, error))
    flash(
        f"Mail of {account.address} goes out to {form.deliver_to.data or 'the default target'} now.", "good"
    )
    return go(url_for("mailbox_delivery.mailbox", uuid=account.uuid))


@mailbox_blueprint.post("/again")
@reauth_required
def again(uuid: str) -> Any:
    """Deliver what was set aside once more."""
    account = mailboxes.find(uuid)
    count = mailboxes.again(current().settings, account.uuid, 0, only_aside=True, actor=actor())
    flash(f"{count} {'message is' if count == 1 else 'messages are'} delivered again.", "good")
    return go(url_for("mailbox_delivery.mailbox", uuid=account.uuid))
