"""Turning encryption on: each step may be the last before a crash, and `resume` finishes what it began.

docs/encryption.md tells the steps in order and what each crash leaves behind.
"""

from __future__ import annotations

from dataclasses import dataclass

from panel import db
from panel.audit import Actor
from panel.crypto.keyfile import KeyFile
from panel.errors import Refused
from panel.vault import activate, attestation, rows
from panel.vault.state import State
from panel.vault.vault import Vault

SEE_STATUS = "See Server > Encryption, or run: flask encryption status"


@dataclass(frozen=True)
class Confirmations:
    """The two boxes of the page, the two options of the shell."""

    understands_key_loss: bool  # losing the key file loses the encrypted data
    backup_prepared: bool  # a secure backup of it is prepared

    def require_both(self) -> None:
        """Raise Refused unless both are confirmed."""
        if not (self.understands_key_loss and self.backup_prepared):
            raise Refused(
                "Both confirmations are needed; nothing was changed.",
                "Confirm that losing the key file loses all encrypted data (--understand-key-loss), and that"
                " a secure way to back it up is prepared (--backup-prepared).",
            )


def turn_on(vault: Vault, confirmations: Confirmations, actor: Actor) -> bool:
    """Generate the key file and activate its key; from then on every save is sealed. `resume` seals the rest.

    Whoever comes second joins the first, and gets False. Raises Refused without both confirmations, and in
    every state but off, enabling and on; nothing is changed then.
    """
    confirmations.require_both()
    with vault.keystore.locked():
        now = vault.read(counts=True)
        if now.state in (State.ENABLING, State.ON):
            return False
        if now.state is not State.OFF:
            raise Refused(
                f"Encryption cannot be turned on now: its state is {now.state}.", now.remedy or SEE_STATUS
            )
        vault.keystore.delete_authorization_file()
        file, before = KeyFile.generate(now.row.instance_id), rows.mark()
        _attest_clear(vault, file)
        with db.transaction():  # nobody saves in clear text between the list and the key file
            if rows.mark() != before:
                _attest_clear(vault, file)
            if vault.keystore.create(file):
                actor.record("key file created")
        with db.transaction():
            if not _lost_the_race(vault):
                activate.activate_locked(vault)
    return True


def _attest_clear(vault: Vault, file: KeyFile) -> None:
    attestation.write(vault.keystore, file, attestation.in_clear())


def _lost_the_race(vault: Vault) -> bool:
    """Whether another server's key became active first; our own file, which sealed nothing, moves aside."""
    now = vault.read()
    file, active = now.file, now.row.active_key_id
    if file is None or active is None or file.find(active) is not None or file.generation != 1:
        return False
    vault.keystore.set_aside_unused(file)
    attestation.remove_if(vault.keystore)
    vault.keystore.expect(active)
    return True
