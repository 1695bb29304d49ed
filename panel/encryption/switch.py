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
from panel.encryption import claim, facts, release, residue, rotation, sweep
from panel.encryption.keystore import KeyStore
from panel.encryption.state import State
from panel.encryption.sweep import Progress, Report
from panel.errors import KeyAbsent, PanelError, Refused
from panel.models import Account, Encryption, Endpoint

SEALED = (State.ON, State.INCONSISTENT)


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
        keystore.unset_complete()
        chosen = facts.row()
        if keystore.create(KeyFile.generate(chosen.instance_id)):
            activity.record("key file created", **vars(actor))
    claim.if_needed(keystore)
    _give_way(keystore)
    return True


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
            keystore.expect(row.active_key_id)


def resume(keystore: KeyStore, progress: Progress | None = None) -> Report:
    """Finish whatever is under way: enabling, rotating or disabling; do nothing otherwise.

    Safe to call at any time, also by several at once. Raises KeyAbsent where the
    key is missing, unreadable or wrong.
    """
    settle(keystore)
    now = facts.look(keystore).state
    if not now.working:
        _note_complete(keystore, now)
        return Report()
    _name_planted(keystore, now)
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
        _note_complete(keystore, facts.look(keystore).state)
        if report.changed:
            activity.record("passwords encrypted", detail=f"{report.changed} passwords.", who="worker")
    return report


def _note_complete(keystore: KeyStore, now: State) -> None:
    """Every password is sealed: from here on a clear value was put there by somebody else."""
    if now not in SEALED or keystore.is_complete():
        return
    with keystore.locked():  # who turns encryption off takes the mark away under it
        if facts.look(keystore).state in SEALED:
            keystore.set_complete()


def start(keystore: KeyStore) -> None:
    """At the start of the server: clear away what a kill left, and a marker that proves nothing any more."""
    keystore.clean()
    try:
        release.require_marker(keystore)
    except PanelError:
        keystore.delete_marker()
    settle(keystore)


def _name_planted(keystore: KeyStore, now: State) -> None:
    """Name passwords that stand in clear although nothing of turning on was still to do.

    Somebody wrote them into the database, or an older database was restored.
    """
    if now is not State.ENABLING or not keystore.is_complete():
        return
    for endpoint in _in_clear():
        if endpoint.failed_rev == endpoint.rev:
            continue  # named before, when it could not be sealed
        activity.record(
            "password found in clear", endpoint.account.address, "It is being encrypted.", who="worker"
        )


def _in_clear() -> list[Endpoint]:
    return list(Endpoint.select(Endpoint, Account).join(Account).where(Endpoint.clear.is_null(False)))


def settle(keystore: KeyStore) -> None:
    """At every start and tick: what a crash may have left of the last step, put right.

    A witness whose key was retired goes; since when the key is in trouble is kept for the page.
    """
    with keystore.locked(), db.transaction():
        disk, row = facts.disk(keystore), facts.row()
        if not facts.any_sealed() and row.active_key_id is None:
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
