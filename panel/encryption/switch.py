"""Turning encryption on and off: short steps, each of which may be the last before a crash.

Whatever was interrupted is finished by `resume`: the worker's tick calls it, the
page's button and `flask encryption resume` do. docs/encryption.md tells the steps
in order and what each crash leaves behind.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from dataclasses import dataclass

from panel import db
from panel.activity import service as activity
from panel.activity.service import Actor
from panel.crypto.keyfile import KeyFile, expand
from panel.encryption import claim, facts, residue, state, sweep
from panel.encryption.keystore import MARKER, KeyStore
from panel.encryption.state import State
from panel.encryption.sweep import Progress, Report
from panel.errors import KeyAbsent, PanelError, Refused
from panel.models import Account, Encryption, Endpoint

NONCE_BYTES, CODE_BYTES, RELEASE_BYTES = 8, 8, 16
MARKER_SECONDS = 3600
SEALED = (State.ON, State.INCONSISTENT)


# -- on --------------------------------------------------------------------------


def enable(keystore: KeyStore, actor: Actor) -> None:
    """Generate the key file and claim it; from here on every save is sealed. `resume` seals the rest.

    The caller has had both boxes confirmed. Whoever comes second joins the first.
    Raises Refused in every state but off, enabling and on; nothing is changed then.
    """
    with keystore.locked():
        now = facts.look(keystore)
        if now.state in (State.ENABLING, State.ON):
            return
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
    _name_planted(now)
    try:
        report = sweep.run(keystore, progress)
    except KeyAbsent:
        if facts.look(keystore).state is State.OFF:
            return Report()  # another process has finished turning it off
        raise
    if now is State.DISABLING:
        _finish_disabling(keystore)
    else:
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
        require_marker(keystore)
    except PanelError:
        keystore.delete_marker()
    settle(keystore)


def _name_planted(now: State) -> None:
    """Name passwords that stand in clear although nothing of turning on was still to do.

    Somebody wrote them into the database, or an older database was restored.
    """
    row = facts.row()
    if now is not State.ENABLING or row.active_key_id is None or row.scrub_owed is not None:
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


# -- off -------------------------------------------------------------------------


@dataclass(frozen=True)
class Challenge:
    """What must stand in the marker file: shown on the page, recomputed from the key each time."""

    nonce: str
    code: str

    @property
    def text(self) -> str:
        """The marker's one line."""
        return f"{self.nonce} {self.code}"


def challenge(keystore: KeyStore, nonce: str | None = None) -> Challenge:
    """A nonce (a fresh one unless given) and the code that only this key file yields for it.

    Both are worth nothing once the key file changes. Raises Refused without a key.
    """
    disk, row = facts.disk(keystore), facts.row()
    key = disk.file.find(row.active_key_id) if disk.file else None
    if disk.file is None or key is None:
        raise Refused("Encryption is not on, so it cannot be turned off.", "Look at the page again.")
    nonce = nonce or secrets.token_hex(NONCE_BYTES)
    info = (
        b"mailkeep/disable" + disk.file.instance_id + disk.file.generation.to_bytes(8, "big") + nonce.encode()
    )
    return Challenge(nonce, expand(key.material, info, CODE_BYTES).hex())


def require_marker(keystore: KeyStore) -> None:
    """Raise Refused unless the marker proves access to the file system (see `disable`)."""
    marker = keystore.marker()
    if marker is None:
        raise Refused(
            f"The file {MARKER} is not there yet.",
            "Create it with the command shown, then press the button again.",
        )
    words = re.fullmatch(r"([0-9a-f]{1,64})\s+([0-9a-f]{1,64})\s*", marker.text)
    fresh = "Create it again with the command shown."
    if words is None:
        raise Refused(f"The file {MARKER} does not hold the code that the page shows.", fresh)
    if not hmac.compare_digest(challenge(keystore, words[1]).code, words[2]):
        raise Refused(f"The code in {MARKER} is not of this key file, or was used already.", fresh)
    if not keystore.key_file_modified() <= marker.modified or not _young(marker.modified):
        raise Refused(f"The file {MARKER} is older than an hour, or than the key file.", fresh)


def _young(modified: float) -> bool:
    return -60 <= time.time() - modified <= MARKER_SECONDS


