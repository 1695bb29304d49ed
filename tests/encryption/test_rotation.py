"""Promises of changing the key (panel.vault.rotation)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from panel.audit import Actor
from panel.crypto.keyfile import KEY_ID_BYTES, KeyFile, fingerprint
from panel.errors import KeyAbsent, Refused
from panel.models import Activity, Endpoint
from panel.vault import backup_proof, rotation, sweep, turn_off, unfinished
from panel.vault.state import State
from tests.encryption.conftest import House, in_process

ACTOR = Actor("admin@example.org", "192.0.2.1")


def key_of(house: House, endpoint: Endpoint) -> bytes:
    return bytes(house.row(endpoint)[1][2 : 2 + KEY_ID_BYTES])


def file_of(house: House) -> KeyFile:
    return KeyFile.from_bytes(house.key_file.read_bytes())


def test_every_password_moves_to_the_new_key_and_still_opens(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 100)
    endpoints = {house.add(f"password {i}").id: f"password {i}" for i in range(203)}
    house.enable()
    old = file_of(house).primary
    house.rotate()
    assert house.state is State.ON
    new = file_of(house).primary
    assert new.id != old.id
    assert house.sql("SELECT DISTINCT substr(sealed, 3, 8) FROM endpoint") == [(new.id,)]
    assert {i: house.opened(Endpoint.get_by_id(i)) for i in endpoints} == endpoints


def test_the_old_key_stays_in_the_file_to_open_old_database_backups_and_seals_nothing(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    old, record = file_of(house).primary, house.row(endpoint)[1]
    house.rotate()
    (key,) = [key for key in file_of(house).keys if key.id == old.id]
    assert key.state == "retired"
    house.sql("UPDATE endpoint SET sealed = ?", record)
    house.sql("UPDATE encryption SET active_key_id = ?", old.id)
    assert house.opened(endpoint) == "kept"
    assert house.state is State.ROTATING
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert key_of(house, endpoint) == file_of(house).primary.id


def test_the_new_key_is_durable_before_anything_is_sealed_under_it(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    rotation.rotate(house.vault, ACTOR)
    assert house.state is State.ROTATING
    assert len(file_of(house).usable) == 2
    assert key_of(house, endpoint) != file_of(house).primary.id
    assert house.keystore.expected_key() == file_of(house).primary.id
    assert house.opened(endpoint) == "kept"


def test_from_the_first_instant_a_save_uses_the_new_key(house: House) -> None:
    house.enable()
    rotation.rotate(house.vault, ACTOR)
    assert key_of(house, house.add("saved meanwhile")) == file_of(house).primary.id


def test_a_rotation_that_was_killed_is_finished_by_anybody(house: House) -> None:
    endpoints = [house.add(f"password {i}") for i in range(300)]
    house.enable()
    killed = in_process(
        house,
        "import os; sweep.BATCH = 50; rotation.rotate(vault, actor);"
        "unfinished.resume(vault, lambda done, total: done >= 200 and os.kill(os.getpid(), 9))",
    )
    killed.wait(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    now = house.vault.latest()
    assert now.state is State.ROTATING
    assert 200 <= now.moved < 300
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert [house.opened(e) for e in endpoints] == [f"password {i}" for i in range(300)]


def test_the_old_key_retires_only_when_no_record_is_left_under_it(house: House) -> None:
    endpoints = [house.add(f"password {i}") for i in range(3)]
    house.enable()
    rotation.rotate(house.vault, ACTOR)
    rotation.finish(house.vault)
    assert len(file_of(house).usable) == 2
    house.sql("UPDATE endpoint SET host = 'evil' WHERE id = ?", endpoints[0].id)
    assert [f.address for f in unfinished.resume(house.vault).failures] == ["0@example.org"]
    assert len(file_of(house).usable) == 2
    assert house.state is State.ROTATING
    house.sql("UPDATE endpoint SET host = 'imap.example.org' WHERE id = ?", endpoints[0].id)
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert len(file_of(house).usable) == 1
    assert [house.opened(e) for e in endpoints] == [f"password {i}" for i in range(3)]


def test_the_backup_of_the_key_counts_as_unproved_again(house: House) -> None:
    house.add()
    house.enable()
    house.prove()
    rotation.rotate(house.vault, ACTOR)
    assert house.vault.latest().times.backup_proved_at is None
    house.prove()
    unfinished.resume(house.vault)
    assert house.vault.latest().times.backup_proved_at is None, "today's file is not the one proved meanwhile"


def test_an_answer_for_the_old_key_file_proves_nothing_after_a_rotation(house: House) -> None:
    house.add()
    house.enable()
    copy = house.key_file.read_bytes()
    house.rotate()
    with pytest.raises(Exception, match="differs from"):
        backup_proof.verify(house.vault, "00", backup_proof.answer_for("00", copy), ACTOR)


def test_two_who_press_at_once_change_the_key_once(house: House) -> None:
    house.add()
    house.enable()
    seen = fingerprint(file_of(house).primary.id)
    others = [
        in_process(house, "rotation.rotate(vault, actor, sys.argv[2]); unfinished.resume(vault)", seen)
        for _ in range(4)
    ]
    for other in others:
        output, _ = other.communicate(timeout=120)
        assert other.returncode == 0 or "being changed already" in output, output
    unfinished.resume(house.vault)
    assert len(file_of(house).keys) == 2
    assert house.state is State.ON


def test_a_page_that_shows_an_earlier_key_changes_nothing(house: House) -> None:
    house.enable()
    before = house.key_file.read_bytes()
    rotation.rotate(house.vault, ACTOR, "0000-0000-0000-0000")
    assert house.key_file.read_bytes() == before


def off(house: House) -> None:
    house.disable()


def missing(house: House) -> None:
    house.key_file.rename(house.data / "away")


def turning_off(house: House) -> None:
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)


def already(house: House) -> None:
    rotation.rotate(house.vault, ACTOR)


def tampered(house: House) -> None:
    house.sql("UPDATE endpoint SET host = 'evil'")


REFUSED: dict[str, tuple[Callable[[House], Any], str]] = {
    "off": (off, "Encryption is off"),
    "no key": (missing, "while it cannot be used"),
    "being turned off": (turning_off, "is being turned"),
    "already": (already, "already"),
    "a record does not open": (tampered, "0@example.org"),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_a_reason_and_nothing_changes(
    house: House, make: Callable[[House], Any], says: str
) -> None:
    house.add()
    house.enable()
    make(house)
    before = house.key_file.read_bytes() if house.key_file.exists() else None
    with pytest.raises(Refused) as refused:
        rotation.rotate(house.vault, ACTOR)
    assert says in refused.value.message
    assert refused.value.remedy
    assert (house.key_file.read_bytes() if house.key_file.exists() else None) == before


def test_the_key_file_of_before_the_rotation_is_the_wrong_one_and_nothing_is_generated(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    old = house.key_file.read_bytes()
    house.rotate()
    new = house.key_file.read_bytes()
    house.key_file.write_bytes(old)
    assert house.state is State.KEY_WRONG
    unfinished.resume(house.vault)
    with pytest.raises(KeyAbsent):
        house.opened(endpoint)
    assert house.key_file.read_bytes() == old
    house.key_file.write_bytes(new)
    assert house.opened(endpoint) == "kept"


def test_the_key_file_of_in_between_is_brought_up_to_date(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    rotation.rotate(house.vault, ACTOR)
    between = house.key_file.read_bytes()
    unfinished.resume(house.vault)
    house.key_file.write_bytes(between)
    assert house.state is State.ROTATING
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert house.opened(endpoint) == "kept"


def test_a_rotation_is_kept_in_activity_with_both_fingerprints(house: House) -> None:
    house.add()
    house.enable()
    old = fingerprint(file_of(house).primary.id)
    house.rotate()
    told = {a.what: a.subject for a in Activity.select()}
    assert told["encryption key rotation started"] == f"from {old}"
    assert told["encryption key rotated"] == f"to {fingerprint(file_of(house).primary.id)}"
    assert told["encryption key retired"] == old


def test_a_clear_value_planted_during_a_rotation_is_named(house: House) -> None:
    house.add()
    house.enable()
    planted = house.add("second")
    rotation.rotate(house.vault, ACTOR)
    house.sql("UPDATE endpoint SET sealed = NULL, clear = 'planted' WHERE id = ?", planted.id)
    unfinished.resume(house.vault)
    named = Activity.select().where(Activity.what == "unattested password found")
    assert [a.subject for a in named] == ["1@example.org"]
    assert house.state is State.ON


@pytest.mark.reliability
def test_ten_rotations_while_others_save_lose_nothing(
    house: House, record_property: Callable[[str, object], None]
) -> None:
    endpoints = [house.add("password 0") for _ in range(6)]
    house.enable()
    saver = in_process(
        house,
        "for n in range(120):\n"
        "    e = Endpoint.get_by_id(1 + n % 6); e.secret = Secret(f'password {n}'); e.save()\n",
    )
    while saver.poll() is None:
        house.rotate()
    output, _ = saver.communicate(timeout=120)
    assert saver.returncode == 0, output
    unfinished.resume(house.vault)
    assert [house.opened(e) for e in endpoints] == [f"password {n}" for n in range(114, 120)]
    assert {key_of(house, e) for e in endpoints} == {file_of(house).primary.id}
    record_property(
        "reliability",
        {
            "table": "races",
            "row": "saves of a process while another changes the key",
            "column": "tried",
            "tried": 120,
        },
    )


def test_the_sweep_of_a_process_with_old_memory_uses_the_key_of_the_file(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    other = in_process(
        house,
        "vault.latest(); print('read', flush=True); sys.stdin.readline(); "
        "unfinished.resume(vault); print(vault.latest().state)",
    )
    assert other.stdout and other.stdout.readline() == "read\n"
    rotation.rotate(house.vault, ACTOR)
    rotation_of_other, _ = other.communicate("\n", timeout=120)
    assert rotation_of_other.strip().endswith("on")
    assert key_of(house, endpoint) == file_of(house).primary.id
