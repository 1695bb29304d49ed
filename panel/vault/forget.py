"""When a key is lost for good: its records are set aside, and each password is asked for again.

Nothing is destroyed: `restore` puts a record back once a key that opens it is in
the key file. One transaction sets all aside and, as its last step, moves a bad file
away; the expected key goes last. A kill in between is made good by doing it once more.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from peewee import fn

from panel import audit, db
from panel.audit import Actor
from panel.crypto.keyfile import KeyFile
from panel.errors import CannotOpen, PasswordNeeded, Refused
from panel.models import Account, Encryption, Endpoint, ForgottenSecret
from panel.models.secret_row import StoredRecord
from panel.vault import attestation, backup_proof, credential, rows
from panel.vault.files import typed
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault

BOUND = tuple(name for name in Endpoint.BOUND if name not in ("account", "direction"))
PUT_BACK = (
    "UPDATE endpoint SET sealed = ?, protocol = ?, host = ?, port = ?, security = ?, username = ?,"
    " auth_method = ?, token_url = ?, address = ?, kind = ?, rev = rev + 1"
    " WHERE account_id = ? AND direction = ? AND clear IS NULL AND sealed IS NULL"
)


@dataclass(frozen=True)
class Forgotten:
    """What was done: whose passwords are asked for again, and where a bad key file lies now.

    `removed`: the records that had no account any more, one for each account.
    """

    addresses: tuple[str, ...]
    removed: tuple[str, ...]
    moved_to: Path | None


def lost(vault: Vault) -> list[str]:
    """Whose passwords would be lost: addresses, then accounts that are no more.

    Raises Refused unless the key is lost.
    """
    endpoints, orphans = _require_lost(vault)
    return [*_names(endpoints), *_names(orphans)]


def forget(vault: Vault, actor: Actor) -> Forgotten:
    """Set every sealed record aside and begin without a key; encryption is off then.

    A record whose account was removed behind the panel's back could go back to nobody: it is removed.
    Refused unless the key file is missing, unusable or the wrong one, and while
    any key file beside it, whatever its name and mode, opens one of the records.
    """
    keystore = vault.keystore
    with keystore.locked():
        with db.transaction():
            endpoints, orphans = _require_lost(vault)
            for endpoint in endpoints:
                _set_aside(endpoint)
            for orphan in orphans:
                orphan.delete_instance()
            Encryption.update(
                active_key_id=None, decrypt_id=None, scrub_pending=None, key_created_at=None, enabled_at=None,
                verified_at=None, trouble_since=None, **backup_proof.UNVERIFIED,
            ).execute()  # fmt: skip
            addresses, removed = _names(endpoints), _names(orphans)
            audit.record("lost key forgotten", ", ".join((*addresses, *removed))[:320], **vars(actor))
            for address in _names(_in_clear()):  # without a key file they are taken as they stand from now on
                audit.record("unattested password found", address, attestation.UNATTESTED, **vars(actor))
            # Before the commit: beside a row that names no key, an earlier key's file would be a good one.
            moved_to = keystore.set_aside_lost()
        attestation.remove_if(keystore)
        keystore.abandon_expected_key()
    return Forgotten(addresses, removed, moved_to)


def _in_clear() -> list[Endpoint]:
    return list(Endpoint.select().where(Endpoint.clear.is_null(False)))


def _names(endpoints: list[Endpoint]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rows.address(endpoint) for endpoint in endpoints))


def _require_lost(vault: Vault) -> tuple[list[Endpoint], list[Endpoint]]:
    """Every endpoint with a sealed record, and those of no account; none opens with what is here."""
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
    sealed = Endpoint.sealed.is_null(False)
    query = Endpoint.select(Endpoint, Account).join(Account).where(sealed)
    endpoints = list(query.order_by(Account.address, Endpoint.id))
    orphans = rows.without_account(sealed)
    for path, file in keystore.here():
        if file.find(row.active_key_id) or any(
            _opens(file, row.instance_id, endpoint) for endpoint in (*endpoints, *orphans)
        ):
            raise Refused(f"The key is still here, in {path}.", _remedy(path, now, vault))
    return endpoints, orphans


def _remedy(path: Path, now: Snapshot, vault: Vault) -> str:
    if path == vault.keystore.path:
        return f"{now.reason} {now.remedy}"
    return f"Put it in its place: {vault.keystore.put_back(typed(path))}"


def _opens(file: KeyFile, ours: bytes, endpoint: Endpoint) -> bool:
    """Whether `file` opens the record, be it as one of this install or of the one that the file names."""
    for instance_id in {ours, file.instance_id}:
        with suppress(CannotOpen, PasswordNeeded):
            credential.unseal_record(endpoint, file, instance_id)
            return True
    return False


def _set_aside(endpoint: Endpoint) -> None:
    assert endpoint.sealed is not None
    ForgottenSecret.create(
        account=endpoint.account_id,
        direction=endpoint.direction,
        sealed=endpoint.sealed.record,
        forgotten_at=db.now(),
        **{name: getattr(endpoint, name) for name in BOUND},
    )
    # Raw SQL, as in the sweep: no secret is stored here, one is taken away (docs/decisions/0003).
    db.database.execute_sql(
        "UPDATE endpoint SET sealed = NULL, rev = rev + 1, failed_rev = NULL, failed_generation = NULL,"
        " failure = NULL WHERE id = ? AND rev = ?",
        (endpoint.id, endpoint.rev),
    )


# -- the key turned up ---------------------------------------------------------------


def restorable(vault: Vault) -> list[ForgottenSecret]:
    """The records set aside that open now, of mailboxes that nobody has given a newer password.

    Of several of one mailbox only the newest counts, be it lost still.
    """
    now = vault.read()
    each_row = (ForgottenSecret.account, ForgottenSecret.direction)
    newest = ForgottenSecret.select(fn.max(ForgottenSecret.id)).group_by(*each_row)
    found = (
        ForgottenSecret.select(ForgottenSecret, Account)
        .join(Account)
        .where(ForgottenSecret.id.in_(newest))
        .order_by(Account.address)
    )
    file, ours = now.file, now.row.instance_id
    return [each for each in found if file and _is_open(each) and _opens(file, ours, _as_row(each))]


def restore(vault: Vault, actor: Actor) -> list[str]:
    """Put these records back, each with the server it was sealed for, and return the addresses.

    A record that was changed meanwhile does not open and stays where it is.
    """
    restored = []
    with db.transaction():
        for each in restorable(vault):
            values = (each.sealed, *(getattr(each, name) for name in BOUND))
            db.database.execute_sql(PUT_BACK, (*values, each.account_id, each.direction))
            each.delete_instance()
            restored.append(str(each.account.address))
        if restored:
            audit.record("forgotten passwords restored", ", ".join(restored)[:320], **vars(actor))
    return restored


def _is_open(each: ForgottenSecret) -> bool:
    """Whether the row that the record came from is still there and has no password now."""
    here = (Endpoint.account == each.account_id) & (Endpoint.direction == each.direction)
    empty = Endpoint.clear.is_null() & Endpoint.sealed.is_null()
    return bool(Endpoint.select().where(here & empty).exists())


def _as_row(each: ForgottenSecret) -> Endpoint:
    """The record as the row that it was sealed for."""
    bound = {name: getattr(each, name) for name in BOUND}
    row = Endpoint(account=each.account_id, direction=each.direction, **bound)
    row.__data__["sealed"] = StoredRecord(each.sealed)
    return row
