"""Verifying a backup of the key file without sending the key anywhere.

The page gives a fresh nonce; where the copy is stored, SHA-256(nonce ‖ copy) is
computed and pasted back. A shell may hand the copy itself (`key check FILE`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from panel import db
from panel.audit import Actor
from panel.crypto.keyfile import KeyFile, NotAKeyFile, fingerprint
from panel.errors import BadCopy, BadInput, Refused
from panel.models import Encryption
from panel.vault import reading
from panel.vault.vault import Vault

NONCE_BYTES = 16
UNVERIFIED: dict[str, object] = {"backup_proved_at": None, "backup_tag": None}


def nonce() -> str:
    """A fresh nonce: hexadecimal text, used as it stands. The caller keeps it until the answer comes."""
    return secrets.token_hex(NONCE_BYTES)


def verify(vault: Vault, given: str, answer: str, actor: Actor) -> None:
    """Note that the backup is good if `answer` is SHA-256(`given` ‖ today's key file) in hexadecimal.

    Raises BadInput for another answer, Refused where there is no good key file.
    """
    with vault.changing():  # file and row stay as they were compared until that is noted
        file = _todays(vault)
        if not hmac.compare_digest(answer_for(given, file.to_bytes()), answer):
            raise BadInput(
                "The copy differs from the current key file.",
                "Copy the key file again, in binary mode, then run the command where the new copy is stored.",
                field="answer",
            )
        note(file, actor)


def answer_for(given: str, copy: bytes) -> str:
    """The answer of who holds `copy`: SHA-256(`given` ‖ `copy`) in hexadecimal."""
    return hashlib.sha256(given.encode() + copy).hexdigest()


def check(vault: Vault, copy: bytes, actor: Actor) -> None:
    """Note that the backup is good if `copy` is today's key file, byte for byte.

    Raises BadCopy saying what it is instead, Refused where there is no good key file here.
    """
    with vault.changing():
        file = _todays(vault)
        if copy != file.to_bytes():
            _say_why(file, parse(copy))
        note(file, actor)


def _todays(vault: Vault) -> KeyFile:
    """The key file that a copy must equal: the right one, and not marked for decrypting."""
    now = vault.read()
    if now.file is None or now.is_wrong:
        raise Refused(
            "There is no good key file here to compare the copy with.", "Run: flask encryption status"
        )
    if now.file.decrypt_id is not None:
        raise Refused(
            "Encryption is being turned off; a copy of the key file cannot serve as a backup.",
            "Keep the earlier copy. Try again when encryption is on.",
        )
    return now.file


def withdraw() -> None:
    """The backup counts as not verified from here on. Commit it before the key file changes.

    The change makes the tag void by itself, at whatever instant a crash comes. Withdrawing it first finds a
    database that cannot be written while the key file is still as it was.
    """
    Encryption.update(UNVERIFIED).execute()


def parse(copy: bytes) -> KeyFile:
    """The key file in `copy`. Raises BadCopy where it is none."""
    try:
        return KeyFile.from_bytes(copy)
    except NotAKeyFile as error:
        raise BadCopy(
            f"The copy is no intact key file: {error}.", "Copy the key file again, in binary mode."
        ) from None


def _say_why(file: KeyFile, copy: KeyFile) -> None:
    if copy.instance_id != file.instance_id:
        raise BadCopy("The copy is the key file of another install.", "Copy the key file of this one.")
    lacking = [fingerprint(key.id) for key in file.keys if copy.find(key.id) is None]
    if lacking:
        raise BadCopy(
            f"The copy is out of date: it lacks key {', '.join(lacking)}.", "Copy the key file again."
        )
    raise BadCopy(
        "The copy holds every key, but is not today's file. It would work in an emergency.",
        "Copy the key file again.",
    )


def note(file: KeyFile, actor: Actor) -> None:
    """Keep that a copy was the same as `file`. Call it under the lock that they were compared under."""
    with db.transaction():
        now = db.now()
        Encryption.update(backup_proved_at=now, backup_tag=reading.backup_tag(file, now)).execute()
        actor.record("key backup verified")
