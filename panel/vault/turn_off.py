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

from panel import audit, db
from panel.audit import Actor
from panel.crypto.keyfile import KeyFile
from panel.errors import Refused
from panel.models import Encryption
from panel.vault import attestation, backup_proof, reports, snapshot, state, sweep
from panel.vault.keystore import AUTHORIZATION_FILE, KeyStore
from panel.vault.state import State

NONCE_BYTES, CODE_BYTES, DECRYPT_ID_BYTES = 8, 8, 16
AUTHORIZATION_SECONDS = 3600


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
    disk, row = snapshot.disk(keystore), snapshot.row()
    key = disk.file.find(row.active_key_id) if disk.file else None
    if disk.file is None or key is None:
        raise Refused("Encryption is not on, so it cannot be turned off.", "Look at the page again.")
    nonce = nonce or secrets.token_hex(NONCE_BYTES)
    info = (
        b"mailkeep/disable" + disk.file.instance_id + disk.file.generation.to_bytes(8, "big") + nonce.encode()
    )
    return Challenge(nonce, key.derive(info, CODE_BYTES).hex())


def require_authorization(keystore: KeyStore) -> None:
    """Raise Refused unless the marker proves access to the file system (see `disable`)."""
    authorization_file = keystore.authorization_file()
    if authorization_file is None:
        raise Refused(
            f"The file {AUTHORIZATION_FILE} is not there yet.",
            "Create it with the command shown, then press the button again.",
        )
    words = re.fullmatch(r"\ufeff?([0-9a-f]{1,64})\s+([0-9a-f]{1,64})\s*", authorization_file.text)
    fresh = "Create it again with the command shown."
    if words is None:
        raise Refused(f"The file {AUTHORIZATION_FILE} does not hold the code that the page shows.", fresh)
    if not hmac.compare_digest(challenge(keystore, words[1]).code, words[2]):
        raise Refused(
            f"The code in {AUTHORIZATION_FILE} is not of this key file, or was used already.", fresh
        )
    if not keystore.key_file_modified() <= authorization_file.modified or not _young(
        authorization_file.modified
    ):
        raise Refused(f"The file {AUTHORIZATION_FILE} is older than an hour, or than the key file.", fresh)


def _young(modified: float) -> bool:
    return -60 <= time.time() - modified <= AUTHORIZATION_SECONDS


def disable(keystore: KeyStore, actor: Actor, *, in_shell: bool = False) -> None:
    """Begin to write every password back in clear; `resume` does the rest and retires the key file.

    From the web it takes the marker file; a shell is the proof itself. Refused
    unless every record has just been opened; nothing is changed then.
    """
    if not in_shell:
        require_authorization(keystore)
    with keystore.locked():
        if not in_shell:
            require_authorization(keystore)  # another press may have used it up while this one waited
        _require_on(keystore)
        _list_all(keystore)
        file, decrypt_id = _choose_release(keystore)
        with db.transaction():
            if snapshot.row().decrypt_id != decrypt_id:
                raise Refused(
                    "Somebody else turned encryption off or on meanwhile.", "Look at the page again."
                )
            keystore.replace(file, file.with_decrypting_flag(decrypt_id))
        keystore.delete_authorization_file()
    audit.record("turning off encryption started", **vars(actor))


def _require_on(keystore: KeyStore) -> None:
    now = snapshot.look(keystore).state
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
    file = snapshot.disk(keystore).file
    if file is None:
        raise Refused("The key file went away meanwhile.", "Look at the page again.")
    authentic = sweep.each_authentic(keystore, "encryption stays on")
    attestation.write(keystore, file.primary, file.instance_id, authentic)


def _choose_release(keystore: KeyStore) -> tuple[KeyFile, bytes]:
    """Write a fresh release id into the row, durable before the file is flagged with it."""
    with db.transaction():
        disk, row = snapshot.disk(keystore), snapshot.row()
        if (
            disk.file is None
            or disk.file.decrypt_id
            or state.wrong(disk.file, row)
            or row.active_key_id is None
        ):
            raise Refused("The key file was changed by somebody else meanwhile.", "Look at the page again.")
        decrypt_id = secrets.token_bytes(DECRYPT_ID_BYTES)
        Encryption.update(decrypt_id=decrypt_id).execute()
        reports.begin("disable")
        return disk.file, decrypt_id


def cancel(keystore: KeyStore, actor: Actor) -> None:
    """Stop turning off and seal again what was written in clear. Refused once all are in clear.

    The licence that turning off wrote permits exactly what it opened before it began.
    """
    with keystore.locked(), db.transaction():
        disk, row = snapshot.disk(keystore), snapshot.row()
        if disk.file is None or disk.file.decrypt_id is None or state.wrong(disk.file, row):
            raise _nothing_to_cancel(snapshot.look(keystore))
        if row.active_key_id is None and not snapshot.any_sealed():
            raise Refused(
                f"Nothing was cancelled: {_in_clear()}.", "Turn encryption on again when this is finished."
            )
        keystore.replace(disk.file, disk.file.without_decrypting_flag())
        Encryption.update(decrypt_id=None).execute()
        reports.cancel()
    audit.record("turning off encryption cancelled", **vars(actor))


def _nothing_to_cancel(now: snapshot.Status) -> Refused:
    """What is so instead of turning off: it may have ended before the person pressed."""
    if now.state is State.OFF:
        return Refused(
            f"Nothing was cancelled: encryption is off already, and {_in_clear()}.",
            "Turn it on again to encrypt them." if now.clear else "Turn it on again.",
        )
    if now.state.no_key:
        return Refused(f"Nothing was cancelled. {now.reason}", now.remedy)
    return Refused("Nothing was cancelled: encryption is on and is not being turned off.", "Nothing to do.")


def _in_clear() -> str:
    """How many passwords stand in clear now, in the middle of a sentence."""
    count = snapshot.records(None).clear
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
            disk, row = snapshot.disk(keystore), snapshot.row()
            if not _may_finish(keystore) or row.active_key_id is not None or disk.file is None:
                return
            keystore.retire(disk.file)
            keystore.forget_expected_key()
            attestation.remove_if(keystore)
        with db.transaction():
            if snapshot.disk(keystore).file is None:
                Encryption.update(
                    decrypt_id=None,
                    scrub_pending=None,
                    enabled_at=None,
                    verified_at=None,
                    **backup_proof.UNPROVED,
                ).execute()
    audit.record("encryption turned off", who="worker")


def _may_finish(keystore: KeyStore) -> bool:
    disk, row = snapshot.disk(keystore), snapshot.row()
    good = disk.file is not None and state.wrong(disk.file, row) is None
    return good and disk.file is not None and disk.file.decrypt_id is not None and not snapshot.any_sealed()
