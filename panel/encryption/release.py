"""Turning encryption off: it takes the file system to begin, and can be cancelled until all are in clear.

Only the flag *in the key file*, together with the state row's release id, ever
lets a sweep write clear text. docs/encryption.md, 'Why no password is lost', has the steps.
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
from panel.crypto.keyfile import KeyFile
from panel.encryption import facts, findings, licence, proof, state, sweep
from panel.encryption.keystore import MARKER, KeyStore
from panel.encryption.state import State
from panel.errors import Refused
from panel.models import Encryption

NONCE_BYTES, CODE_BYTES, RELEASE_BYTES = 8, 8, 16
MARKER_SECONDS = 3600


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
    return Challenge(nonce, key.derive(info, CODE_BYTES).hex())


def require_marker(keystore: KeyStore) -> None:
    """Raise Refused unless the marker proves access to the file system (see `disable`)."""
    marker = keystore.marker()
    if marker is None:
        raise Refused(
            f"The file {MARKER} is not there yet.",
            "Create it with the command shown, then press the button again.",
        )
    words = re.fullmatch(r"\ufeff?([0-9a-f]{1,64})\s+([0-9a-f]{1,64})\s*", marker.text)
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
    with keystore.locked():
        if not in_shell:
            require_marker(keystore)  # another press may have used it up while this one waited
        _require_on(keystore)
        _list_all(keystore)
        file, release_id = _choose_release(keystore)
        with db.transaction():
            if facts.row().release_id != release_id:
                raise Refused(
                    "Somebody else turned encryption off or on meanwhile.", "Look at the page again."
                )
            keystore.replace(file, file.releasing(release_id))
        keystore.delete_marker()
    activity.record("encryption being turned off", **vars(actor))


def _require_on(keystore: KeyStore) -> None:
    now = facts.look(keystore).state
    if now is State.OFF:
        raise Refused(f"Encryption is off already: {_in_clear()}.", "There is nothing to do.")
    if now is State.DISABLING:
        raise Refused("Encryption is being turned off already.", "It goes on by itself.")
    if now.no_key:
        raise Refused(
            "Encryption cannot be turned off without its key.",
            "Put the key file back first; flask encryption status says how.",
        )


def _list_all(keystore: KeyStore) -> None:
    """Open every record, and list it durably for the sweep that follows if turning off is cancelled.

    The list is made now: once values stand in clear, nothing could tell them from planted ones.
    """
    file = facts.disk(keystore).file
    if file is None:
        raise Refused("The key file went away meanwhile.", "Look at the page again.")
    vouched = sweep.each_vouched(keystore, "encryption stays on")
    licence.write(keystore, file.goal, file.instance_id, vouched)


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
        findings.begin("disable")
        return disk.file, release_id


def cancel(keystore: KeyStore, actor: Actor) -> None:
    """Stop turning off and seal again what was written in clear. Refused once all are in clear.

    The licence that turning off wrote permits exactly what it opened before it began.
    """
    with keystore.locked(), db.transaction():
        disk, row = facts.disk(keystore), facts.row()
        if disk.file is None or disk.file.release_id is None or state.wrong(disk.file, row):
            raise _nothing_to_cancel(facts.look(keystore))
        if row.active_key_id is None and not facts.any_sealed():
            raise Refused(
                f"Nothing was cancelled: {_in_clear()}.", "Turn encryption on again when this is finished."
            )
        keystore.replace(disk.file, disk.file.kept())
        Encryption.update(release_id=None).execute()
        findings.cancel()
    activity.record("turning encryption off cancelled", **vars(actor))


def _nothing_to_cancel(now: facts.Status) -> Refused:
    """What is so instead of turning off: it may have ended before the person pressed."""
    if now.state is State.OFF:
        return Refused(
            f"Nothing was cancelled: encryption is off already, and {_in_clear()}.",
            "Turn it on again to encrypt them." if now.clear else "Turn it on again.",
        )
    if now.state.no_key:
        return Refused(f"Nothing was cancelled. {now.reason}", now.mend)
    return Refused("Nothing was cancelled: encryption is on and is not being turned off.", "Nothing to do.")


def _in_clear() -> str:
    """How many passwords stand in clear now, in the middle of a sentence."""
    count = facts.records(None).clear
    if not count:
        return "no password is stored"
    return (
        "1 password is stored in clear text" if count == 1 else f"{count} passwords are stored in clear text"
    )


def finish(keystore: KeyStore) -> None:
    """After the sweep: (A) no key is active, (B) the key file is retired, (C) the release is over."""
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
            licence.remove_if(keystore)
        with db.transaction():
            if facts.disk(keystore).file is None:
                Encryption.update(
                    release_id=None, scrub_owed=None, enabled_at=None, verified_at=None, **proof.UNPROVED
                ).execute()
    activity.record("encryption turned off", who="worker")


def _may_finish(keystore: KeyStore) -> bool:
    disk, row = facts.disk(keystore), facts.row()
    good = disk.file is not None and state.wrong(disk.file, row) is None
    return good and disk.file is not None and disk.file.release_id is not None and not facts.any_sealed()
