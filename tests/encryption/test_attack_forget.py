"""Attacks on giving a lost key up and on putting its records back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from panel import create_app, db, install
from panel.audit import Actor
from panel.crypto.keyfile import KeyFile
from panel.errors import PanelError, Refused
from panel.models import Endpoint, ForgottenSecret
from panel.secret import Secret
from panel.vault import attestation, files, forget, retired_keys, unfinished
from panel.vault.keystore import KeyStore
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.encryption.conftest import House, settings_in

ACTOR = Actor("admin@example.org", "192.0.2.1")


class Killed(BaseException):
    """The process is dead."""


def enter(house: House, password: str) -> None:
    endpoint = Endpoint.get_by_id(1)
    endpoint.secret = Secret(password)
    endpoint.save()


def lose(house: House) -> bytes:
    copy = house.key_file.read_bytes()
    house.key_file.unlink()
    forget.forget(house.vault, ACTOR)
    house.enable()
    return copy


def test_of_two_forgotten_passwords_the_newer_comes_back_and_none_is_destroyed(house: House) -> None:
    house.add("first")
    house.enable()
    copies = [lose(house)]
    enter(house, "second")
    copies.append(lose(house))
    for copy in copies:
        retired_keys.add(house.vault, copy, ACTOR)
    forget.restore(house.vault, ACTOR)
    unfinished.resume(house.vault)
    assert house.opened(Endpoint.get_by_id(1)) == "second"
    assert ForgottenSecret.select().count() == 1, "the other stays set aside"


def test_an_older_forgotten_password_does_not_come_back_before_a_newer_one(house: House) -> None:
    house.add("first")
    house.enable()
    copy = lose(house)
    enter(house, "second")
    lose(house)
    retired_keys.add(house.vault, copy, ACTOR)
    assert forget.restore(house.vault, ACTOR) == []


# -- the key file of before, which is no good ------------------------------------------------


@pytest.fixture
def older_file_here(house: House) -> KeyFile:
    """A house whose key is lost; the key file of before the rotation lies in its place."""
    house.add("kept")
    house.enable()
    old = house.key_file.read_bytes()
    house.rotate()
    house.key_file.write_bytes(old)
    assert house.state is State.KEY_WRONG
    return KeyFile.from_bytes(old)


def test_killed_while_forgetting_an_older_key_is_not_taken_into_use_again(
    house: House, older_file_here: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(vault: Vault) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(attestation, "remove_if", dies)
        forget.forget(house.vault, ACTOR)
    unfinished.resume(house.vault)  # the worker's tick
    assert house.keystore.expected_key() != older_file_here.primary.id, (
        "the key that was given up for a newer one"
    )
    assert house.state.no_key
    forget.forget(house.vault, ACTOR)  # as promised: doing it once more makes it good
    assert house.state is State.OFF


def test_a_save_during_forgetting_is_not_sealed_under_a_key_that_is_moved_away(
    house: House, older_file_here: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Endpoint.get_by_id(1).account
    real = attestation.remove_if

    def meanwhile(keystore: KeyStore) -> None:
        with suppress(PanelError):
            house.add("typed meanwhile")
        real(keystore)

    monkeypatch.setattr(attestation, "remove_if", meanwhile)
    forget.forget(house.vault, ACTOR)
    assert other is not None
    assert house.state is State.OFF
    assert house.sql("SELECT count(*) FROM endpoint WHERE sealed IS NOT NULL") == [(0,)]


def test_a_key_file_that_comes_back_in_time_keeps_its_witness(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("kept")
    house.enable()
    copy = house.key_file.read_bytes()
    house.key_file.unlink()
    real = KeyStore.abandon_expected_key

    def back(self: KeyStore) -> None:
        house.key_file.write_bytes(copy)
        house.key_file.chmod(0o600)
        real(self)

    monkeypatch.setattr(KeyStore, "abandon_expected_key", back)
    forget.forget(house.vault, ACTOR)
    house.key_file.rename(house.data / "away")  # its mount is briefly gone again
    assert house.state is State.KEY_MISSING


# -- looking for the key ------------------------------------------------------------------------


def test_a_key_file_that_cannot_be_read_at_all_is_not_taken_for_lost(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mode 000, another owner, a broken sector: nobody can tell whether it is the key."""
    house.add("kept")
    house.enable()
    house.key_file.rename(house.key_file.with_name("encryption-key.old.bin"))

    def denied(path: Path, limit: int) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "_content", denied)
    with pytest.raises(Refused, match=r"encryption-key\.old\.bin"):
        forget.forget(house.vault, ACTOR)
    assert ForgottenSecret.select().count() == 0


NAMES: dict[str, Callable[[House], Any]] = {
    "closed": lambda h: h.key_file.chmod(0o644),
    "renamed": lambda h: h.key_file.rename(h.key_file.with_name(h.key_file.name + ".old")),
}


@pytest.fixture
def bracketed(tmp_path: Path) -> Any:
    settings = settings_in(tmp_path, PANEL_KEY_FILE=str(tmp_path / "data" / "key[1].bin"))
    install.prepare(settings)
    create_app(settings)
    with db.database.connection_context():
        yield House(settings, Vault.of(settings, db.database))


@pytest.mark.parametrize("hide", NAMES.values(), ids=NAMES)
def test_a_key_file_with_brackets_in_its_name_is_found_too(
    bracketed: House, hide: Callable[[House], Any]
) -> None:
    bracketed.add("kept")
    bracketed.enable()
    hide(bracketed)
    with pytest.raises(Refused, match="still here"):
        forget.forget(bracketed.vault, ACTOR)


def test_with_brackets_in_its_name_encryption_can_be_turned_off(bracketed: House) -> None:
    bracketed.add("kept")
    bracketed.enable()
    bracketed.disable()
    assert bracketed.state is State.OFF


def test_looking_for_the_key_does_not_drop_the_locks_of_the_database_beside_it(tmp_path: Path) -> None:
    """Closing a file that this process has open as a database drops its POSIX locks."""
    settings = settings_in(tmp_path, PANEL_KEY_FILE=str(tmp_path / "data" / "panel.key"))
    install.prepare(settings)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    import subprocess
    import sys

    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None);"
        "c.execute('BEGIN IMMEDIATE')"
    )
    with db.database.connection_context():
        house.add("kept")
        with db.transaction():
            list(house.keystore.here())
            other = subprocess.run(
                [sys.executable, "-c", script, str(settings.data_dir / "panel.db")],
                capture_output=True,
                text=True,
            )
    assert "locked" in other.stderr, "another process could write in the middle of our transaction"
    assert sqlite3.threadsafety >= 1


def test_a_row_that_was_edited_to_hold_no_number_as_its_port_can_be_forgotten(house: House) -> None:
    house.add("kept")
    house.enable()
    house.sql("UPDATE endpoint SET port = 'imaps'")
    house.key_file.unlink()
    forget.forget(house.vault, ACTOR)
    assert house.state is State.OFF
