"""Server > Encryption in the browser."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from flask import Blueprint, current_app, flash, request, url_for
from flask_login import current_user

from panel.config import ROOT
from panel.encryption import history
from panel.encryption.advice import advise
from panel.encryption.forms import BackupForm, EnableForm
from panel.encryption.leftovers import changed, scan
from panel.errors import NotAllowed, PanelError
from panel.services import current
from panel.vault import (
    backup_proof,
    only_encrypted,
    reports,
    retired_keys,
    rotation,
    turn_off,
    turn_on,
    verification,
)
from panel.vault.files import typed
from panel.vault.reading import secrets
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.turn_on import Confirmations
from panel.web.access import actor, allow, reauth_required, require_reauth
from panel.web.form_tokens import preserve_form_input
from panel.web.htmx import go, is_htmx, page
from panel.web.listing import read_query

blueprint = Blueprint("encryption", __name__, url_prefix="/server/encryption")
allow(blueprint, read={"admin", "agent"}, write={"admin"})
USUAL_KEY_FILE = "data/encryption-key.bin"  # in the words of the warning
BACKED_UP = (State.ENABLING, State.ON, State.ROTATING, State.INCONSISTENT)  # where the key can be backed up
CAN_TURN_OFF = (State.ON, State.INCONSISTENT)


@blueprint.app_context_processor
def key_banners() -> dict[str, Any]:
    """For the frame of every page: the key or some passwords cannot be used, or encryption is off."""
    role = getattr(current_user, "role", "")
    if role not in ("admin", "agent"):
        return {"key_trouble": None, "encryption_off": False}
    now = current().vault.latest()
    trouble = now.state.no_key or now.state is State.INCONSISTENT
    return {
        "key_trouble": now if trouble else None,
        "encryption_off": role == "admin" and now.state is State.OFF,
    }


def _render(status: int = 200, *, off_open: bool = False, **context: Any) -> Any:
    """The page in the state of this moment; one fragment replaces itself where that is about to change.

    The code for turning off is on it only where that was asked for (`off_open`).
    """
    vault, settings = current().vault, current().settings
    admin = current_user.role == "admin"
    now = vault.latest()
    found, looking = reports.newest()
    progress = f"{now.state} {_done(now)} {now.stored} {now.row.scrub_pending is not None} {looking}"
    if is_htmx() and request.args.get("seen") == progress:
        return "", 204
    if admin and now.state is State.OFF:
        context.setdefault("enable_form", EnableForm(formdata=None))
    if admin and now.state in BACKED_UP:
        context.setdefault("backup_form", BackupForm(formdata=None))
    return page(
        "encryption/page.html",
        fragment="encryption/_state.html",
        status=status,
        now=now,
        done=_done(now),
        progress=progress,
        advice=advise(now, vault),
        admin=admin,
        nonce=_nonce(now) if admin and now.state in BACKED_UP else "",
        preview=rotation.preview(now),
        found=found,
        looking=looking,
        changed=changed.counts(now.times.enabled_at) if admin else (0, 0),
        history=history.read(now) if admin and now.state in BACKED_UP else history.KeyHistory(),
        keys=vault.keystore if admin else None,
        typed=typed,
        contact=settings.contact,
        backup_missing=admin and now.backup_due,
        key_elsewhere=vault.keystore.path != ROOT / USUAL_KEY_FILE,
        off_open=off_open,
        challenge=turn_off.challenge_from(now) if off_open and now.state in CAN_TURN_OFF else None,
        blockers=only_encrypted.blockers() if off_open and now.others else None,
        secrets=secrets,
        **context,
    )


def _nonce(now: Snapshot) -> str:
    """Of this session and this key file, until the backup is verified: showing it writes no cookie."""
    key = str(current_app.secret_key).encode()
    shown = f"key-backup-nonce {current_user.session_id} {now.times.backup_proved_at} ".encode()
    file = now.file.to_bytes() if now.file else b""
    return hmac.new(key, shown + file, "sha256").hexdigest()[: 2 * backup_proof.NONCE_BYTES]


def _done(now: Snapshot) -> int:
    """How many secrets are where the work that is under way puts them."""
    return now.clear if now.state is State.DISABLING else now.moved


def _administrators_only() -> None:
    """Agents read the page of the state, and no other. Raises NotAllowed."""
    if current_user.role != "admin":
        raise NotAllowed("This page is for administrators.", "Ask one of them to do it for you.")


@blueprint.get("")
def show() -> Any:
    return _render()


@blueprint.get("/off")
def ask_off() -> Any:
    """How to turn encryption off, with the one-time code for it."""
    _administrators_only()
    if not is_htmx():
        return _render(off_open=True)
    vault = current().vault
    now = vault.latest()
    challenge = turn_off.challenge_from(now)
    blockers = only_encrypted.blockers() if now.others else None
    return page(
        "encryption/_turn_off.html",
        now=now, keys=vault.keystore, typed=typed, challenge=challenge, blockers=blockers,
    )  # fmt: skip


@blueprint.get("/rotate")
def ask_rotate() -> Any:
    _administrators_only()
    now = current().vault.latest()
    try:
        rotation.require_ready(now)
    except PanelError as error:
        return _render(error.status, refused=error)
    return page("encryption/rotate.html", now=now, preview=rotation.preview(now))


@blueprint.get("/prune")
def ask_prune() -> Any:
    """Which retired keys would be removed, and which backups need them."""
    _administrators_only()
    return _ask_prune()


def _ask_prune(refused: PanelError | None = None) -> Any:
    retired = retired_keys.retired(current().vault)
    status = refused.status if refused else 200
    return page("encryption/prune.html", status=status, retired=retired, refused=refused)


@blueprint.get("/passwords")
def passwords() -> Any:
    """Which passwords were not changed since encryption was turned on."""
    _administrators_only()
    at = current().vault.latest().times.enabled_at
    query = read_query(states=("unchanged", "changed"))
    return page("encryption/passwords.html", listing=changed.listed(at, query) if at else None, at=at)


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


@blueprint.post("/prune")
@reauth_required
def prune() -> Any:
    """Remove the retired keys that were shown, for good."""
    try:
        gone = retired_keys.prune(current().vault, actor(), request.form.getlist("key"))
    except PanelError as error:
        return _ask_prune(error)
    keys = "1 retired key was" if len(gone) == 1 else f"{len(gone)} retired keys were"
    flash(f"{keys} removed. Copy the key file again: earlier copies still hold them.", "good")
    return go(url_for("encryption.show"))


@blueprint.post("/disable")
@reauth_required
def disable() -> Any:
    """Begin to write the passwords back in clear text; it takes the authorization file."""
    try:
        turn_off.turn_off(current().vault, actor())
    except PanelError as error:
        if current().vault.latest().state not in CAN_TURN_OFF:  # the page has no place for it any more
            return _render(error.status, refused=error)
        return _render(error.status, off_open=True, off_refused=error)
    return _woken()


@blueprint.post("/cancel")
@reauth_required
def cancel() -> Any:
    """Stop turning off, and encrypt again."""
    return _act(lambda: turn_off.cancel(current().vault, actor()))


@blueprint.post("/resume")
@reauth_required
def resume() -> Any:
    return _act(lambda: None)  # waking the worker is all there is to it


@blueprint.post("/verify")
@reauth_required
def verify() -> Any:
    """Decrypt every stored password once and name those that cannot be decrypted."""

    def step() -> None:
        verdict = verification.run_and_note(current().vault)
        if not verdict.failures:
            count = secrets(verdict.opened, others=verdict.others)
            text = count if verdict.opened == 1 else f"All {count}"
            flash(f"{text} can be decrypted." if verdict.opened else "No passwords yet.", "good")
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
    return _act(lambda: scan.again(current().vault))


@blueprint.post("/backup")
@preserve_form_input
@reauth_required
def backup() -> Any:
    """Take the answer that verifies the backup of the key file."""
    form = BackupForm()
    if not form.validate_on_submit():
        return _render(422, backup_form=form)
    given = _nonce(current().vault.latest())

    def step() -> None:
        backup_proof.verify(current().vault, given, form.answer.data or "", actor())
        flash("Backup verified. Keep it apart from the database backups.", "good")

    return _act(step)


def _act(step: Callable[[], object]) -> Any:
    """Take one step, wake the worker, and show the page that results."""
    try:
        step()
    except PanelError as error:
        return _render(error.status, refused=error)
    return _woken()


def _woken() -> Any:
    """Wake the worker, and show the page that results."""
    current_app.extensions["mailkeep.jobs"].sweep()
    return go(url_for("encryption.show"))
