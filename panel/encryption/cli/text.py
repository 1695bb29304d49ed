"""What the commands print: lines for people, and the JSON of docs/encryption.md for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from panel.encryption.advice import advise
from panel.encryption.leftovers.changed import Checklist
from panel.program import as_typed
from panel.vault import rotation
from panel.vault.owners import Failure
from panel.vault.reading import secrets
from panel.vault.reports import Findings, Scan
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault
from panel.vault.verification import Verdict
from panel.wording import counted

BACKUP_OUT_OF_DATE = as_typed(
    "The backup of the key file is out of date. Copy the key file again, then verify the copy: "
    "flask encryption key check COPY"
)
BACKUP_DUE = as_typed(
    "It has no verified backup. Copy the key file to a place without database backups, then verify the copy: "
    "flask encryption key check COPY"
)
OPEN_READER = as_typed(
    "Leftovers in clear text are still in the database files: another program is reading the database. "
    "End it, then run: flask encryption resume"
)
STATES = {
    State.OFF: "off",
    State.ENABLING: "turning on",
    State.ON: "on",
    State.ROTATING: "changing the key",
    State.DISABLING: "turning off",
    State.KEY_MISSING: "the key file is missing; collecting is paused",
    State.KEY_UNREADABLE: "the key file cannot be used; collecting is paused",
    State.KEY_WRONG: "key file and database do not match; collecting is paused",
    State.INCONSISTENT: "on, but some passwords cannot be decrypted",
}
ALTERED = "the database schema was changed; collecting is paused"


# -- status --------------------------------------------------------------------------


def status_json(vault: Vault, now: Snapshot) -> dict[str, Any]:
    return {
        "state": str(now.state),
        "key": {
            "file": vault.keystore.path.name,
            "found": now.found,
            "expected": now.expected,
            "created_at": now.times.key_created_at,
        },
        "passwords": {
            "total": now.total,
            "sealed": now.sealed,
            "clear": now.clear,
            "unreadable": now.unreadable,
        },
        "others": {"sealed": now.others, "tokens": now.tokens, "unreadable": now.others_unreadable},
        "backup_proved_at": now.times.backup_proved_at,
    }


def status(now: Snapshot, vault: Vault) -> Iterator[str]:
    """What state the key is in, and what to do about it: two lines where nothing is wrong."""
    yield f"Encryption: {ALTERED if now.row.altered else STATES[now.state]}. {_stored(now)}"
    if now.found and now.found == now.expected:
        verified = " Backup verified." if now.times.backup_proved_at is not None else ""
        backup = f" {BACKUP_DUE}" if now.backup_due else verified
        yield f"Key: {now.found}.{backup}"
    elif now.found or now.expected:
        expected = f"{now.expected} expected" if now.expected else "none expected"
        yield f"Key: {expected}, {now.found or 'no key file'} found."
    advice = advise(now, vault)
    if advice.reason:
        yield f"{advice.reason} {advice.remedy}"
    if advice.command:
        yield f"Run: {advice.command}"
    for failure in now.failures:
        yield f"{_owner(failure)}: {failure.reason}"


def _stored(now: Snapshot) -> str:
    tokens = f"{counted(now.tokens, 'sign-in token')} encrypted." if now.tokens else ""
    if not now.total:
        return tokens or "No passwords yet."
    if now.clear and now.sealed:
        stored = f"{now.sealed:,} of {counted(now.total, 'password')} encrypted, {now.clear:,} in clear text."
    elif now.clear:
        stored = f"{counted(now.clear, 'password')} in clear text."
    elif tokens:
        return f"{counted(now.sealed, 'password')} and {tokens}"
    else:
        stored = f"{counted(now.sealed, 'password')} encrypted."
    return f"{stored} {tokens}".rstrip()


def _owner(failure: Failure) -> str:
    of_mailbox = failure.what in ("consent", "submission password")
    return f"{failure.what.capitalize()} of {failure.address}" if of_mailbox else failure.address


def preview(what: rotation.Preview) -> Iterator[str]:
    if what.passwords or what.others:
        count = secrets(what.passwords + what.others, others=what.others)
        yield f"{count} will be encrypted again with a new key, in about {what.seconds} s."
    else:
        yield "A new key will be generated. No passwords are stored yet."
    yield "The old key stays in the file, so that existing database backups can still be read."


# -- how work ended --------------------------------------------------------------------


def report(last: Findings) -> Iterator[str]:
    """What the search for leftovers after the last sweep found."""
    if last.scan is not None:
        yield from _scan(last.scan)
    elif last.kind == "disable":
        yield last.verdict


def _scan(scan: Scan) -> Iterator[str]:
    for each in scan.found:
        yield f"Leftover in clear text: {each.name} ({', '.join(each.accounts)}). {as_typed(each.remedy)}"
    if not scan.found:
        yield scan.verdict
    elif scan.left_out:
        yield scan.left_out
    for name, reason in scan.skipped:
        yield f"Not searched: {name} ({reason})."


# -- verify ------------------------------------------------------------------------------


def verdict_json(verdict: Verdict, scan: Scan | None, boxes: Checklist) -> dict[str, Any]:
    result: dict[str, Any] = {
        "opened": verdict.opened,
        "failed": [{"account": f.address, "reason": f.reason, "what": f.what} for f in verdict.failures],
        "unattested": [{"account": f.address, "reason": f.reason} for f in verdict.unattested],
        "unchanged": [{"account": box.address, "direction": box.direction} for box in boxes.unchanged],
    }
    if scan is not None:
        result["scan"] = {
            "searched": scan.searched,
            "found": [each.name for each in scan.found],
            "found_of": [{"file": each.name, "accounts": each.accounts} for each in scan.found],
            "not_searched": [{"file": name, "reason": reason} for name, reason in scan.skipped],
            "looked_for": scan.looked_for,
            "not_looked_for": scan.not_looked_for,
            "not_visible": scan.not_visible,
        }
    return result


def verdict(verdict: Verdict, scan: Scan | None, boxes: Checklist) -> Iterator[str]:
    """Which passwords can be decrypted, what a scan found, and which passwords old backups still hold."""
    if verdict.opened or verdict.failures:
        opened = secrets(verdict.opened, others=verdict.others)
        yield f"{opened} can be decrypted, {counted(len(verdict.failures), 'error')}."
    else:
        yield "No passwords yet."
    for failure in verdict.failures:
        yield f"{_owner(failure)}: {failure.reason}"
    for each in verdict.unattested:
        yield f"{each.address}: in clear text. {each.reason}"
    if scan is not None:
        yield from _scan(scan)
        yield f"Searched: {', '.join(scan.searched)}."
        yield f"Cannot be seen from here: {', '.join(scan.not_visible)}."
    if boxes.unchanged:
        yield "Not changed since encryption was turned on, so old backups still hold them:"
    for box in boxes.unchanged:
        yield f"  {box.address}{' (sending)' if box.direction == 'out' else ''}"
