"""Keys of other times: bringing an older key in, and dropping those that only old backups need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from panel import db
from panel.audit import Actor
from panel.crypto.keyfile import KEY_ID_BYTES, MOST_KEYS, Key, KeyFile, fingerprint
from panel.errors import BadCopy, Refused
from panel.models import Activity
from panel.vault import backup_proof, forget
from panel.vault.files import typed
from panel.vault.snapshot import MISSING
from panel.vault.vault import Vault

RETIRED = "encryption key retired"  # as Activity names it, with the key's fingerprint
ADDED = "older encryption key added"
ROTATED, PRUNED = "encryption key rotated", "retired encryption keys deleted"
CREATED = "key file created"


# -- an older key ------------------------------------------------------------------


def add(vault: Vault, copy: bytes, actor: Actor) -> list[str]:
    """Bring the keys of an older key file in as retired, so that an older database opens.

    Returns their fingerprints; none where all were there. Takes keys, never flags.
    Raises BadCopy, Refused; nothing is changed then.
    """
    other = backup_proof.parse(copy)
    with vault.keystore.locked():
        with db.transaction():  # committed before the file has a key that no copy of it holds
            file = _changeable(vault)
            new = _lacking(vault, file, other)
            if not new:
                return []
            backup_proof.withdraw()
        with db.transaction():
            vault.keystore.replace(file, file.with_retired(new))
            added = [fingerprint(key.id) for key in new]
            actor.record(ADDED, ", ".join(added))
    return added


def _lacking(vault: Vault, file: KeyFile, other: KeyFile) -> list[Key]:
    """The keys of `other` that `file` lacks. Raises BadCopy, or Refused where `other` is the newer one."""
    if other.instance_id != file.instance_id:
        raise BadCopy("That is the key file of another install.", "Use a key file of this one.")
    here, there = {key.id for key in file.keys}, {key.id for key in other.keys}
    if other.generation > file.generation and there > here:
        raise Refused(
            "That file is newer than the key file here, and holds all of its keys.",
            f"Put it in its place instead. Run: {vault.keystore.put_back()}",
        )
    if other.generation > file.generation and vault.keystore.expected_key() in there - here:
        # As retired keys, they would send every record back to the earlier key that is here.
        raise Refused(
            "That file is newer than the key file here: it holds the key that this server used last.",
            f"Move {typed(vault.keystore.path)} elsewhere, then put that one there. "
            f"Run: {vault.keystore.put_back()}",
        )
    require_room(file, len(there - here))
    return [key for key in other.keys if key.id not in here]


def require_room(file: KeyFile, more: int) -> None:
    """Raise Refused where `file` cannot hold `more` keys besides."""
    if len(file.keys) + more > MOST_KEYS:
        raise Refused(
            f"The key file would hold more than {MOST_KEYS} keys; nothing was changed.",
            "Drop the retired ones first: flask encryption key prune",
        )


def _changeable(vault: Vault) -> KeyFile:
    """The key file, where its list of keys may be changed. Call it under both locks."""
    now = vault.read()
    if now.disk.error is not None:
        raise Refused(now.disk.error.message, now.disk.error.remedy)
    if now.file is None:
        off = now.disk.expected_key is None and now.row.active_key_id is None
        raise Refused(
            "Encryption is off: there is no key file." if off else f"{MISSING}.",
            f"If the database is an encrypted one, put its key file in place: {vault.keystore.put_back()}",
        )
    if now.file.decrypt_id is not None:
        raise Refused("Encryption is being turned off.", "Wait until that is done, or cancel it.")
    if now.row.damaged or now.file.instance_id != now.row.instance_id:
        raise Refused(now.reason, now.remedy)
    return now.file


# -- retired keys ------------------------------------------------------------------


@dataclass(frozen=True)
class Retired:
    """A key that only opens, the records still under it, and when it was in use: such backups need it."""

    fingerprint: str
    records: int
    since: int | None  # when it retired; None: Activity does not know any more
    used_from: int | None = None


def retired(vault: Vault) -> list[Retired]:
    """The retired keys of the key file, in its order."""
    now = vault.read(counts=True)
    stored = now.records.sealed_by_key
    keys = [key for key in now.file.keys if key.state == "retired"] if now.file else []
    began, ended = _times_of_use() if keys else ({}, {})
    return [
        Retired(name, stored.get(key.id, 0), ended.get(name), began.get(name))
        for key, name in ((key, fingerprint(key.id)) for key in keys)
    ]


def _times_of_use() -> tuple[dict[str, int], dict[str, int]]:
    """When each key was first and last in use, by its fingerprint, as Activity has it."""
    began: dict[str, int] = {}
    ended: dict[str, int] = {}
    first = None  # no event names the key that a new file begins with
    kinds = Activity.what.in_([CREATED, ROTATED, RETIRED])
    for event in (
        Activity.select(Activity.what, Activity.subject, Activity.at).where(kinds).order_by(Activity.id)
    ):
        if event.what == CREATED:
            first = event.at
        elif event.what == ROTATED:
            began[event.subject.removeprefix("to ")] = event.at
        else:
            ended[event.subject] = event.at
            if event.subject not in began and first is not None:
                began[event.subject], first = first, None
    return began, ended


def prune(vault: Vault, actor: Actor, shown: Collection[str] | None = None) -> list[str]:
    """Drop the retired keys for good and return their fingerprints: what is under them opens no more.

    `shown`: the fingerprints that the person confirmed. Refused where others have
    retired meanwhile, where there is none, and while a record is under one of them,
    stored or set aside, counted under the lock.
    """
    with vault.keystore.locked():
        with db.transaction():  # a database that takes nothing is met here, before the key file changes
            _going(vault, shown)
            backup_proof.withdraw()
        with db.transaction():
            file, going = _going(vault, shown)
            vault.keystore.replace(file, file.without(going))
            dropped = [fingerprint(key.id) for key in going]
            actor.record(PRUNED, ", ".join(dropped))
    return dropped


def _going(vault: Vault, shown: Collection[str] | None) -> tuple[KeyFile, list[Key]]:
    file = _changeable(vault)
    going = [key for key in file.keys if key.state == "retired"]
    _require_unused(vault, file, {key.id for key in going})
    if not going:
        raise Refused("There is no retired key to drop.", "There is nothing to do.")
    if shown is not None and {fingerprint(key.id) for key in going} != set(shown):
        raise Refused(
            "Another key has been retired or dropped since; nothing was dropped.",
            "Run the command again to see which.",
        )
    return file, going


def _require_unused(vault: Vault, file: KeyFile, going: set[bytes]) -> None:
    now = vault.read(counts=True)
    if now.is_wrong or now.row.active_key_id != file.primary.id or going & now.records.sealed_by_key.keys():
        raise Refused(
            "Passwords are still encrypted with a retired key.", "First run: flask encryption resume"
        )
    waiting = [
        each.name for each in forget.restorable(vault) if each.record.sealed[2 : 2 + KEY_ID_BYTES] in going
    ]
    if waiting:
        raise Refused(
            f"Passwords that were set aside can be put back only with a retired key: {', '.join(waiting)}.",
            f"First run: flask encryption key add {typed(vault.keystore.path)} --restore",
        )
