"""Server > Encryption in the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, current_app, flash, request, session, url_for
from flask_login import current_user

from panel.encryption.advice import advise
from panel.encryption.forms import BackupForm, EnableForm
from panel.encryption.leftovers import changed, scan
from panel.errors import PanelError, Refused
from panel.services import current
from panel.vault import backup_proof, reports, rotation, turn_off, turn_on, verification
from panel.vault.files import typed
from panel.vault.state import State
from panel.vault.turn_on import Confirmations
from panel.web.access import actor, allow, reauth_required, require_reauth
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, page

blueprint = Blueprint("encryption", __name__, url_prefix="/server/encryption")
allow(blueprint, read={"admin", "agent"}, write={"admin"})
NONCE = "key-backup-nonce"
SHOWN = 50  # mailboxes of a list


@blueprint.app_context_processor
def key_banners() -> dict[str, Any]:
    """For the banners of every page: the key cannot be used, passwords cannot be decrypted, encryption is
    off, or the key has no verified backup.
    """
    role = getattr(current_user, "role", "")
    if role not in ("admin", "agent"):
        return {"key_trouble": None, "encryption_off": False, "backup_due": False}
    now = current().vault.latest()
    trouble = now.state.no_key or now.state is State.INCONSISTENT
    admin = role == "admin"
    return {
        "key_trouble": now if trouble else None,
        "encryption_off": admin and now.state is State.OFF,
        "backup_due": admin and now.backup_due,
    }


def _render(status: int = 200, **context: Any) -> Any:
    """The page in the state of this moment; one fragment replaces itself while work is going on."""
    vault, settings = current().vault, current().settings
    admin = current_user.role == "admin"
    now = vault.latest()
    context.setdefault("enable_form", EnableForm(formdata=None))
    context.setdefault("backup_form", BackupForm(formdata=None))
    if admin and now.state in (State.ON, State.ROTATING, State.INCONSISTENT):
        context.setdefault("challenge", turn_off.challenge_from(now))
        session.setdefault(NONCE, backup_proof.nonce())
    return page(
        "encryption/page.html",
        fragment="encryption/_state.html",
        status=status,
        now=now,
        advice=advise(now, vault),
        admin=admin,
        nonce=session.get(NONCE),
        preview=rotation.preview(now),
        found=reports.last(),
        looking=reports.pending() is not None,
        boxes=changed.since(now.times.enabled_at, SHOWN) if admin else changed.Checklist(),
        keys=vault.keystore if admin else None,
        typed=typed,
        contact=settings.contact,
        backup_missing=admin and now.backup_due,
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
    require_reauth()
    confirmations = Confirmations(form.understand_key_loss.data, form.backup_prepared.data)

    def step() -> None:
        if not turn_on.turn_on(current().vault, confirmations, actor()):
            flash("Encryption was already on. Nothing was changed.", "good")

    return _act(step)


@blueprint.post("/rotate")
@reauth_required
def rotate() -> Any:
    """Generate a new key and begin to move every password to it. Takes the fingerprint that was shown."""
    shown = request.form.get("replaces", "")

    def step() -> None:
        if not rotation.rotate(current().vault, actor(), shown):
            flash("That key was already changed. Nothing more was changed.", "good")

    return _act(step)


@blueprint.post("/disable")
@reauth_required
def disable() -> Any:
    """Begin to write the passwords back in clear text; it takes the authorization file."""
    return _act(lambda: turn_off.turn_off(current().vault, actor()))


@blueprint.post("/cancel")
@reauth_required
def cancel() -> Any:
    """Stop turning off, and encrypt again."""
    return _act(lambda: turn_off.cancel(current().vault, actor()))


@blueprint.post("/resume")
@reauth_required
def resume() -> Any:
    """Have the worker continue what is under way."""
    return _act(lambda: None)  # waking the worker is all there is to it


@blueprint.post("/verify")
@reauth_required
def verify() -> Any:
    """Decrypt every stored password once and name those that cannot be decrypted."""

    def step() -> None:
        verdict = verification.run_and_note(current().vault)
        if not verdict.failures:
            count = verdict.opened
            text = "1 password can" if count == 1 else f"All {count} passwords can"
            flash(f"{text} be decrypted." if count else "No passwords yet.", "good")
        if verdict.unattested:
            flash(
                f"Passwords in clear text that were not entered here: {len(verdict.unattested)}."
                " Activity names them. Enter server and password of each mailbox again.",
                "warn",
            )

    return _act(step)


@blueprint.post("/scan")
@reauth_required
def scan_again() -> Any:
    """Have the worker scan for leftovers in clear text once more."""
    return _act(lambda: scan.again(current().vault))


@blueprint.post("/backup")
@preserve_form_input
@reauth_required
def backup() -> Any:
    """Take the answer that verifies the backup of the key file."""
    form = BackupForm()
    if not form.validate_on_submit():
        return _render(422, backup_form=form)
    given = session.get(NONCE)
    if given is None:
        return _render(422, refused=Refused("This page was open for too long.", "Run the command shown now."))

    def step() -> None:
        backup_proof.verify(current().vault, given, form.answer.data or "", actor())
        session.pop(NONCE, None)
        flash("Backup verified. Keep it apart from the database backups.", "good")

    return _act(step)


def _act(step: Callable[[], object]) -> Any:
    """Take one step, wake the worker, and show the page that results."""
    try:
        step()
    except PanelError as error:
        return _render(error.status, refused=error)
    current_app.extensions["mailkeep.jobs"].sweep()
    return go(url_for("encryption.show"))
