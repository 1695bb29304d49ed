"""Checks of the encryption key: its state, the passwords encrypted under it, its backup."""

from __future__ import annotations

from collections.abc import Iterator

from panel.encryption.advice import advise
from panel.health.check import Check, Install, Label, Link
from panel.times import ago
from panel.vault import verification
from panel.vault.state import State
from panel.wording import counted, few

PAGE = Link("/server/encryption", "Open Encryption")


def encryption(install: Install) -> Iterator[Check]:
    """Whether passwords are encrypted and the key is there. /status has its own sentence for agents."""
    key = install.key
    some = f"{key.sealed:,} of {counted(key.total, 'password')} encrypted{_tokens(key.tokens)}."
    if key.state.no_key:
        advice = advise(key, install.vault)
        yield Check("encryption", False, f"{advice.reason} Collecting is paused.", advice.remedy, PAGE)
    elif key.state is State.OFF:
        clear = f"{key.clear:,} of {counted(key.total, 'password')} stored in clear text."
        message = f"Encryption is off: {clear if key.total else 'no passwords are stored yet.'}"
        remedy = "Turn encryption on: open the Encryption page, or run: flask encryption enable"
        yield Check("encryption", False, message, remedy, PAGE)
    elif key.state.working:
        message = f"Encryption is being changed ({key.state}): {some}"
        yield Check("encryption", True, message, link=PAGE, passed_as=Label.PENDING)
    else:
        none = f"no password is stored{_tokens(key.tokens)}." if key.tokens else "no passwords yet."
        yield Check("encryption", True, f"Encryption is on: {some if key.total else none}")


def _tokens(count: int) -> str:
    return f", and {counted(count, 'sign-in token')}" if count else ""


def passwords(install: Install) -> Iterator[Check]:
    """Whether every stored password can be decrypted: as last seen, or with `deep` by decrypting each."""
    key = install.key
    if key.state.no_key:
        return  # `encryption` reports that
    failures = key.failures
    if install.deep:
        verdict = verification.run(install.vault)
        failures = verdict.failures
        yield from _unattested(verdict)
    if failures:
        names = few(list(dict.fromkeys(each.address for each in failures)))
        message = f"Some passwords cannot be decrypted: {names}."
        remedy = "Enter the password of each of these mailboxes again."
        if not all(each.is_password for each in failures):
            message = f"Some secrets cannot be decrypted: {names}."
            remedy = "The Encryption page says of each why, and what to enter or connect again."
        agent_message = "An administrator must enter some mailbox passwords again."
        yield Check("passwords", False, message, remedy, PAGE, agent_message)
    elif not key.stored:
        yield Check("passwords", True, "No passwords are stored yet.", passed_as=Label.OFF)
    elif not key.sealed and not key.others:
        message = "Passwords are stored in clear text; there is nothing to decrypt."
        yield Check("passwords", True, message, passed_as=Label.OFF)
    elif install.deep:
        message = f"{counted(key.total, 'stored password')} can be decrypted."
        if key.others:
            message = f"{counted(key.stored, 'stored secret')} can be decrypted."
        yield Check("passwords", True, message)
    else:
        yield _as_last_verified(install)


def _as_last_verified(install: Install) -> Check:
    verified_at = max(install.key.times.verified_at or 0, install.sign_ins.reported_at)
    if verified_at:
        return Check("passwords", True, f"0 errors. All passwords were last verified {ago(verified_at)}.")
    message = "0 errors so far, but not every password has been verified yet."
    return Check("passwords", True, message, link=PAGE, passed_as=Label.PENDING)


def _unattested(verdict: verification.Verdict) -> Iterator[Check]:
    """Passwords written into the database in clear text: their servers may be an attacker's."""
    if verdict.unattested:
        addresses = few([each.address for each in verdict.unattested])
        message = f"Some passwords in clear text were not entered in Mailkeep: {addresses}."
        remedy = "Check the server of each of these mailboxes, and enter its password again."
        yield Check("unattested passwords", False, message, remedy, Link("/activity", "Open Activity"))


def backup(install: Install) -> Iterator[Check]:
    """Whether the key file as it is now has a verified backup."""
    verified_at = install.key.times.backup_proved_at
    if install.key.backup_due:
        remedy = "Verify a backup on the Encryption page, with the command shown there."
        yield Check("key backup", False, "The encryption key has no verified backup.", remedy, PAGE)
    elif verified_at is not None and install.key.state in (State.ON, State.INCONSISTENT):
        yield Check("key backup", True, f"The backup of the encryption key was verified {ago(verified_at)}.")
