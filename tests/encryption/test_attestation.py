"""Promises of the licence: only what was listed before a step began, unchanged, is vouched for afterwards."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from panel import durable
from panel.audit import Actor
from panel.crypto.keyfile import Key, KeyFile
from panel.errors import PanelError, Refused
from panel.models import Activity, Endpoint
from panel.secret import Secret
from panel.vault import (
    activate,
    attestation,
    credential,
    forget,
    retired_keys,
    rotation,
    sweep,
    turn_off,
    turn_on,
    unfinished,
    verification,
)
from panel.vault.keystore import KeyStore
from panel.vault.state import State
from tests.encryption.conftest import House, in_process
from tests.installs import BOTH

ACTOR = Actor("admin@example.org", "192.0.2.1")
PLANT = "UPDATE endpoint SET sealed = NULL, clear = 'planted', host = 'evil.example.org' WHERE id = ?"


class Killed(BaseException):
    """The process is dead."""


def path(house: House) -> Path:
    return house.data / "encryption-attestation"


def authentic(house: House) -> list[bool]:
    """By row: whether its stored server would be filled in."""
    return [credential.is_authentic(each, house.vault) for each in Endpoint.select().order_by(Endpoint.id)]


def named() -> list[str]:
    rows = Activity.select().where(Activity.what == "unattested password found").order_by(Activity.id)
    return [row.subject for row in rows]


def three(house: House) -> None:
    for number in range(3):
        house.add(f"password {number}")


def begin_enabling(house: House) -> None:
    three(house)
    turn_on.turn_on(house.vault, BOTH, ACTOR)


def cancelled(house: House) -> None:
    """Turning off was cancelled when all was in clear; nothing has been sealed again yet."""
    three(house)
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    sweep.run(house.vault)
    assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NULL") == [(0,)]
    turn_off.cancel(house.vault, ACTOR)


BEGUN = [begin_enabling, cancelled]


# -- the ordinary case -------------------------------------------------------------------


@pytest.mark.parametrize("begin", BEGUN)
def test_what_people_entered_is_vouched_for_before_and_after_and_nothing_is_left(
    house: House, begin: Callable[[House], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 2)
    begin(house)
    assert authentic(house) == [True] * 3
    assert stat.S_IMODE(path(house).stat().st_mode) == 0o600
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert (authentic(house), named(), path(house).exists()) == ([True] * 3, [], False)


def test_turning_off_leaves_no_licence(house: House) -> None:
    three(house)
    house.enable()
    house.disable()
    assert (house.state, path(house).exists()) == (State.OFF, False)


def test_saves_while_turning_on_are_vouched_for(house: House) -> None:
    begin_enabling(house)
    endpoint = Endpoint.get_by_id(1)
    endpoint.secret = Secret("changed meanwhile")
    endpoint.save()
    house.add("added meanwhile")
    unfinished.resume(house.vault)
    assert (authentic(house), named()) == ([True] * 4, [])


def test_a_save_while_the_list_is_made_is_listed_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    three(house)
    real: Any = attestation.in_clear
    once: list[bool] = []

    def listed() -> Any:
        yield from real()
        if not once:
            once.append(True)
            endpoint = Endpoint.get_by_id(1)
            endpoint.secret = Secret("saved in that moment")
            endpoint.save()

    monkeypatch.setattr(attestation, "in_clear", listed)
    house.enable()
    assert (authentic(house), named()) == ([True] * 3, [])


def test_what_a_person_saved_in_clear_while_turning_off_is_asked_for_after_a_cancel(house: House) -> None:
    three(house)
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    endpoint = Endpoint.get_by_id(2)
    endpoint.secret = Secret("in clear")
    endpoint.save()
    sweep.run(house.vault)
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)
    assert (house.state, house.opened(endpoint)) == (State.ON, "in clear")
    assert (authentic(house), named()) == ([True, False, True], ["1@example.org"])


def test_cancelled_half_way_and_turned_off_again_and_cancelled_all_are_vouched_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 1)
    three(house)
    house.enable()

    def after_the_first(step: Callable[[], None]) -> Callable[[int, int], None]:
        once: list[bool] = []

        def progress(done: int, total: int) -> None:
            if not once:
                once.append(True)
                step()

        return progress

    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    sweep.run(house.vault, after_the_first(lambda: turn_off.cancel(house.vault, ACTOR)))
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    sweep.run(house.vault)
    turn_off.cancel(house.vault, ACTOR)
    again = after_the_first(lambda: turn_off.turn_off(house.vault, ACTOR, in_shell=True))
    sweep.run(house.vault, again)  # it turns round, and ends in clear
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)
    assert (house.state, authentic(house), named()) == (State.ON, [True] * 3, [])


# -- the attacker ----------------------------------------------------------------------------

CHANGES = {
    "the server": "UPDATE endpoint SET host = 'evil.example.org' WHERE id = 2",
    "the port": "UPDATE endpoint SET port = 1993 WHERE id = 2",
    "the user": "UPDATE endpoint SET username = 'mallory' WHERE id = 2",
    "the security": "UPDATE endpoint SET security = 'none' WHERE id = 2",
    "the value": "UPDATE endpoint SET clear = 'planted' WHERE id = 2",
    "the revision": "UPDATE endpoint SET rev = rev + 1 WHERE id = 2",
    "the revision, to text": "UPDATE endpoint SET rev = 'x' WHERE id = 2",
    "the account": "UPDATE endpoint SET account_id = (SELECT uuid FROM account WHERE address = '0@example.org'),"
    " direction = 'out' WHERE id = 2",
    "the values of two": "UPDATE endpoint SET clear = CASE id WHEN 2 THEN 'password 2' ELSE 'password 1' END"
    " WHERE id > 1",
}


@pytest.mark.parametrize("begin", BEGUN)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_listed_row_that_was_changed_is_sealed_and_not_vouched_for(
    house: House, change: str, begin: Callable[[House], None]
) -> None:
    begin(house)
    house.sql(change)
    unfinished.resume(house.vault)
    assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL") == [(0,)]
    assert authentic(house)[0:2] == [True, False]
    assert "values of two" not in change or authentic(house)[2] is False
    assert len(named()) == authentic(house).count(False)


def test_two_listed_rows_that_changed_their_numbers_are_not_vouched_for(house: House) -> None:
    begin_enabling(house)
    for old, new in ((1, 9), (2, 1), (9, 2)):
        house.sql("UPDATE endpoint SET id = ? WHERE id = ?", new, old)
    unfinished.resume(house.vault)
    assert authentic(house) == [False, False, True]


@pytest.mark.parametrize("begin", BEGUN)
def test_a_value_planted_after_the_first_pass_is_not_vouched_for_however_it_is_like_a_listed_one(
    house: House, begin: Callable[[House], None]
) -> None:
    begin(house)
    (before,) = house.sql("SELECT clear, rev FROM endpoint WHERE id = 1")
    sweep.run(house.vault)
    assert not path(house).exists()
    house.sql("UPDATE endpoint SET sealed = NULL, clear = ?, rev = ? WHERE id = 1", *before)
    assert authentic(house) == [False, True, True]
    unfinished.resume(house.vault)
    assert (authentic(house), named()) == ([False, True, True], ["0@example.org"])


@pytest.mark.parametrize("when", ["before turning off", "during it"])
def test_a_value_planted_around_a_turning_off_is_not_vouched_for_after_the_cancel(
    house: House, when: str
) -> None:
    three(house)
    house.enable()
    if when == "before turning off":
        house.sql(PLANT, 2)
        with pytest.raises(Refused, match="found in clear"):
            turn_off.turn_off(house.vault, ACTOR, in_shell=True)
        unfinished.resume(house.vault)
        turn_off.turn_off(house.vault, ACTOR, in_shell=True)
        sweep.run(house.vault)
    else:
        turn_off.turn_off(house.vault, ACTOR, in_shell=True)
        sweep.run(house.vault)
        house.sql(PLANT, 2)
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)
    assert (house.state, authentic(house)) == (State.ON, [True, False, True])
    assert set(named()) == {"1@example.org"}


@pytest.mark.parametrize("value", ["char(97, 0, 98)", "printf('%.*c', 20000, 'x')"])
def test_what_cannot_be_sealed_does_not_keep_the_licence(house: House, value: str) -> None:
    begin_enabling(house)
    house.sql(f"UPDATE endpoint SET clear = {value} WHERE id = 2")
    for _ in range(3):
        unfinished.resume(house.vault)
    assert not path(house).exists()
    assert (named(), authentic(house)) == (["1@example.org"], [True, False, True])


def test_a_stream_of_planted_values_does_not_keep_the_licence(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_enabling(house)
    real: Any = sweep._pass
    passes: list[bool] = []

    def one_pass(*given: Any) -> Any:
        passes.append(path(house).exists())
        done = real(*given)
        if len(passes) < 4:
            house.sql(PLANT, 1)
        return done

    monkeypatch.setattr(sweep, "_pass", one_pass)
    sweep.run(house.vault)
    assert passes == [True] + [False] * 4
    assert authentic(house) == [False, True, True]


def test_a_row_of_no_account_is_named_too(house: House) -> None:
    three(house)
    house.enable()
    house.orphan(99, "in", None, "planted")
    unfinished.resume(house.vault)
    assert named() == ["(no account nobody)"]


def test_after_forgetting_a_lost_key_what_stands_in_clear_is_named(house: House) -> None:
    three(house)
    house.enable()
    house.key_file.unlink()
    house.sql(PLANT, 2)
    forget.forget(house.vault, ACTOR)
    assert named() == ["1@example.org"]


# -- a licence of another time, or of somebody else's making -----------------------------------


def test_a_licence_of_another_key_permits_nothing_and_goes(house: House) -> None:
    begin_enabling(house)
    stale = path(house).read_bytes()
    unfinished.resume(house.vault)
    house.disable()
    house.enable()
    for number in (1, 2, 3):
        house.sql(PLANT, number)
    path(house).write_bytes(stale)
    unfinished.resume(house.vault)
    assert (authentic(house), path(house).exists()) == ([False] * 3, False)


def test_the_licence_of_an_earlier_turning_off_permits_only_what_is_still_so(house: House) -> None:
    three(house)
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    snapshot = path(house).read_bytes()
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)
    endpoint = Endpoint.get_by_id(1)
    endpoint.secret = Secret("newer")
    endpoint.save()
    path(house).write_bytes(snapshot)
    for number in (1, 2):
        house.sql(PLANT, number)
    unfinished.resume(house.vault)
    assert authentic(house) == [False, False, True]
    assert not path(house).exists()


def forged(house: House, content: bytes) -> bytes:
    """A licence with good header and a tag for each row, by somebody without the key."""
    entries = [attestation.ENTRY.pack(number, bytes(32)) for number in (1, 2, 3)]
    return content[: attestation.HEADER.size] + b"".join(entries)


FORGERIES: dict[str, Callable[[House, bytes], bytes]] = {
    "empty": lambda house, content: b"",
    "cut short": lambda house, content: content[:30],
    "header alone": lambda house, content: content[: attestation.HEADER.size],
    "half an entry": lambda house, content: content[: attestation.HEADER.size + 20],
    "one byte off": lambda house, content: content[:-1] + bytes([content[-1] ^ 1]),
    "another magic": lambda house, content: b"\x89MKY" + content[4:],
    "forged": forged,
    "another random id": lambda house, content: content[:16] + bytes(16) + content[32:],
    "not by number": lambda house, content: content[:32] + content[72:] + content[32:72],
    "noise": lambda house, content: os.urandom(1000),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_damaged_or_forged_licence_vouches_for_nothing_planted_and_stops_nothing(
    house: House, forgery: Callable[[House, bytes], bytes]
) -> None:
    begin_enabling(house)
    path(house).write_bytes(forgery(house, path(house).read_bytes()))
    house.sql(PLANT, 3)
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert authentic(house)[2] is False
    assert not path(house).exists()
    assert {house.opened(Endpoint.get_by_id(n)) for n in (1, 2)} == {"password 0", "password 1"}


def test_a_licence_that_cannot_be_read_stops_the_sweep_rather_than_distrust_every_mailbox(
    house: House,
) -> None:
    begin_enabling(house)
    path(house).rename(house.data / "away")
    path(house).symlink_to("away")
    with pytest.raises(Refused, match="encryption-attestation"):
        unfinished.resume(house.vault)
    assert authentic(house) == [False] * 3
    (house.data / "away").replace(path(house))
    unfinished.resume(house.vault)
    assert authentic(house) == [True] * 3


def test_a_reader_of_the_licence_cannot_try_out_passwords_nor_see_which_are_the_same(house: House) -> None:
    for _ in range(2):
        house.add("the same weak one")
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    first = path(house).read_bytes()
    assert b"weak" not in first
    tags = [first[40:72], first[80:112]]
    assert len(set(tags)) == 2
    file = house.keystore.read()
    assert file is not None
    stolen = attestation.Attestation(
        first[:32], path(house), attestation._mac(Key.generate(), first[16:32]), file.instance_id
    )
    row = Endpoint.get_by_id(1)
    assert not stolen.has(row, stolen.tags([row]))  # the right password, without the right key


# -- kills, full disks, others at the same time ------------------------------------------------


def killed_at(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, step: Callable[[], object]) -> None:
    def dies(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(where, name, dies)
        with suppress(Killed):
            step()


KILLS: dict[str, tuple[Any, str]] = {
    "before the licence": (attestation, "write"),
    "between licence and key file": (KeyStore, "create"),
    "between key file and claim": (activate, "activate_locked"),
    "before the first page": (sweep, "_pass"),
    "between pass and removal": (attestation, "remove_if"),
}


@pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS)
def test_a_kill_while_turning_on_asks_nobody_for_anything(
    house: House, monkeypatch: pytest.MonkeyPatch, kill: tuple[Any, str]
) -> None:
    three(house)
    killed_at(monkeypatch, *kill, house.enable)
    unfinished.start(house.vault)
    unfinished.resume(house.vault)
    assert path(house).exists() is False
    house.enable()
    assert (house.state, authentic(house), named()) == (State.ON, [True] * 3, [])


def test_a_kill_in_the_middle_of_the_pass_asks_nobody_for_anything(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 1)
    begin_enabling(house)

    def dies(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        unfinished.resume(house.vault, dies)
    assert path(house).exists()
    unfinished.resume(house.vault)
    assert (house.state, authentic(house), named()) == (State.ON, [True] * 3, [])


@pytest.mark.parametrize("step", ["enable", "disable"])
@pytest.mark.parametrize("trouble", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_does_not_take_the_licence_is_met_before_anything_changes(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str, trouble: int
) -> None:
    three(house)
    if step == "disable":
        house.enable()
    before = (
        house.state,
        sorted(each.name for each in house.data.iterdir()),
        house.sql("SELECT * FROM endpoint"),
    )
    real: Any = durable.write

    def write(target: Path, *given: Any) -> None:
        if "attestation" in target.name:
            raise OSError(trouble, os.strerror(trouble))
        real(target, *given)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write", write)
        with pytest.raises(Refused, match="encryption-attestation"):
            house.enable() if step == "enable" else house.disable()
    after = (
        house.state,
        sorted(each.name for each in house.data.iterdir()),
        house.sql("SELECT * FROM endpoint"),
    )
    assert {*before[1]} >= {name for name in after[1] if "panel.db" not in name and "lock" not in name}
    assert (before[0], before[2]) == (after[0], after[2])


def test_more_rows_than_a_licence_takes_are_refused_and_nothing_is_changed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attestation, "MOST", 2)
    three(house)
    with pytest.raises(Refused, match="more than 2"):
        house.enable()
    assert (house.state, path(house).exists()) == (State.OFF, False)


def test_of_two_who_turn_it_on_at_once_the_second_joins_and_the_licence_is_the_firsts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(house)
    real: Any = KeyStore.locked
    once: list[bool] = []

    def locked(keystore: KeyStore) -> Any:
        if not once:  # the other one is quicker
            once.append(True)
            turn_on.turn_on(house.vault, BOTH, ACTOR)
        return real(keystore)

    with monkeypatch.context() as patch:
        patch.setattr(KeyStore, "locked", locked)
        turn_on.turn_on(house.vault, BOTH, ACTOR)
    unfinished.resume(house.vault)
    assert (house.state, authentic(house), named()) == (State.ON, [True] * 3, [])


def test_two_processes_that_sweep_at_once_ask_nobody_for_anything(house: House) -> None:
    for number in range(400):
        house.add(f"password {number}")
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    code = "sweep.BATCH = 7\nprint('ready', flush=True)\nsys.stdin.read(1)\nunfinished.resume(vault)"
    others = [in_process(house, code) for _ in range(2)]
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "ready"
    for other in others:
        assert other.communicate("x", timeout=120)[0] == ""
        assert other.returncode == 0
    unfinished.resume(house.vault)
    assert (house.state, named(), path(house).exists()) == (State.ON, [], False)
    assert all(authentic(house))


def test_a_planted_value_that_two_processes_meet_is_named_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(house)
    house.enable()
    house.sql(PLANT, 2)
    real: Any = sweep._prepared
    once: list[bool] = []

    def prepared(*given: Any) -> Any:
        page = real(*given)
        if not once:
            once.append(True)
            sweep.run(house.vault)  # the other one is quicker
        return page

    monkeypatch.setattr(sweep, "_prepared", prepared)
    unfinished.resume(house.vault)
    assert named() == ["1@example.org"]


def test_a_sweep_that_ended_takes_no_licence_away_that_it_did_not_use(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(house)
    house.enable()
    rotation.rotate(house.vault, ACTOR)
    real: Any = sweep._pass
    once: list[bool] = []

    def one_pass(*given: Any) -> Any:
        done = real(*given)
        if not once:  # as its pass ends, somebody else turns encryption off and thinks better of it
            once.append(True)
            with monkeypatch.context() as patch:
                patch.setattr(sweep, "_pass", real)
                turn_off.turn_off(house.vault, ACTOR, in_shell=True)
                sweep.run(house.vault)
                turn_off.cancel(house.vault, ACTOR)
            assert path(house).exists()
        return done

    monkeypatch.setattr(sweep, "_pass", one_pass)
    unfinished.resume(house.vault)
    assert (house.state, authentic(house), named()) == (State.ON, [True] * 3, [])


# -- other steps with the key ------------------------------------------------------------------


def test_a_key_that_is_added_while_turning_on_changes_nothing(house: House) -> None:
    begin_enabling(house)
    (instance,) = house.sql("SELECT instance_id FROM encryption")[0]
    retired_keys.add(house.vault, KeyFile.generate(instance).to_bytes(), ACTOR)
    unfinished.resume(house.vault)
    assert (house.state, authentic(house), named()) == (State.ON, [True] * 3, [])


def test_a_change_of_the_key_keeps_what_was_found_in_clear_as_it_is(house: House) -> None:
    three(house)
    house.enable()
    house.sql(PLANT, 2)
    unfinished.resume(house.vault)
    house.rotate()
    assert (house.state, authentic(house)) == (State.ON, [True, False, True])
    assert [each.address for each in verification.run_and_note(house.vault).unattested] == ["1@example.org"]


def test_a_database_of_before_encryption_comes_back_sealed_and_vouched_for_by_nobody(
    house: House, tmp_path: Path
) -> None:
    three(house)
    house.sql("VACUUM INTO ?", str(tmp_path / "before.db"))
    house.enable()
    with (
        closing(sqlite3.connect(tmp_path / "before.db")) as old,
        closing(sqlite3.connect(house.data / "panel.db")) as new,
    ):
        old.backup(new)
    unfinished.start(house.vault)
    unfinished.resume(house.vault)
    assert (house.state, authentic(house)) == (State.ON, [False] * 3)
    assert named() == [f"{number}@example.org" for number in range(3)]
    assert house.opened(Endpoint.get_by_id(1)) == "password 0"


def test_many_rows_take_no_more_of_a_licence_than_their_page_needs(house: House) -> None:
    begin_enabling(house)
    row = Endpoint.get_by_id(2)
    file = house.keystore.read()
    assert file is not None
    listed = attestation.of(house.keystore, file)
    assert listed is not None
    assert set(listed.tags([row])) == {2}
    assert set(listed.tags(list(Endpoint.select().where(Endpoint.id > 1).order_by(Endpoint.id)))) == {2, 3}


def test_while_the_key_file_is_away_the_licence_waits(house: House) -> None:
    begin_enabling(house)
    house.key_file.rename(house.data / "away")
    with suppress(PanelError):
        unfinished.resume(house.vault)
    assert house.vault.latest().state is State.KEY_MISSING
    (house.data / "away").rename(house.key_file)
    unfinished.resume(house.vault)
    assert (house.state, authentic(house)) == (State.ON, [True] * 3)
