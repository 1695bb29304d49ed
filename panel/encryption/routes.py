"""Server > Encryption in the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, current_app, flash, request, session, url_for
from flask_login import current_user

from panel.encryption.forms import EnableForm, ProofForm
from panel.encryption.leftovers import changed, scan
from panel.errors import PanelError, Refused
from panel.services import current
from panel.sign_in.login import require_reauth
from panel.vault import backup_proof, reports, rotation, snapshot, turn_off, turn_on
from panel.vault.files import typed
from panel.vault.state import State
from panel.web.access import actor, allow, reauth_required, recently_authenticated
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page

blueprint = Blueprint("encryption", __name__, url_prefix="/server/encryption")
allow(blueprint, read={"admin", "agent"}, write={"admin"})
NONCE = "key-backup-nonce"


@blueprint.app_context_processor
def key_trouble() -> dict[str, Any]:
    """For the banners of every page: the key is no use, records do not open, encryption is off, or
    nobody has proved the key's backup."""
    if getattr(current_user, "role", "") not in ("admin", "agent"):
        return {"key_trouble": None, "encryption_off": False, "backup_due": False}
    now = snapshot.look(current().keystore)
    trouble = now.state.no_key or now.state is State.INCONSISTENT
    admin = current_user.role == "admin"
    return {
        "key_trouble": now if trouble else None,
        "encryption_off": admin and now.state is State.OFF,
        "backup_due": admin and now.backup_due,
    }


def _render(status: int = 200, **context: Any) -> Any:
    """The page in the state of this moment; one fragment replaces itself while work is going on."""
    keystore = current().keystore
    admin = current_user.role == "admin"
    now = snapshot.look(keystore)
    context.setdefault("enable_form", EnableForm(formdata=None))
    context.setdefault("proof_form", ProofForm(formdata=None))
    if admin and now.state in (State.ON, State.ROTATING, State.INCONSISTENT):
        context.setdefault("challenge", turn_off.challenge(keystore))
        session.setdefault(NONCE, backup_proof.nonce())
    settings = current().settings
    return page(
        "encryption/page.html",
        fragment="encryption/_state.html",
        status=status,
        now=now,
        admin=admin,
        nonce=session.get(NONCE),
        ask_own=admin and not recently_authenticated(),
        preview=rotation.preview(now),
        found=reports.last(),
        looking=reports.pending() is not None,
        boxes=changed.since(now.enabled_at) if admin else changed.Checklist(),
        keystore=keystore if admin else None,
        typed=typed,
        contact=settings.contact,
        unproved=admin and now.backup_due,
        **context,
    )


@blueprint.get("")
def show() -> Any:
    """What state the key is in and what can be done."""
    return _render()


@blueprint.post("/enable")
@preserve_form_input
def enable() -> Any:
    """Generate the key file and begin to encrypt, once both boxes are confirmed."""
    form = EnableForm()
    if not form.validate_on_submit():
        return _render(422, enable_form=form)
    try:
        require_reauth(form.own_password.data)
    except PanelError as error:
        form.own_password.errors = [str(error)]
        return _render(error.status, enable_form=form)

    def step() -> None:
        if not turn_on.enable(current().keystore, actor()):
            flash("Encryption was turned on already: nothing more was changed.", "good")

    return _act(step)


@blueprint.post("/rotate")
@reauth_required
def rotate() -> Any:
    """Make a new key and begin to move every password to it. Takes the fingerprint that was shown."""
    shown = request.form.get("replaces", "")

    def step() -> None:
        if not rotation.rotate(current().keystore, actor(), shown):
            flash("That key was changed already: nothing more was changed.", "good")

    return _act(step)


@blueprint.post("/disable")
@reauth_required
def disable() -> Any:
    """Begin to write the passwords back in clear, once the marker file proves access to the server."""
    return _act(lambda: turn_off.disable(current().keystore, actor()))


@blueprint.post("/cancel")
@reauth_required
def cancel() -> Any:
    """Stop turning off, and seal again."""
    return _act(lambda: turn_off.cancel(current().keystore, actor()))


@blueprint.post("/resume")
@reauth_required
def resume() -> Any:
    """Have the worker go on with what is under way."""
    return _act(lambda: None)  # waking the worker is all there is to it


@blueprint.post("/verify")
@reauth_required
def verify() -> Any:
    """Open every stored password once and tell which do not open."""

    def step() -> None:
        verdict = turn_on.verify(current().keystore)
        if not verdict.failures:
            count = verdict.opened
            flash(f"All {count} passwords opened." if count else "No password is stored yet.", "good")
        if verdict.unattested:
            flash(
                f"Passwords found in clear, not entered here: {len(verdict.unattested)}. Activity names them."
                " Enter server and password of each of them again.",
                "warn",
            )

    return _act(step)


@blueprint.post("/scan")
@reauth_required
def scan_again() -> Any:
    """Have the worker look for old copies once more."""
    return _act(lambda: scan.again(current().keystore))


@blueprint.post("/backup")
@preserve_form_input
@reauth_required
def backup() -> Any:
    """Take the answer that proves the backup of the key file."""
    form = ProofForm()
    if not form.validate_on_submit():
        return _render(422, proof_form=form)
    given = session.get(NONCE)
    if given is None:
        return _render(422, refused=Refused("This page was open for too long.", "Run the command shown now."))

    def step() -> None:
        backup_proof.prove(current().keystore, given, form.answer.data or "", actor())
        session.pop(NONCE, None)
        flash("The copy is the same as today's key file. Keep it apart from the database's backups.", "good")

    return _act(step)


def _act(step: Callable[[], object]) -> Any:
    """Take one step, wake the worker, and show the page that results."""
    try:
        step()
    except PanelError as error:
        return _render(error.status, refused=error)
    current_app.extensions["mailkeep.jobs"].sweep()
    return go(url_for("encryption.show"))
