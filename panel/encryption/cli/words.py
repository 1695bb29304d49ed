"""What the commands say: in lines for people, and as the JSON of docs/encryption.md for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from panel import times
from panel.encryption.leftovers.changed import Checklist
from panel.vault import rotation, snapshot
from panel.vault.keystore import KeyStore
from panel.vault.reports import Findings, Scan
from panel.vault.state import State
from panel.vault.sweep import Verdict

BACKUP_OUT_OF_DATE = (
    "The backup of the key file is out of date: copy the key file again, then prove the copy."
)
OPEN_READER = (
    "Old copies still stand in the database's files: another program is reading the database. End it. "
    "Then: flask encryption resume"
)
STATES = {
    State.OFF: "off: passwords are stored in clear",
    State.ENABLING: "being turned on",
    State.ON: "on",
    State.ROTATING: "moving to another key",
    State.DISABLING: "being turned off",
    State.KEY_MISSING: "the key file is missing; collecting is paused",
    State.KEY_UNREADABLE: "the key file cannot be used; collecting is paused",
    State.KEY_WRONG: "key file and database do not go together; collecting is paused",
    State.INCONSISTENT: "on, but some passwords do not open",
}


ALTERED = "the schema of the database was changed; collecting is paused"
ENABLED = (State.ON, State.INCONSISTENT, State.ENABLING, State.ROTATING)  # passwords are, or get, encrypted


BACKUP_DUE = (
    "No backup of this key file is proved. Copy it to where no backup of the database lies, "
    "then prove the copy: flask encryption key check COPY"
)


def passwords(count: int) -> str:
    """'1 password', '3 passwords'."""
    return f"{count} password" if count == 1 else f"{count} passwords"


# -- status --------------------------------------------------------------------------


def status_json(keystore: KeyStore, now: snapshot.Status) -> dict[str, Any]:
    """What `status --json` prints."""
    return {
        "state": str(now.state),
        "key": {
            "file": keystore.path.name,
            "found": now.found,
            "expected": now.expected,
            "created_at": now.key_created_at,
        },
        "passwords": {
            "total": now.total,
            "sealed": now.sealed,
            "clear": now.clear,
            "unreadable": now.unreadable,
        },
        "backup_proved_at": now.backup_proved_at,
    }


def status(now: snapshot.Status) -> Iterator[str]:
    """What state the key is in, and what to do about it."""
    yield f"Encryption: {ALTERED if now.altered else STATES[now.state]}."
    if now.total:
        yield f"Passwords: {now.total} stored, {now.sealed} encrypted, {now.clear} in clear."
    else:
        yield "Passwords: none stored yet."
    if now.found or now.expected:
        yield f"Key: found {now.found or 'none'}, expected {now.expected or 'none'}."
    if now.reason:
        yield f"{now.reason} {now.remedy}"
    if now.command:
        yield f"Type: {now.command}"
    for failure in now.failures:
        yield f"{failure.address}: {failure.reason}"


def backup_due(now: snapshot.Status) -> Iterator[str]:
    """That the key file is still to be backed up, where nobody has proved a copy of it."""
    if now.backup_due:
        yield BACKUP_DUE


def preview(what: rotation.Preview) -> Iterator[str]:
    """What changing the key will do."""
    yield (
        f"{what.passwords} passwords are encrypted again under a new key; that takes about {what.seconds} s."
    )
    yield "Then back up the key file again: no copy of today holds the new key."
    yield "The old key stays in the file, so that database backups of today can still be read."


# -- how work ended --------------------------------------------------------------------


def report(last: Findings) -> Iterator[str]:
    """What the last sweep did, and what the search after it found."""
    if last.scan is None:
        yield f"{last.did}: {last.counts}"
        yield last.verdict
    else:
        yield f"{last.did}: {last.counts} Looked for {times.ago(last.finished_at)}."
        yield from _scan(last.scan)


def _scan(scan: Scan) -> Iterator[str]:
    for each in scan.found:
        yield f"A password stands in: {each.name} ({', '.join(each.accounts)}). {each.remedy}"
    if scan.is_green:
        yield f"Nothing found in the {len(scan.searched)} files that were searched."
    elif not scan.found:
        yield "No password was looked for."
    if scan.left_out:
        yield scan.left_out
    for name, reason in scan.skipped:
        yield f"Not looked into: {name} ({reason})."
    yield f"Cannot be seen from here: {', '.join(scan.not_visible)}."


# -- verify ------------------------------------------------------------------------------


def verdict_json(verdict: Verdict, scan: Scan | None, boxes: Checklist) -> dict[str, Any]:
    """What `verify --json` prints."""
    result: dict[str, Any] = {
        "opened": verdict.opened,
        "failed": [{"account": f.address, "reason": f.reason} for f in verdict.failures],
        "found_in_clear": [{"account": f.address, "reason": f.reason} for f in verdict.unattested],
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
    """Which passwords opened, what a scan found, and which passwords old backups still hold."""
    if verdict.opened or verdict.failures:
        yield f"{verdict.opened} passwords opened, {len(verdict.failures)} did not."
    else:
        yield "No password is stored yet."
    for failure in verdict.failures:
        yield f"{failure.address}: {failure.reason}"
    for each in verdict.unattested:
        yield f"{each.address}: found in clear. {each.reason}"
    if scan is not None:
        yield from _scan(scan)
        yield f"Searched: {', '.join(scan.searched)}."
    if boxes.unchanged:
        yield "Not changed since encryption was turned on, so that old backups still hold them:"
    for box in boxes.unchanged:
        yield f"  {box.address}{' (sending)' if box.direction == 'out' else ''}"