def disable(keystore: KeyStore, actor: Actor, *, in_shell: bool = False) -> None:
    """Begin to write every password back in clear; `resume` does the rest and retires the key file.

    From the web it takes the marker file; a shell is the proof itself. Refused
    unless every record has just been opened; nothing is changed then.
    """
    if not in_shell:
        require_marker(keystore)
    _require_all_open(keystore)
    with keystore.locked():
        keystore.unset_complete()
        file, release_id = _choose_release(keystore)
        with db.transaction():
            if facts.row().release_id != release_id:
                raise Refused(
                    "Somebody else turned encryption off or on meanwhile.", "Look at the page again."
                )
            keystore.replace(file, file.releasing(release_id))
        keystore.delete_marker()
    activity.record("encryption being turned off", **vars(actor))


def _require_all_open(keystore: KeyStore) -> None:
    now = facts.look(keystore).state
    if now is State.OFF:
        raise Refused("Encryption is off already.", "There is nothing to do.")
    if now is State.DISABLING:
        raise Refused("Encryption is being turned off already.", "It goes on by itself.")
    if now.no_key:
        raise Refused(
            "Encryption cannot be turned off without its key.",
            "Put the key file back first; flask encryption status says how.",
        )
    failures = sweep.verify(keystore).failures
    if failures:
        named = ", ".join(failure.address for failure in failures)
        raise Refused(
            f"Not every password can be opened, so encryption stays on: {named}.",
            "Enter the password of these accounts again, or remove them.",
        )


def _choose_release(keystore: KeyStore) -> tuple[KeyFile, bytes]:
    """Write a fresh release id into the row, durable before the file is flagged with it."""
    with db.transaction():
        disk, row = facts.disk(keystore), facts.row()
        if (
            disk.file is None
            or disk.file.release_id
            or state.wrong(disk.file, row)
            or row.active_key_id is None
        ):
            raise Refused("The key file was changed by somebody else meanwhile.", "Look at the page again.")
        release_id = secrets.token_bytes(RELEASE_BYTES)
        Encryption.update(release_id=release_id).execute()
        return disk.file, release_id


def cancel_disable(keystore: KeyStore, actor: Actor) -> None:
    """Stop turning off and seal again what was written in clear. Refused once all are in clear."""
    with keystore.locked(), db.transaction():
        disk, row = facts.disk(keystore), facts.row()
        if disk.file is None or disk.file.release_id is None or state.wrong(disk.file, row):
            raise Refused("Encryption is not being turned off.", "Look at the page again.")
        if row.active_key_id is None:
            raise Refused(
                "Every password is in clear already.", "Turn encryption on again when this is finished."
            )
        keystore.replace(disk.file, disk.file.kept())
        Encryption.update(release_id=None).execute()
    activity.record("turning encryption off cancelled", **vars(actor))


def _finish_disabling(keystore: KeyStore) -> None:
    """(A) no key is active any more, (B) the key file is retired, (C) the release is over."""
    with db.transaction():
        if not _may_finish(keystore):
            return
        Encryption.update(active_key_id=None).execute()
    with keystore.locked():
        with db.transaction():
            disk, row = facts.disk(keystore), facts.row()
            if not _may_finish(keystore) or row.active_key_id is not None or disk.file is None:
                return
            keystore.retire(disk.file)
            keystore.forget_witness()
        with db.transaction():
            if facts.disk(keystore).file is None:
                Encryption.update(
                    release_id=None, scrub_owed=None, enabled_at=None, verified_at=None, backup_proved_at=None
                ).execute()
    activity.record("encryption turned off", who="worker")


def _may_finish(keystore: KeyStore) -> bool:
    disk, row = facts.disk(keystore), facts.row()
    good = disk.file is not None and state.wrong(disk.file, row) is None
    return good and disk.file is not None and disk.file.release_id is not None and not facts.any_sealed()


def verify(keystore: KeyStore, progress: Progress | None = None) -> sweep.Verdict:
    """Open every stored secret once; note when that was. Raises KeyAbsent without a good key."""
    verdict = sweep.verify(keystore, progress)
    if facts.look(keystore).state.no_key:
        raise KeyAbsent(
            "The key went away while the passwords were being opened.", "Put it back, then try again."
        )
    Encryption.update(verified_at=db.now()).execute()
    return verdict
