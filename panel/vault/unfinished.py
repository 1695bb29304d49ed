"""Finishing whatever is under way: the worker's tick calls `resume`, so do the page's button and the shell.

Each step of turning on, changing the key and turning off may be the last before a crash; any process may
carry on from there at any time.
"""

from __future__ import annotations

from panel import audit, db
from panel.errors import KeyAbsent, PanelError
from panel.models import Encryption
from panel.vault import attestation, only_encrypted, reports, rotation, scrub, sweep, turn_off
from panel.vault.reading import secrets
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.sweep import Progress, Report
from panel.vault.vault import Vault

ENCRYPTED = (State.ON, State.INCONSISTENT)
FINISHED = (State.OFF, *ENCRYPTED)


def resume(vault: Vault, progress: Progress | None = None) -> Report:
    """Finish turning on, changing the key or turning off; do nothing otherwise.

    Safe to call at any time, also by several at once. Raises KeyAbsent where the key is missing, unreadable
    or wrong.
    """
    now = settle(vault)
    if not now.state.working:
        return Report()
    try:
        report = sweep.run(vault, progress)
    except KeyAbsent:
        if vault.read(counts=True).state is State.OFF:
            return Report()  # another process has finished turning it off
        raise
    if now.state is State.DISABLING:
        turn_off.finish(vault)
    else:
        rotation.finish(vault)
        scrub.scrub(vault)
        if report.changed:
            count = secrets(report.changed, others=now.others)
            audit.record("passwords encrypted", detail=f"{count}.", who="worker")
    return report


def start(vault: Vault) -> None:
    """At the start of the server: remove what a kill left, and an authorization file that is void."""
    vault.keystore.clean()
    try:
        turn_off.require_authorization(vault)
    except PanelError:
        vault.keystore.delete_authorization_file()
    settle(vault)


def settle(vault: Vault) -> Snapshot:
    """Put right what a crash may have left of the last step; the reading that was decided by.

    An expected key whose file was retired goes, a decrypt id that never reached the file goes, an attestation
    whose sweep has ended goes, flows that are over go; since when the key is in trouble is noted for the
    page.
    """
    with vault.changing():
        now = vault.read(counts=True)
        if not now.row.altered and not now.any_sealed and now.row.active_key_id is None:
            vault.keystore.forget_expected_key()
        if now.file is not None and now.file.decrypt_id is None and now.row.decrypt_id is not None:
            Encryption.update(decrypt_id=None).execute()  # of a turning off that never reached the file
            reports.drop("disable")
        if now.state in FINISHED and attestation.is_there(vault.keystore):
            attestation.remove_if(vault.keystore)
        if not now.row.altered:
            only_encrypted.forget_flows()
        _note_trouble(now)
    return now


def _note_trouble(now: Snapshot) -> None:
    if now.state.no_key and now.times.trouble_since is None:
        Encryption.update(trouble_since=db.now()).execute()
        audit.record("collecting paused", detail=now.reason, who="worker")
    elif not now.state.no_key and now.times.trouble_since is not None:
        Encryption.update(trouble_since=None).execute()
        audit.record("collecting resumed", detail="The encryption key is back.", who="worker")
