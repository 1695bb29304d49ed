"""Keys of other times: bringing an older key in, and dropping those that only old backups need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from panel import audit, db
from panel.audit import Actor
from panel.crypto.keyfile import KEY_ID_BYTES, MOST_KEYS, Key, KeyFile, fingerprint
from panel.errors import BadCopy, Refused
from panel.models import Activity
from panel.vault import backup_proof, forget, snapshot, state
from panel.vault.files import typed
from panel.vault.keystore import KeyStore

RETIRED = "encryption key retired"  # as Activity names it, with the key's fingerprint
ADDED = "older encryption key added"


# -- an older key ------------------------------------------------------------------


def add(keystore: KeyStore, copy: bytes, actor: Actor) -> list[str]:
    """Bring the keys of an older key file in as retired, so that an older database opens.

    Returns their fingerprints; none where all were there. Takes keys, never flags.
    Raises BadCopy, Refused; nothing is changed then.
    """
    other = backup_proof.parse(copy)
    with keystore.locked():
        with db.transaction():  # committed before the file has a key that no copy of it holds
            file = _changeable(keystore)
            new = _lacking(keystore, file, other)
            if not new:
                return []
            backup_proof.withdraw()
        with db.transaction():
            keystore.replace(file, file.with_retired(new))
            added = [fingerprint(key.id) for key in new]
            audit.record(ADDED, ", ".join(added), **vars(actor))
    return added


def _lacking(keystore: KeyStore, file: KeyFile, other: KeyFile) -> list[Key]:
    """The keys of `other` that `file` lacks. Raises BadCopy, or Refused where `other` is the newer one."""
    if other.instance_id != file.instance_id:
        raise BadCopy("That is the key file of another install.", "Use a key file of this one.")
    here, there = {key.id for key in file.keys}, {key.id for key in other.keys}
    if other.generation > file.generation and there > here:
        raise Refused(
            "That file is newer than the key file here, and holds all of its keys.",
            f"Put it in its place instead. Type: {keystore.put_back()}",
        )
    if other.generation > file.generation and keystore.expected_key() in there - here:
        # As retired keys, they would send every record back to the earlier key that is here.
        raise Refused(
            "That file is newer than the key file here: it holds the key that this server used last.",
            f"Move {typed(keystore.path)} elsewhere, then put that one there. Type: {keystore.put_back()}",
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


def _changeable(keystore: KeyStore) -> KeyFile:
    """The key file, where its list of keys may be changed. Call it under both locks."""
    disk, row = snapshot.disk(keystore), snapshot.row()
    if disk.error is not None:
        raise Refused(disk.error.message, disk.error.remedy)
    if disk.file is None:
        off = disk.expected_key is None and row.active_key_id is None
        raise Refused(
            "Encryption is off: there is no key file." if off else "The encryption key file is missing.",
            f"If the database is an encrypted one, put its key file in place: {keystore.put_back()}",
        )
    if disk.file.decrypt_id is not None:
        raise Refused("Encryption is being turned off.", "Wait until that is done, or cancel it.")
    if row.damaged or disk.file.instance_id != row.instance_id:
        reason, remedy = state.told_wrong(disk, row)
        raise Refused(f"{reason}.", remedy)
    return disk.file


# -- retired keys ------------------------------------------------------------------


@dataclass(frozen=True)
class Retired:
    """A key that only opens: its fingerprint, the records still under it, since when (UTC seconds)."""

    fingerprint: str
    records: int
    since: int | None  # None: Activity does not know any more


def retired(keystore: KeyStore) -> list[Retired]:
    """The retired keys of the key file, in its order."""
    file = snapshot.disk(keystore).file
    stored = snapshot.records(None).sealed_by_key
    keys = [key for key in file.keys if key.state == "retired"] if file else []
    return [Retired(fingerprint(key.id), stored.get(key.id, 0), _retired_at(key)) for key in keys]


def _retired_at(key: Key) -> int | None:
    told = Activity.select(Activity.at).where(
        (Activity.what == RETIRED) & (Activity.subject == fingerprint(key.id))
    )
    last = told.order_by(Activity.at.desc()).first()
    return int(last.at) if last else None


def prune(keystore: KeyStore, actor: Actor, shown: Collection[str] | None = None) -> list[str]:
    """Drop the retired keys for good and return their fingerprints: what is under them opens no more.

    `shown`: the fingerprints that the person confirmed. Refused where others have
    retired meanwhile, where there is none, and while a record is under one of them,
    stored or set aside, counted under the lock.
    """
    with keystore.locked():
        with db.transaction():  # a database that takes nothing is met here, before the key file changes
            _going(keystore, shown)
            backup_proof.withdraw()
        with db.transaction():
            file, going = _going(keystore, shown)
            keystore.replace(file, file.without(going))
            dropped = [fingerprint(key.id) for key in going]
            audit.record("retired encryption keys deleted", ", ".join(dropped), **vars(actor))
    return dropped


def _going(keystore: KeyStore, shown: Collection[str] | None) -> tuple[KeyFile, list[Key]]:
    file = _changeable(keystore)
    going = [key for key in file.keys if key.state == "retired"]
    _require_unused(keystore, file, {key.id for key in going})
    if not going:
        raise Refused("There is no retired key to drop.", "There is nothing to do.")
    if shown is not None and {fingerprint(key.id) for key in going} != set(shown):
        raise Refused(
            "Another key has retired or was dropped meanwhile; nothing was dropped.",
            "Run the command again to see which.",
        )
    return file, going


def _require_unused(keystore: KeyStore, file: KeyFile, going: set[bytes]) -> None:
    row, stored = snapshot.row(), snapshot.records(None).sealed_by_key
    if state.wrong(file, row) or row.active_key_id != file.primary.id or going & stored.keys():
        raise Refused(
            "Passwords are still encrypted with a retired key.", "First run: flask encryption resume"
        )
    waiting = [
        str(each.account.address)
        for each in forget.restorable(keystore)
        if each.sealed[2 : 2 + KEY_ID_BYTES] in going
    ]
    if waiting:
        raise Refused(
            f"Passwords that were set aside can be put back only with a retired key: {', '.join(waiting)}.",
            f"First run: flask encryption key add {typed(keystore.path)} --restore",
        )
