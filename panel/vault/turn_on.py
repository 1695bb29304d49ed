"""Turning encryption on, and finishing whatever is under way: each step may be the last before a crash.

Whatever was interrupted is finished by `resume`: the worker's tick calls it, the
page's button and `flask encryption resume` do. docs/encryption.md tells the steps
in order and what each crash leaves behind.
"""

from __future__ import annotations

from panel import audit, db
from panel.audit import Actor
from panel.crypto.keyfile import KeyFile
from panel.errors import KeyAbsent, PanelError, Refused
from panel.models import Encryption
from panel.vault import activate, attestation, rotation, rows, scrub, snapshot, sweep, turn_off
from panel.vault.keystore import KeyStore
from panel.vault.state import State
from panel.vault.sweep import Progress, Report

SEALED = (State.ON, State.INCONSISTENT)
SETTLED = (State.OFF, *SEALED)


def enable(keystore: KeyStore, actor: Actor) -> bool:
    """Generate the key file and claim it; from here on every save is sealed. `resume` seals the rest.

    The caller has had both boxes confirmed. Whoever comes second joins the first, and gets False.
    Raises Refused in every state but off, enabling and on; nothing is changed then.
    """
    with keystore.locked():
        now = snapshot.look(keystore)
        if now.state in (State.ENABLING, State.ON):
            return False
        if now.state is not State.OFF:
            raise Refused(
                f"Encryption cannot be turned on now: its state is {now.state}.",
                now.remedy or "See the page.",
            )
        keystore.delete_authorization_file()
        file, before = KeyFile.generate(snapshot.row().instance_id), rows.mark()
        _list_clear(keystore, file)
        with db.transaction():  # nobody saves in clear between the list and the key file
            if rows.mark() != before:
                _list_clear(keystore, file)
            if keystore.create(file):
                audit.record("key file created", **vars(actor))
    activate.if_needed(keystore)
    _give_way(keystore)
    return True


def _list_clear(keystore: KeyStore, file: KeyFile) -> None:
    attestation.write(keystore, file.primary, file.instance_id, attestation.in_clear())


def _give_way(keystore: KeyStore) -> None:
    """Where another server's key was claimed first, move our own aside: it has sealed nothing."""
    with keystore.locked(), db.transaction():
        disk, row = snapshot.disk(keystore), snapshot.row()
        lost = (
            disk.file is not None
            and row.active_key_id is not None
            and disk.file.find(row.active_key_id) is None
        )
        if lost and disk.file is not None and row.active_key_id is not None and disk.file.generation == 1:
            keystore.set_aside_unused(disk.file)
            attestation.remove_if(keystore)
            keystore.expect(row.active_key_id)


def resume(keystore: KeyStore, progress: Progress | None = None) -> Report:
    """Finish whatever is under way: enabling, rotating or disabling; do nothing otherwise.

    Safe to call at any time, also by several at once. Raises KeyAbsent where the
    key is missing, unreadable or wrong.
    """
    settle(keystore)
    now = snapshot.look(keystore).state
    if now in SETTLED:
        _end_licence(keystore)
    if not now.working:
        return Report()
    try:
        report = sweep.run(keystore, progress)
    except KeyAbsent:
        if snapshot.look(keystore).state is State.OFF:
            return Report()  # another process has finished turning it off
        raise
    if now is State.DISABLING:
        turn_off.finish(keystore)
    else:
        rotation.finish(keystore)
        scrub.scrub(keystore)
        if report.changed:
            audit.record("passwords encrypted", detail=f"{report.changed} passwords.", who="worker")
    return report


def _end_licence(keystore: KeyStore) -> None:
    """Take away what a kill left: of turning on or off that never began, or whose sweep has ended."""
    if not attestation.is_there(keystore):
        return
    with keystore.locked():  # who turns encryption on or off holds it from the licence to the key file
        if snapshot.look(keystore).state in SETTLED:
            attestation.remove_if(keystore)


def start(keystore: KeyStore) -> None:
    """At the start of the server: clear away what a kill left, and a marker that proves nothing any more."""
    keystore.clean()
    try:
        turn_off.require_authorization(keystore)
    except PanelError:
        keystore.delete_authorization_file()
    settle(keystore)


def settle(keystore: KeyStore) -> None:
    """At every start and tick: what a crash may have left of the last step, put right.

    A witness whose key was retired goes; since when the key is in trouble is kept for the page.
    """
    with keystore.locked(), db.transaction():
        disk, row = snapshot.disk(keystore), snapshot.row()
        if not row.altered and not snapshot.any_sealed() and row.active_key_id is None:
            keystore.forget_expected_key()
        if disk.file is not None and disk.file.decrypt_id is None and row.decrypt_id is not None:
            Encryption.update(decrypt_id=None).execute()  # of a turning off that never reached the file
    _note_trouble(keystore)


def _note_trouble(keystore: KeyStore) -> None:
    now = snapshot.look(keystore)
    if now.state.no_key and now.trouble_since is None:
        Encryption.update(trouble_since=db.now()).execute()
        audit.record("collecting paused", detail=now.reason, who="worker")
    elif not now.state.no_key and now.trouble_since is not None:
        Encryption.update(trouble_since=None).execute()
        audit.record("collecting resumed", detail="The encryption key is back.", who="worker")


def verify(keystore: KeyStore, progress: Progress | None = None) -> sweep.Verdict:
    """Open every stored secret once; note when that was. Raises KeyAbsent without a good key."""
    verdict = sweep.verify(keystore, progress)
    note_verified(keystore)
    return verdict


def note_verified(keystore: KeyStore) -> None:
    """Every stored secret has just been opened once. Raises KeyAbsent where the key has gone meanwhile."""
    if snapshot.look(keystore).state.no_key:
        raise KeyAbsent(
            "The key went away while the passwords were being opened.", "Put it back, then try again."
        )
    Encryption.update(verified_at=db.now()).execute()
