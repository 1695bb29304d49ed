"""Moving every record to a new key: the key is added first, used next, and the old one retired last.

`rotate` takes the first two steps; the sweep of `resume` moves the records, `finish` retires.
A kill between any two of them is made good by the next `resume`.
"""

from __future__ import annotations

from dataclasses import dataclass

from panel import audit, db
from panel.audit import Actor
from panel.crypto.keyfile import Key, KeyFile, fingerprint
from panel.errors import Refused
from panel.vault import activate, backup_proof, counts, retired_keys, verification
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault

ROWS_A_SECOND = 10_000  # what a small machine moves at least (script/bench sweep)
READY = (State.ON, State.INCONSISTENT)
STARTED = "encryption key rotation started"  # as Activity names it, with the old key's fingerprint


@dataclass(frozen=True)
class Preview:
    passwords: int
    others: int  # what is stored besides, and moved too
    seconds: int  # at most, about
    replaces: str  # fingerprint of the key in use
    retired: tuple[str, ...]  # fingerprints of the keys that are kept besides, for old database backups


def preview(now: Snapshot) -> Preview:
    """What rotating would do in the state `now`."""
    return Preview(now.sealed, now.others, 1 + now.stored // ROWS_A_SECOND, now.found or "", now.retired)


def rotate(vault: Vault, actor: Actor, replaces: str | None = None) -> bool:
    """Add a new key to the key file and use it from here on; `resume` moves the records.

    `replaces`: the fingerprint that the person saw; of two people who press at once the second joins the
    first, and gets False. Refused unless every record has just been opened; nothing is changed then.
    """
    require_ready(vault.read(counts=True))
    verification.require_all_open(vault, "the key was not changed")
    with vault.keystore.locked():
        with db.transaction():  # a database that takes nothing is met here, before the key file changes
            file = _good_file(vault)
            if len(file.usable) > 1 or replaces not in (None, fingerprint(file.primary.id)):
                return False
            retired_keys.require_room(file, 1)
            vault.keystore.delete_authorization_file()
            backup_proof.withdraw()
        with db.transaction():
            vault.keystore.replace(file, file.with_primary(Key.generate()))
            # Even if this commit fails: whoever comes next finds the key in the file and activates it.
            actor.record(STARTED, f"from {fingerprint(file.primary.id)}")
        with db.transaction():
            activate.activate_locked(vault)
    return True


def require_ready(now: Snapshot) -> None:
    """Raise Refused in a state in which the key cannot be changed."""
    if now.state in READY:
        return
    if now.state is State.OFF:
        raise Refused("Encryption is off, so there is no key to change.", "Turn encryption on first.")
    if now.state.no_key:
        raise Refused("The key cannot be changed while it cannot be used.", f"{now.reason} {now.remedy}")
    if now.state is State.ROTATING:
        raise Refused("The key is being changed already.", "This finishes by itself.")
    raise Refused(
        "Encryption is being turned on or off; the key was not changed.", "Try again when that is done."
    )


def _good_file(vault: Vault) -> KeyFile:
    file = vault.read().good_file()
    if file is None:
        raise Refused("The key file was changed by another process.", "Reload the page.")
    return file


def finish(vault: Vault) -> None:
    """Retire the other keys once no record is left under them: from then on they only open.

    Today's key file is then another one than before, so its backup has to be verified anew.
    """
    with vault.changing():
        now = vault.read()
        file = now.good_file()
        others = {key.id for key in file.usable if key != file.primary} if file else set()
        if file is None or not others or now.row.active_key_id != file.primary.id or counts.any_under(others):
            return
        vault.keystore.replace(file, file.retire_others())
        for key_id in sorted(others):
            audit.record(retired_keys.RETIRED, fingerprint(key_id), who="worker")
    audit.record(retired_keys.ROTATED, f"to {fingerprint(file.primary.id)}", who="worker")
