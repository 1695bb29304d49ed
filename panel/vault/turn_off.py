"""Turning encryption off: it takes file access to begin, and can be cancelled until nothing is sealed.

Only the flag *in the key file*, together with the state row's decrypt id, ever
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
from panel.vault import attestation, backup_proof, counts, only_encrypted, reports, verification
from panel.vault.keystore import AUTHORIZATION_FILE
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault

NONCE_BYTES, CODE_BYTES, DECRYPT_ID_BYTES = 8, 8, 16
AUTHORIZATION_SECONDS = 3600


@dataclass(frozen=True)
class Challenge:
    """What the authorization file must hold: shown on the page, recomputed from the key each time."""

    nonce: str
    code: str

    @property
    def text(self) -> str:
        """Its one line."""
        return f"{self.nonce} {self.code}"


def challenge(vault: Vault, nonce: str | None = None) -> Challenge:
    """A nonce (a fresh one unless given) and the code that only this key file yields for it.

    Both are worth nothing once the key file changes. Raises Refused without a key.
    """
    return challenge_from(vault.read(), nonce)


def challenge_from(now: Snapshot, nonce: str | None = None) -> Challenge:
    """`challenge` for a reading that was taken already."""
    key = now.file.find(now.row.active_key_id) if now.file else None
    if now.file is None or key is None:
        raise Refused("Encryption is not on, so it cannot be turned off.", "Reload the page.")
    nonce = nonce or secrets.token_hex(NONCE_BYTES)
    info = (
        b"mailkeep/disable" + now.file.instance_id + now.file.generation.to_bytes(8, "big") + nonce.encode()
    )
    return Challenge(nonce, key.derive(info, CODE_BYTES).hex())


def require_authorization(vault: Vault) -> None:
    """Raise Refused unless the authorization file shows access to the file system (see `turn_off`)."""
    found = vault.keystore.authorization_file()
    if found is None:
        raise Refused(
            f"The file {AUTHORIZATION_FILE} is not there yet.",
            "Create it with the command shown, then press the button again.",
        )
    words = re.fullmatch(r"\ufeff?([0-9a-f]{1,64})\s+([0-9a-f]{1,64})\s*", found.text)
    fresh = "Create it again with the command shown."
    if words is None:
        raise Refused(f"The file {AUTHORIZATION_FILE} does not hold the code that the page shows.", fresh)
    if not hmac.compare_digest(challenge(vault, words[1]).code, words[2]):
        raise Refused(
            f"The code in {AUTHORIZATION_FILE} belongs to another key file, or was used already.", fresh
        )
    age = time.time() - found.modified
    if not vault.keystore.key_file_modified() <= found.modified or not -60 <= age <= AUTHORIZATION_SECONDS:
        raise Refused(f"The file {AUTHORIZATION_FILE} is older than an hour, or than the key file.", fresh)


def turn_off(vault: Vault, actor: Actor, *, in_shell: bool = False) -> None:
    """Begin to write every password back in clear text; `resume` does the rest and retires the key file.

    From the web it takes the authorization file; a shell is the proof itself. Refused unless every record has
    just been opened, and while anything but passwords is stored; nothing is changed then.
    """
    if not in_shell:
        require_authorization(vault)
    with vault.keystore.locked():
        if not in_shell:
            require_authorization(vault)  # another press may have used it up while this one waited
        now = vault.read(counts=True)
        _require_on(now)
        only_encrypted.require_none()
        _attest_all(vault, now)
        file, decrypt_id = _choose_decrypt_id(vault)
        with db.transaction():
            if vault.read().row.decrypt_id != decrypt_id:
                raise Refused("Encryption was turned off or on by another process.", "Reload the page.")
            only_encrypted.require_none()  # who saves another from here on reads the flag under the same lock
            vault.keystore.replace(file, file.with_decrypting_flag(decrypt_id))
        vault.keystore.delete_authorization_file()
    actor.record("turning off encryption started")


def _require_on(now: Snapshot) -> None:
    if now.state is State.OFF:
        raise Refused(f"Encryption is off already: {_in_clear(now)}.", "There is nothing to do.")
    if now.state is State.DISABLING:
        raise Refused("Encryption is being turned off already.", "This finishes by itself.")
    if now.state.no_key:
        raise Refused(
            "Encryption cannot be turned off without its key.",
            "Put the key file back first. To see how, run: flask encryption status",
        )


def _attest_all(vault: Vault, now: Snapshot) -> None:
    """Open every record, and list it durably for the sweep that follows if turning off is cancelled.

    The list is made now: once values stand in clear text, nothing could tell them from planted ones.
    """
    if now.file is None:
        raise Refused("The key file was removed.", "Reload the page.")
    authentic = verification.each_authentic(vault, "encryption stays on")
    attestation.write(vault.keystore, now.file, authentic)


def _choose_decrypt_id(vault: Vault) -> tuple[KeyFile, bytes]:
    """Write a fresh decrypt id into the row, durable before the file is marked with it."""
    with db.transaction():
        now = vault.read()
        file = now.good_file()
        if file is None or now.row.active_key_id is None:
            raise Refused("The key file was changed by another process.", "Reload the page.")
        decrypt_id = secrets.token_bytes(DECRYPT_ID_BYTES)
        Encryption.update(decrypt_id=decrypt_id).execute()
        reports.begin("disable")
        return file, decrypt_id


def cancel(vault: Vault, actor: Actor) -> None:
    """Stop turning off and seal again what was written in clear text. Refused once everything is.

    The attestation that turning off wrote permits exactly what it opened before it began.
    """
    with vault.changing():
        now = vault.read(counts=True)
        if now.file is None or now.file.decrypt_id is None or now.is_wrong:
            raise _nothing_to_cancel(now)
        if now.row.active_key_id is None and not now.any_sealed:
            raise Refused(
                f"Nothing was cancelled: {_in_clear(now)}.", "Turn encryption on again when this is finished."
            )
        vault.keystore.replace(now.file, now.file.without_decrypting_flag())
        Encryption.update(decrypt_id=None).execute()
        reports.cancel()
    actor.record("turning off encryption cancelled")


def _nothing_to_cancel(now: Snapshot) -> Refused:
    """Why there is nothing to cancel: turning off may have ended before the button was pressed."""
    if now.state is State.OFF:
        return Refused(
            f"Nothing was cancelled: encryption is off already, and {_in_clear(now)}.",
            "Turn it on again to encrypt them." if now.clear else "Turn it on again.",
        )
    if now.state.no_key:
        return Refused(f"Nothing was cancelled. {now.reason}", now.remedy)
    return Refused("Nothing was cancelled: encryption is on and is not being turned off.", "Nothing to do.")


def _in_clear(now: Snapshot) -> str:
    """How many passwords are in clear text, in the middle of a sentence."""
    if not now.clear:
        return "no password is stored"
    return "1 password is in clear text" if now.clear == 1 else f"{now.clear} passwords are in clear text"


def finish(vault: Vault) -> None:
    """After the sweep: (A) no key is active, (B) the key file is retired, (C) the decrypt id is removed."""
    with db.transaction():
        if _decrypted_file(vault.read()) is None:
            return
        Encryption.update(active_key_id=None).execute()
    with vault.keystore.locked():
        with db.transaction():
            now = vault.read()
            file = _decrypted_file(now)
            if file is None or now.row.active_key_id is not None:
                return
            vault.keystore.retire(file)
            vault.keystore.forget_expected_key()
            attestation.remove_if(vault.keystore)
        with db.transaction():
            if vault.read().file is None:
                Encryption.update(
                    decrypt_id=None, scrub_pending=None, key_created_at=None, enabled_at=None,
                    verified_at=None, **backup_proof.UNVERIFIED,
                ).execute()  # fmt: skip
    audit.record("encryption turned off", who="worker")


def _decrypted_file(now: Snapshot) -> KeyFile | None:
    """The key file, where it is marked for decrypting and no record is sealed any more; None otherwise."""
    marked = now.file is not None and now.file.decrypt_id is not None and not now.is_wrong
    return now.file if marked and not counts.any_sealed() else None
