"""When a key is lost for good: its records are set aside, and each password is asked for again.

Nothing is destroyed: `restore` puts a record back once a key that opens it is in
the key file. One transaction sets all aside and, as its last step, moves a bad file
away; the expected key goes last. A kill in between is made good by doing it once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from peewee import ColumnBase

from panel import db
from panel.audit import Actor
from panel.crypto.keyfile import KeyFile
from panel.errors import CannotOpen, PasswordNeeded, Refused
from panel.models import SECRET_ROWS, Consent, Encryption, Endpoint, ForgottenSecret, Pending, SecretRow
from panel.models.secret_fields import StoredRecord
from panel.vault import attestation, backup_proof, credential, owners, rows
from panel.vault.files import typed
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault

# Raw SQL, as in the sweep: no secret is stored here, one is taken away or put back (docs/decisions/0003).
TAKE_AWAY = (
    "UPDATE {} SET sealed = NULL, rev = rev + 1, failed_rev = NULL, failed_generation = NULL, failure = NULL"
    " WHERE id = ? AND rev = ?"
)
PUT_BACK = (
    "UPDATE OR IGNORE {} SET sealed = ?, {} = ?, rev = rev + 1"
    " WHERE {} = ? AND clear IS NULL AND sealed IS NULL"
)


class Lost(NamedTuple):
    """Whose record cannot be read any more. `what`: mailbox, app, consent or sign-in."""

    name: str
    what: str


@dataclass(frozen=True)
class Forgotten:
    """What was done: what is to be entered again, and where a bad key file lies now.

    `removed`: the records that had no account any more, and flows under way.
    """

    lost: tuple[Lost, ...]
    removed: tuple[Lost, ...]
    moved_to: Path | None


def lost(vault: Vault) -> list[Lost]:
    """Whose records would be lost: first those that can be entered again.

    Raises Refused unless the key is lost.
    """
    found, hopeless = _require_lost(vault)
    return [*_names(found), *_names(hopeless)]


def forget(vault: Vault, actor: Actor) -> Forgotten:
    """Set every sealed record aside and begin without a key; encryption is off then.

    A record whose account was removed behind the panel's back could go back to nobody: it is removed, and so
    is a flow under way.
    Refused unless the key file is missing, unusable or the wrong one, and while
    any key file beside it, whatever its name and mode, opens one of the records.
    """
    keystore = vault.keystore
    with keystore.locked():
        with db.transaction():
            found, hopeless = _require_lost(vault)
            for row in found:
                _set_aside(row)
            for row in hopeless:
                row.delete_instance()
            Encryption.update(
                active_key_id=None, decrypt_id=None, scrub_pending=None, key_created_at=None, enabled_at=None,
                verified_at=None, trouble_since=None, **backup_proof.UNVERIFIED,
            ).execute()  # fmt: skip
            names, removed = _names(found), _names(hopeless)
            named = dict.fromkeys(each.name for each in (*names, *removed))
            actor.record("lost key forgotten", ", ".join(named)[:320])
            in_clear = owners.by_owner(Endpoint, Endpoint.clear.is_null(False))
            for each in _names(in_clear):  # without a key file they are taken as they stand from now on
                actor.record("unattested password found", each.name, attestation.UNATTESTED)
            # Before the commit: beside a row that names no key, an earlier key's file would be a good one.
            moved_to = keystore.set_aside_lost()
        attestation.remove_if(keystore)
        keystore.abandon_expected_key()
    return Forgotten(names, removed, moved_to)


def _names(found: Iterable[SecretRow]) -> tuple[Lost, ...]:
    return tuple(dict.fromkeys(Lost(owners.address(row), row.words.owner) for row in found))


def _require_lost(vault: Vault) -> tuple[list[SecretRow], list[SecretRow]]:
    """The rows with a sealed record, apart those that nothing could go back to; no key here opens any."""
    now = vault.read(counts=True)
    row, keystore = now.row, vault.keystore
    if not now.state.no_key:
        raise Refused(f"The key is not lost: the state is {now.state}.", "Nothing has to be forgotten.")
    if row.altered:
        raise Refused(now.reason, "Correct the schema first: run flask doctor.")
    if row.damaged:
        raise Refused(
            "The database does not have exactly one encryption row, so the state of the key is unknown.",
            "See docs/encryption.md, 'A damaged state row'.",
        )
    sealed = [each for model in SECRET_ROWS for each in owners.by_owner(model, model.sealed.is_null(False))]
    for path, file in keystore.here():
        if file.find(row.active_key_id) or any(_opens(file, row.instance_id, each) for each in sealed):
            raise Refused(f"The key is still here, in {path}.", _remedy(path, now, vault))
    found: list[SecretRow] = []
    hopeless: list[SecretRow] = []
    for each in sealed:
        (hopeless if isinstance(each, Pending) or owners.is_orphan(each) else found).append(each)
    return found, hopeless


def _remedy(path: Path, now: Snapshot, vault: Vault) -> str:
    if path == vault.keystore.path:
        return f"{now.reason} {now.remedy}"
    return f"Put it in its place: {vault.keystore.put_back(typed(path))}"


def _opens(file: KeyFile, ours: bytes, row: SecretRow) -> bool:
    """Whether `file` opens the record, be it as one of this install or of the one that the file names."""
    for instance_id in {ours, file.instance_id}:
        with suppress(CannotOpen, PasswordNeeded):
            credential.unseal_record(row, file, instance_id)
            return True
    return False


def _set_aside(row: SecretRow) -> None:
    assert row.sealed is not None
    table = row._meta.table_name
    ForgottenSecret.create(
        table_name=table,
        account=getattr(row, "account_id", None),
        bound=json.dumps(row.bound),
        sealed=row.sealed.record,
        forgotten_at=db.now(),
    )
    db.database.execute_sql(TAKE_AWAY.format(table), (row.id, row.rev))


# -- the key turned up ---------------------------------------------------------------


class Waiting(NamedTuple):
    """A record that was set aside, and the row that it was sealed for."""

    record: ForgottenSecret
    row: SecretRow

    @property
    def name(self) -> str:
        """Whose it is, for people."""
        return owners.address(self.row)


def restorable(vault: Vault) -> list[Waiting]:
    """The records set aside that open now and whose rows have got nothing newer.

    Of several of one row only the newest counts, be it lost still.
    """
    now = vault.read()
    file, ours = now.file, now.row.instance_id
    newest: dict[object, Waiting] = {}
    for record in ForgottenSecret.select().order_by(ForgottenSecret.id):
        row = _row_of(record)
        if row is not None:
            newest[(type(row), *_key(row).values())] = Waiting(record, row)
    found = [
        each for each in newest.values() if file and _is_open(each.row, file) and _opens(file, ours, each.row)
    ]
    return sorted(found, key=lambda each: each.name)


def restore(vault: Vault, actor: Actor) -> list[str]:
    """Put these records back, each with what it was sealed for, and return whose they are.

    A record that was changed meanwhile does not open and stays where it is.
    """
    with db.transaction():
        found = [each for each in restorable(vault) if _put_back(each)]
        restored = list(dict.fromkeys(each.name for each in found))
        if restored:
            actor.record("forgotten passwords restored", ", ".join(restored)[:320])
    return restored


def _put_back(each: Waiting) -> bool:
    """Whether the record is in its row again; not where SQL gave another row what must be unique."""
    key, fields = _key(each.row), each.row._meta.fields
    columns, named = ([fields[name].column_name for name in some] for some in (each.row.BOUND, key))
    table = each.row._meta.table_name
    statement = PUT_BACK.format(table, " = ?, ".join(columns), " = ? AND ".join(named))
    values = (each.record.sealed, *each.row.bound, *key.values())
    if db.database.execute_sql(statement, values).rowcount != 1:
        return False
    each.record.delete_instance()
    return True


def _key(row: SecretRow) -> dict[str, str]:
    return {name: value for name, value in zip(row.BOUND, row.bound, strict=True) if name in row.KEY}


def _is_open(row: SecretRow, file: KeyFile) -> bool:
    """Whether the row that the record came from is still there and holds nothing now.

    A consent is not, where its mailbox was connected anew meanwhile. While encryption is being turned off,
    nothing but a password is.
    """
    model, key = type(row), _key(row)
    if file.decrypt_id is not None and not row.may_be_clear:
        return False
    if isinstance(row, Consent) and _any(Consent, rows.stored(Consent), account=row.account_id):
        return False
    return _any(model, ~rows.stored(model), **key)


def _any(model: rows.Model, wanted: ColumnBase, **columns: object) -> bool:
    for name, value in columns.items():
        wanted = wanted & (model._meta.fields[name] == value)
    return bool(model.select().where(wanted).exists())


def _row_of(record: ForgottenSecret) -> SecretRow | None:
    """The row that the record was sealed for; None where SQL made it the record of none."""
    model = next((each for each in SECRET_ROWS if each._meta.table_name == record.table_name), None)
    try:
        bound = json.loads(record.bound)
    except (ValueError, RecursionError):
        return None
    if model is None or not isinstance(bound, list) or len(bound) != len(model.BOUND):
        return None
    row = model(**dict(zip(model.BOUND, map(str, bound), strict=True)))
    row.__data__["sealed"] = StoredRecord(record.sealed)
    return row
