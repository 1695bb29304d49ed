"""Keys of other times: bringing an older key in, and dropping those that only old backups need."""

from __future__ import annotations

from dataclasses import dataclass

from panel import db
from panel.activity import service as activity
from panel.activity.service import Actor
from panel.crypto.keyfile import Key, KeyFile, fingerprint
from panel.encryption import facts, proof, state
from panel.encryption.keystore import KeyStore, typed
from panel.errors import BadCopy, Refused
from panel.models import Activity, Encryption

RETIRED = "encryption key retired"  # as Activity names it, with the key's fingerprint
ADDED = "older encryption key added"


# -- an older key ------------------------------------------------------------------


def add(keystore: KeyStore, copy: bytes, actor: Actor) -> list[str]:
    """Bring the keys of an older key file in as retired, so that an older database opens.

    Returns their fingerprints; none where all were there. Takes keys, never flags.
    Raises BadCopy, Refused; nothing is changed then.
    """
    other = proof.parse(copy)
    with keystore.locked(), db.transaction():
        file = _changeable(keystore)
        if other.instance_id != file.instance_id:
            raise BadCopy("That is the key file of another install.", "Use a key file of this one.")
        new = [key for key in other.keys if file.find(key.id) is None]
        if new and _is_newer(other, file):
            raise Refused(
                "That file is newer than the key file here, and holds all of its keys.",
                f"Put it in its place instead. {_put_in_place(keystore)}",
            )
        if not new:
            return []
        keystore.replace(file, file.with_retired(new))
        Encryption.update(backup_proved_at=None).execute()
        added = [fingerprint(key.id) for key in new]
        activity.record(ADDED, ", ".join(added), **vars(actor))
    return added


def _put_in_place(keystore: KeyStore) -> str:
    return f"Type: install -m 600 -o {keystore.owner} COPY {typed(keystore.path)}"


def _is_newer(other: KeyFile, file: KeyFile) -> bool:
    return other.generation > file.generation and all(other.find(key.id) for key in file.keys)


def _changeable(keystore: KeyStore) -> KeyFile:
    """The key file, where its list of keys may be changed. Call it under both locks."""
    disk, row = facts.disk(keystore), facts.row()
    if disk.error is not None:
        raise Refused(disk.error.message, disk.error.hint)
    if disk.file is None:
        raise Refused("There is no key file here.", f"Put one in its place. {_put_in_place(keystore)}")
    if disk.file.release_id is not None:
        raise Refused("Encryption is being turned off.", "Wait until that is done, or cancel it.")
    if row.damaged or disk.file.instance_id != row.instance_id:
        raise Refused("The key file here belongs to another install.", "Put the right one back first.")
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
    file = facts.disk(keystore).file
    stored = facts.records(None).sealed_by_key
    keys = [key for key in file.keys if key.state == "retired"] if file else []
    return [Retired(fingerprint(key.id), stored.get(key.id, 0), _retired_at(key)) for key in keys]


def _retired_at(key: Key) -> int | None:
    told = Activity.select(Activity.at).where(
        (Activity.what == RETIRED) & (Activity.subject == fingerprint(key.id))
    )
    last = told.order_by(Activity.at.desc()).first()
    return int(last.at) if last else None


def prune(keystore: KeyStore, actor: Actor) -> list[str]:
    """Drop the retired keys for good and return their fingerprints: what is under them opens no more.

    Refused while one stored record is under one of them, counted under the lock,
    and where there is none.
    """
    with keystore.locked(), db.transaction():
        file = _changeable(keystore)
        row, stored = facts.row(), facts.records(None).sealed_by_key
        going = [key for key in file.keys if key.state == "retired"]
        if state.wrong(file, row) or row.active_key_id != file.goal.id or any(k.id in stored for k in going):
            raise Refused(
                "Passwords are still encrypted with a retired key.", "First run: flask encryption resume"
            )
        if not going:
            raise Refused("There is no retired key to drop.", "There is nothing to do.")
        keystore.replace(file, file.without(going))
        Encryption.update(backup_proved_at=None).execute()
        dropped = [fingerprint(key.id) for key in going]
        activity.record("retired encryption keys dropped", ", ".join(dropped), **vars(actor))
    return dropped
