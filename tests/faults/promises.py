"""What must hold after any fault, whoever injected it: checked on the install as it lies on the disk."""

from __future__ import annotations

from panel import create_app, db
from panel.audit import Actor
from panel.config import Settings
from panel.crypto import keyring
from panel.crypto.keyfile import KeyFile, NotAKeyFile
from panel.errors import CannotOpen
from panel.models import SECRET_ROWS, Endpoint
from panel.vault import credential, forget, retired_keys, unfinished
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.encryption.conftest import House


def check(settings: Settings, accounts: int, allowed: frozenset[str], ends: set[State], why: str) -> None:
    """Every password is there right after the fault; a start and a resume end well."""
    create_app(settings)
    vault = Vault.of(settings, db.database)
    house = House(settings, vault)
    with db.database.connection_context():
        found = on_disk(house)
        assert len(found) == accounts, f"lost: {why}"
        assert found <= allowed, f"not what was stored: {why}"
        unfinished.start(vault)
        unfinished.resume(vault)
        state = vault.latest().state
        assert state in ends, f"{state}: {why}"
        wrong_form = "clear" if state is State.ON else "sealed"
        assert house.sql(f"SELECT count(*) FROM endpoint WHERE {wrong_form} IS NOT NULL") == [(0,)], why
        opened = {house.opened(endpoint) for endpoint in Endpoint.select()}
        assert len(opened) == accounts, why
        assert opened <= allowed, why
        assert not list(house.data.glob(".*.tmp")), why
        assert all(credential.is_authentic(e, vault) for e in Endpoint.select()), f"asked for again: {why}"
        assert not (house.data / "encryption-attestation").exists(), why
        # and it can be used: the other way and back
        house.disable() if state is State.ON else house.enable()
        assert {house.opened(endpoint) for endpoint in Endpoint.select()} == opened, why


def check_forgotten(settings: Settings, allowed: frozenset[str], why: str) -> None:
    """After a fault in giving a lost key up: done again it ends well, and when the key turns up all are back."""
    create_app(settings)
    vault = Vault.of(settings, db.database)
    house = House(settings, vault)
    with db.database.connection_context():
        unfinished.start(vault)
        if vault.latest().state is not State.OFF:
            forget.forget(vault, Actor())
        assert vault.latest().state is State.OFF, why
        house.enable()
        found = (settings.data_dir.parent / "safe").read_bytes()
        retired_keys.add(vault, found, Actor())
        assert len(forget.restore(vault, Actor())) == len(allowed), why
        unfinished.resume(vault)
        assert vault.latest().state is State.ON, why
        assert {house.opened(endpoint) for endpoint in Endpoint.select()} == allowed, why
        assert not list(house.data.glob(".*.tmp")), why


def check_every_kind(settings: Settings, expected: dict[str, frozenset[str]], new: str, why: str) -> None:
    """Every secret of every table is there and sealed, and is given back after a resume; then all but passwords
    go, and encryption can be turned off.
    """
    create_app(settings)
    vault = Vault.of(settings, db.database)
    house = House(settings, vault)
    with db.database.connection_context():
        unfinished.start(vault)
        unfinished.resume(vault)
        assert vault.latest().state is State.ON, why
        for model in SECRET_ROWS:
            table = model._meta.table_name
            assert house.sql(f"SELECT count(*) FROM {table} WHERE clear IS NOT NULL") == [(0,)], why
            found = {credential.open_row(row, vault).reveal() for row in model.select()}
            assert found == expected[table] or (found == {new} and table == "consent"), why
        assert not list(house.data.glob(".*.tmp")), why
        for model in SECRET_ROWS:
            house.sql(f"DELETE FROM {model._meta.table_name} WHERE kind <> 'password'")
        house.disable()
        assert house.state is State.OFF, why


def on_disk(house: House) -> set[str]:
    """Every password that can be read with the key files that lie on the disk, whatever the state."""
    files = [_key_file(path.read_bytes()) for path in house.data.glob("encryption-key*.bin")]
    (instance,) = house.sql("SELECT instance_id FROM encryption")[0]
    return {_readable(endpoint, [f for f in files if f], instance) for endpoint in Endpoint.select()}


def _key_file(data: bytes) -> KeyFile | None:
    try:
        return KeyFile.from_bytes(data)
    except NotAKeyFile:
        return None


def _readable(endpoint: Endpoint, files: list[KeyFile], instance: bytes) -> str:
    if endpoint.clear is not None:
        return str(endpoint.clear.text)
    for file in files:
        try:
            return keyring.unseal(file, endpoint.sealed.record, endpoint.binding(instance)).decode()
        except CannotOpen:
            continue
    raise AssertionError(f"no key on the disk opens the password of account {endpoint.id}")
