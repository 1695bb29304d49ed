"""Promises about keys of other times (panel.vault.retired_keys) and copies of the key file (proof)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from panel.audit import Actor
from panel.crypto.keyfile import Key, KeyFile, fingerprint
from panel.errors import BadCopy, KeyAbsent, PanelError, Refused
from panel.models import Activity
from panel.vault import (
    backup_proof,
    retired_keys,
    rotation,
    sweep,
    turn_off,
    turn_on,
    unfinished,
    verification,
)
from panel.vault.state import State
from tests.encryption.conftest import House
from tests.installs import BOTH

ACTOR = Actor("admin@example.org", "192.0.2.1")


def file_of(house: House) -> KeyFile:
    return KeyFile.from_bytes(house.key_file.read_bytes())


@pytest.fixture
def rotated(house: House) -> bytes:
    """A house whose key was changed once; the key file of before."""
    house.add("kept")
    house.enable()
    old = house.key_file.read_bytes()
    house.rotate()
    return old


# -- a copy of the key file ------------------------------------------------------


def test_a_copy_that_is_todays_key_file_counts_as_the_proof(house: House, rotated: bytes) -> None:
    backup_proof.check(house.vault, house.key_file.read_bytes(), ACTOR)
    assert house.vault.latest().times.backup_proved_at is not None
    assert Activity.get(Activity.what == "key backup verified").who == ACTOR.who


def flipped(data: bytes) -> bytes:
    return data[:90] + bytes([data[90] ^ 1]) + data[91:]


BAD_COPIES: dict[str, tuple[Callable[[House, bytes], bytes], str]] = {
    "empty": (lambda h, old: b"", "it is empty"),
    "a note": (lambda h, old: "der Schlüssel 🔑\r\n".encode(), "does not begin like a key file"),
    "NUL bytes": (lambda h, old: bytes(1024), "does not begin like a key file"),
    "cut short": (lambda h, old: h.key_file.read_bytes()[:-1], "cut short"),
    "one byte more": (lambda h, old: h.key_file.read_bytes() + b"\n", "damaged"),
    "a bit flipped": (lambda h, old: flipped(h.key_file.read_bytes()), "damaged"),
    "line ends converted": (lambda h, old: h.key_file.read_bytes().replace(b"\r\n", b"\n"), "line ends were converted"),
    "of before the rotation": (lambda h, old: old, "out of date: it lacks key"),
    "of another install": (lambda h, old: KeyFile.generate(b"x" * 16).to_bytes(), "another install"),
    "of another generation": (lambda h, old: replace(file_of(h), generation=9).to_bytes(), "holds every key"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "says"), BAD_COPIES.values(), ids=BAD_COPIES)
def test_any_other_copy_is_named_for_what_it_is_and_proves_nothing(
    house: House, rotated: bytes, make: Callable[[House, bytes], bytes], says: str
) -> None:
    with pytest.raises(BadCopy) as bad:
        backup_proof.check(house.vault, make(house, rotated), ACTOR)
    assert says in bad.value.message
    assert bad.value.remedy
    assert house.vault.latest().times.backup_proved_at is None


# -- an older key ----------------------------------------------------------------


def test_a_database_from_before_a_pruned_key_opens_once_that_key_is_added(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    old, record, row = house.key_file.read_bytes(), house.row(endpoint)[1], house.vault.read().row
    house.rotate()
    retired_keys.prune(house.vault, ACTOR)
    house.sql("UPDATE endpoint SET sealed = ?", record)  # an old database is restored
    house.sql("UPDATE encryption SET active_key_id = ?", row.active_key_id)
    assert house.state is State.KEY_WRONG
    with pytest.raises(KeyAbsent):
        house.opened(endpoint)
    assert retired_keys.add(house.vault, old, ACTOR) == [fingerprint(KeyFile.from_bytes(old).primary.id)]
    assert house.opened(endpoint) == "kept"
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert len(file_of(house).usable) == 1


def test_an_added_key_only_opens_and_its_file_brings_no_flag(house: House, rotated: bytes) -> None:
    flagged = replace(KeyFile.from_bytes(rotated), keys=(Key.generate(),)).with_decrypting_flag(b"r" * 16)
    retired_keys.add(house.vault, flagged.to_bytes(), ACTOR)
    file = file_of(house)
    assert file.decrypt_id is None
    assert [key.state for key in file.keys] == ["retired", "usable", "retired"]
    assert house.state is State.ON


def test_a_key_added_before_turning_on_has_ended_does_not_make_it_look_like_a_change_of_the_key(
    house: House,
) -> None:
    house.add("kept")
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    sweep.run(house.vault)  # sealed; old copies are still to be removed
    older = replace(file_of(house), generation=1, keys=(Key.generate(),))
    retired_keys.add(house.vault, older.to_bytes(), ACTOR)
    assert house.state is State.ENABLING
    unfinished.resume(house.vault)
    assert house.state is State.ON


def test_adding_what_is_there_changes_nothing(house: House, rotated: bytes) -> None:
    before = house.key_file.read_bytes()
    assert retired_keys.add(house.vault, rotated, ACTOR) == []
    assert house.key_file.read_bytes() == before


def test_after_an_addition_the_backup_counts_as_unproved(house: House, rotated: bytes) -> None:
    house.prove()
    retired_keys.add(
        house.vault, replace(file_of(house), generation=1, keys=(Key.generate(),)).to_bytes(), ACTOR
    )
    assert house.vault.latest().times.backup_proved_at is None


def test_a_newer_key_file_is_put_in_place_rather_than_added(house: House, rotated: bytes) -> None:
    newer = house.key_file.read_bytes()
    house.key_file.write_bytes(rotated)
    assert house.state is State.KEY_WRONG
    with pytest.raises(Refused, match="newer") as refused:
        retired_keys.add(house.vault, newer, ACTOR)
    assert "install -m 600" in refused.value.remedy
    assert house.key_file.read_bytes() == rotated


def turning_off(house: House) -> None:
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)


def foreign(house: House) -> None:
    house.key_file.write_bytes(KeyFile.generate(b"x" * 16).to_bytes())


CANNOT: dict[str, tuple[Callable[[House], Any], str]] = {
    "no key file": (lambda h: h.key_file.rename(h.data / "away"), "The encryption key file is missing"),
    "an unusable one": (lambda h: h.key_file.chmod(0o644), "can be read or written by other users"),
    "being turned off": (turning_off, "being turned off"),
    "another install's": (foreign, "belongs to another install"),
}


def test_while_encryption_is_off_there_is_no_key_file_to_change(house: House) -> None:
    with pytest.raises(Refused, match="Encryption is off"):
        retired_keys.prune(house.vault, ACTOR)


@pytest.mark.parametrize(
    "step", [retired_keys.add, lambda k, c, a: retired_keys.prune(k, a)], ids=["add", "prune"]
)
@pytest.mark.parametrize(("make", "says"), CANNOT.values(), ids=CANNOT)
def test_without_a_settled_key_file_of_this_install_no_key_is_added_or_dropped(
    house: House, rotated: bytes, make: Callable[[House], Any], says: str, step: Callable[..., Any]
) -> None:
    make(house)
    before = house.key_file.read_bytes() if house.key_file.exists() else None
    with pytest.raises(PanelError) as refused:
        step(house.vault, rotated, ACTOR)
    assert says in refused.value.message
    assert refused.value.remedy
    assert (house.key_file.read_bytes() if house.key_file.exists() else None) == before


# -- dropping retired keys ---------------------------------------------------------


def test_pruning_drops_the_retired_keys_and_every_password_still_opens(house: House, rotated: bytes) -> None:
    old = KeyFile.from_bytes(rotated).primary
    (known,) = retired_keys.retired(house.vault)
    assert (known.fingerprint, known.records) == (fingerprint(old.id), 0)
    assert known.since is not None
    assert retired_keys.prune(house.vault, ACTOR) == [fingerprint(old.id)]
    assert file_of(house).find(old.id) is None
    assert old.material not in house.key_file.read_bytes()
    verification.run_and_note(house.vault)
    assert house.state is State.ON
    assert house.vault.latest().times.backup_proved_at is None
    assert Activity.select().where(Activity.what == "retired encryption keys deleted").count() == 1


def test_a_key_is_not_dropped_while_one_record_is_under_it(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    record = house.row(endpoint)[1]
    house.rotate()
    house.sql("UPDATE endpoint SET sealed = ?", record)
    with pytest.raises(Refused, match="still encrypted with a retired key"):
        retired_keys.prune(house.vault, ACTOR)
    assert house.opened(endpoint) == "kept"
    unfinished.resume(house.vault)
    retired_keys.prune(house.vault, ACTOR)
    assert house.opened(endpoint) == "kept"


def test_the_key_that_the_database_names_is_not_dropped_though_no_record_is_under_it(
    house: House, rotated: bytes
) -> None:
    house.sql("DELETE FROM endpoint")
    old = KeyFile.from_bytes(rotated).primary
    house.sql("UPDATE encryption SET active_key_id = ?", old.id)
    with pytest.raises(Refused):
        retired_keys.prune(house.vault, ACTOR)
    assert file_of(house).find(old.id) is not None


def test_pruning_in_the_middle_of_a_rotation_drops_only_what_was_retired_before(
    house: House, rotated: bytes
) -> None:
    rotation.rotate(house.vault, ACTOR)
    retired_keys.prune(house.vault, ACTOR)
    assert len(file_of(house).usable) == 2
    unfinished.resume(house.vault)
    assert house.state is State.ON


def test_with_no_retired_key_there_is_nothing_to_drop(house: House) -> None:
    house.enable()
    with pytest.raises(Refused, match="no retired key"):
        retired_keys.prune(house.vault, ACTOR)
