"""Turning encryption on, and finishing whatever is under way: each step may be the last before a crash.

Whatever was interrupted is finished by `resume`: the worker's tick calls it, the
page's button and `flask encryption resume` do. docs/encryption.md tells the steps
in order and what each crash leaves behind.
"""

from __future__ import annotations

from panel import db
from panel.activity import service as activity
from panel.activity.service import Actor
from panel.crypto.keyfile import KeyFile
from panel.encryption import claim, facts, licence, release, residue, rotation, rows, sweep
from panel.encryption.keystore import KeyStore
from panel.encryption.state import State
from panel.encryption.sweep import Progress, Report
from panel.errors import KeyAbsent, PanelError, Refused
from panel.models import Encryption

SEALED = (State.ON, State.INCONSISTENT)
SETTLED = (State.OFF, *SEALED)


def enable(keystore: KeyStore, actor: Actor) -> bool:
    """Generate the key file and claim it; from here on every save is sealed. `resume` seals the rest.

    The caller has had both boxes confirmed. Whoever comes second joins the first, and gets False.
    Raises Refused in every state but off, enabling and on; nothing is changed then.
    """
    with keystore.locked():
        now = facts.look(keystore)
        if now.state in (State.ENABLING, State.ON):
            return False
        if now.state is not State.OFF:
            raise Refused(
                f"Encryption cannot be turned on now: its state is {now.state}.", now.mend or "See the page."
            )
        keystore.delete_marker()
        file, before = KeyFile.generate(facts.row().instance_id), rows.mark()
        _list_clear(keystore, file)
        with db.transaction():  # nobody saves in clear between the list and the key file
            if rows.mark() != before:
                _list_clear(keystore, file)
            if keystore.create(file):
                activity.record("key file created", **vars(actor))
    claim.if_needed(keystore)
    _give_way(keystore)
    return True


def _list_clear(keystore: KeyStore, file: KeyFile) -> None:
    licence.write(keystore, file.goal, file.instance_id, licence.in_clear())


def _give_way(keystore: KeyStore) -> None:
    """Where another server's key was claimed first, move our own aside: it has sealed nothing."""
    with keystore.locked(), db.transaction():
        disk, row = facts.disk(keystore), facts.row()
        lost = (
            disk.file is not None
            and row.active_key_id is not None
            and disk.file.find(row.active_key_id) is None
        )
        if lost and disk.file is not None and row.active_key_id is not None and disk.file.generation == 1:
            keystore.set_aside_unused(disk.file)
            licence.remove_if(keystore)
            keystore.expect(row.active_key_id)


def resume(keystore: KeyStore, progress: Progress | None = None) -> Report:
    """Finish whatever is under way: enabling, rotating or disabling; do nothing otherwise.

    Safe to call at any time, also by several at once. Raises KeyAbsent where the
    key is missing, unreadable or wrong.
    """
    settle(keystore)
    now = facts.look(keystore).state
    if now in SETTLED:
        _end_licence(keystore)
    if not now.working:
        return Report()
    try:
        report = sweep.run(keystore, progress)
    except KeyAbsent:
        if facts.look(keystore).state is State.OFF:
            return Report()  # another process has finished turning it off
        raise
    if now is State.DISABLING:
        release.finish(keystore)
    else:
        rotation.finish(keystore)
        residue.scrub(keystore)
        if report.changed:
            activity.record("passwords encrypted", detail=f"{report.changed} passwords.", who="worker")
    return report


def _end_licence(keystore: KeyStore) -> None:
    """Take away what a kill left: of turning on or off that never began, or whose sweep has ended."""
    if not licence.is_there(keystore):
        return
    with keystore.locked():  # who turns encryption on or off holds it from the licence to the key file
        if facts.look(keystore).state in SETTLED:
            licence.remove_if(keystore)


def start(keystore: KeyStore) -> None:
    """At the start of the server: clear away what a kill left, and a marker that proves nothing any more."""
    keystore.clean()
    try:
        release.require_marker(keystore)
    except PanelError:
        keystore.delete_marker()
    settle(keystore)


def settle(keystore: KeyStore) -> None:
    """At every start and tick: what a crash may have left of the last step, put right.

    A witness whose key was retired goes; since when the key is in trouble is kept for the page.
    """
    with keystore.locked(), db.transaction():
        disk, row = facts.disk(keystore), facts.row()
        if not row.altered and not facts.any_sealed() and row.active_key_id is None:
            keystore.forget_witness()
        if disk.file is not None and disk.file.release_id is None and row.release_id is not None:
            Encryption.update(release_id=None).execute()  # of a turning off that never reached the file
    _note_trouble(keystore)


def _note_trouble(keystore: KeyStore) -> None:
    now = facts.look(keystore)
    if now.state.no_key and now.trouble_since is None:
        Encryption.update(trouble_since=db.now()).execute()
        activity.record("collecting paused", detail=now.reason, who="worker")
    elif not now.state.no_key and now.trouble_since is not None:
        Encryption.update(trouble_since=None).execute()
        activity.record("collecting goes on", detail="The encryption key is back.", who="worker")


def verify(keystore: KeyStore, progress: Progress | None = None) -> sweep.Verdict:
    """Open every stored secret once; note when that was. Raises KeyAbsent without a good key."""
    verdict = sweep.verify(keystore, progress)
    note_verified(keystore)
    return verdict


def note_verified(keystore: KeyStore) -> None:
    """Every stored secret has just been opened once. Raises KeyAbsent where the key has gone meanwhile."""
    if facts.look(keystore).state.no_key:
        raise KeyAbsent(
            "The key went away while the passwords were being opened.", "Put it back, then try again."
        )
    Encryption.update(verified_at=db.now()).execute()
