"""Promises of giving a lost key up (panel.vault.forget): nothing is destroyed, each password is asked again."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from panel import db
from panel.accounts import rules
from panel.accounts import service as accounts
from panel.audit import Actor
from panel.crypto.keyfile import KeyFile
from panel.errors import PasswordNeeded, Refused
from panel.models import Activity, Endpoint, ForgottenSecret
from panel.secret import Secret
from panel.vault import forget, retired_keys, turn_off, unfinished
from panel.vault.keystore import KeyStore
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.encryption.conftest import House, in_process

ACTOR = Actor("admin@example.org", "192.0.2.1")


@pytest.fixture
def safe(house: House, tmp_path: Path) -> Path:
    """A house with three passwords and encryption on; a copy of its key file."""
    for number in range(3):
        house.add(f"password {number}")
    house.enable()
    copy = tmp_path / "safe.bin"
    shutil.copy(house.key_file, copy)
    return copy


def put(house: House, copy: Path) -> None:
    shutil.copy(copy, house.key_file)
    house.key_file.chmod(0o600)


def truncate(house: House) -> None:
    os.truncate(house.key_file, 100)


def foreign(house: House) -> None:
    house.key_file.write_bytes(KeyFile.generate(b"x" * 16).to_bytes())


def directory(house: House) -> None:
    house.key_file.unlink()
    house.key_file.mkdir()


def fifo(house: House) -> None:
    house.key_file.unlink()
    os.mkfifo(house.key_file)


def dangling(house: House) -> None:
    house.key_file.unlink()
    house.key_file.symlink_to(house.data / "nowhere")


LOST: dict[str, Callable[[House], Any]] = {
    "missing": lambda h: h.key_file.unlink(),
    "truncated": truncate,
    "empty": lambda h: h.key_file.write_bytes(b""),
    "of another install": foreign,
    "a directory": directory,
    "a FIFO": fifo,
    "a dangling link": dangling,
}


@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
def test_each_password_is_asked_again_and_encryption_can_be_turned_on_anew(
    house: House, safe: Path, lose: Callable[[House], Any]
) -> None:
    lose(house)
    assert [each.name for each in forget.lost(house.vault)] == [
        "0@example.org",
        "1@example.org",
        "2@example.org",
    ]
    done = forget.forget(house.vault, ACTOR)
    assert [each.name for each in done.lost] == ["0@example.org", "1@example.org", "2@example.org"]
    assert house.state is State.OFF
    assert not os.path.lexists(house.key_file)
    assert done.moved_to is None or os.path.lexists(done.moved_to)
    for endpoint in Endpoint.select():
        with pytest.raises(PasswordNeeded):
            house.opened(endpoint)
    assert ForgottenSecret.select().count() == 3
    assert Activity.get(Activity.what == "lost key forgotten").who == ACTOR.who
    house.enable()
    endpoint = Endpoint.get_by_id(1)
    endpoint.secret = Secret("entered again")
    endpoint.save()
    assert house.opened(endpoint) == "entered again"
    assert house.state is State.ON


def test_while_the_key_is_good_nothing_is_forgotten(house: House, safe: Path) -> None:
    with pytest.raises(Refused, match="not lost"):
        forget.forget(house.vault, ACTOR)
    house.disable()
    with pytest.raises(Refused, match="not lost"):
        forget.forget(house.vault, ACTOR)


def closed(house: House) -> None:
    house.key_file.chmod(0o644)


def linked(house: House) -> None:
    house.key_file.rename(house.key_file.with_name("encryption-key.real.bin"))
    house.key_file.symlink_to(house.key_file.with_name("encryption-key.real.bin"))


def misnamed(house: House) -> None:
    house.key_file.rename(house.key_file.with_name("encryption-key.bin.old"))


def stolen_row(house: House) -> None:
    house.sql("UPDATE encryption SET instance_id = ?", b"x" * 16)


def swapped(house: House) -> None:
    house.key_file.rename(house.key_file.with_name("encryption-key-2.bin"))
    foreign(house)


HERE: dict[str, tuple[Callable[[House], Any], str]] = {
    "readable for others": (closed, "chmod 600"),
    "behind a link": (linked, "cp --remove-destination"),
    "under another name": (misnamed, "install -m 600"),
    "beside another install's": (swapped, "install -m 600"),
    "disowned by an edited row": (stolen_row, "another install"),
}


@pytest.mark.parametrize(("lose", "remedy"), HERE.values(), ids=HERE)
def test_while_any_key_file_here_opens_a_record_it_is_refused_and_says_which(
    house: House, safe: Path, lose: Callable[[House], Any], remedy: str
) -> None:
    lose(house)
    with pytest.raises(Refused, match="still here, in") as refused:
        forget.forget(house.vault, ACTOR)
    assert remedy in refused.value.remedy
    assert ForgottenSecret.select().count() == 0
    assert house.sql("SELECT count(*) FROM endpoint WHERE sealed IS NOT NULL") == [(3,)]


def test_a_retired_copy_counts_as_a_key_that_is_here(house: House, safe: Path) -> None:
    record = house.row(Endpoint.get_by_id(1))[1]
    house.disable()
    house.sql("UPDATE endpoint SET clear = NULL, sealed = ? WHERE id = 1", record)
    assert house.state is State.KEY_MISSING
    with pytest.raises(Refused, match="retired-"):
        forget.forget(house.vault, ACTOR)


def test_while_the_directory_of_the_key_is_not_mounted_nothing_is_forgotten(house: House, safe: Path) -> None:
    away = house.keystore.path.with_name("not-mounted") / "encryption-key.bin"
    elsewhere = Vault(db.database, KeyStore(away, house.data))
    with pytest.raises(Refused, match="is not there"):
        forget.forget(elsewhere, ACTOR)


def test_records_of_no_account_are_removed_and_told_and_nothing_else_is_lost(
    house: House, safe: Path
) -> None:
    house.orphan(98, "in", house.row(Endpoint.get_by_id(1))[1])
    house.orphan(99, "out", b"\x01\x01" + bytes(80))
    house.orphan(100, "else", None, "in clear")
    house.key_file.unlink()
    assert [each.name for each in forget.lost(house.vault)] == [
        "0@example.org", "1@example.org", "2@example.org", "(no account nobody)",
    ]  # fmt: skip
    done = forget.forget(house.vault, ACTOR)
    assert [each.name for each in done.lost] == ["0@example.org", "1@example.org", "2@example.org"]
    assert done.removed == (("(no account nobody)", "mailbox"),)
    assert "(no account nobody)" in Activity.get(Activity.what == "lost key forgotten").subject
    assert house.state is State.OFF
    assert ForgottenSecret.select().count() == 3
    assert house.sql("SELECT id, clear FROM endpoint ORDER BY id") == [
        (1, None), (2, None), (3, None), (100, "in clear"),
    ]  # fmt: skip
    house.enable()
    retired_keys.add(house.vault, safe.read_bytes(), ACTOR)
    assert len(forget.restore(house.vault, ACTOR)) == 3


def test_a_record_of_no_account_that_a_key_here_opens_is_not_removed(house: House, safe: Path) -> None:
    """Its account may have been removed by mistake: while its password can be read it is not given up."""
    misnamed(house)
    connection = sqlite3.connect(house.data / "panel.db")
    connection.execute("DELETE FROM account")
    connection.execute("UPDATE encryption SET active_key_id = NULL")
    connection.commit()
    connection.close()
    assert house.state is State.KEY_MISSING
    with pytest.raises(Refused, match="still here, in"):
        forget.forget(house.vault, ACTOR)
    assert house.sql("SELECT count(*) FROM endpoint WHERE sealed IS NOT NULL") == [(3,)]


def test_passwords_in_clear_are_kept(house: House, safe: Path) -> None:
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    later = house.add("saved in clear meanwhile")
    house.key_file.unlink()
    assert len(forget.forget(house.vault, ACTOR).lost) == 3
    assert house.state is State.OFF
    assert house.opened(later) == "saved in clear meanwhile"


@pytest.mark.parametrize(
    "step", ["keystore.set_aside_lost", "attestation.remove_if", "keystore.abandon_expected_key"]
)
def test_killed_in_between_it_is_finished_by_running_it_again(house: House, safe: Path, step: str) -> None:
    truncate(house)
    killed = in_process(
        house,
        "import os; from panel.vault import attestation, forget, keystore as files\n"
        f"{step.replace('keystore', 'files.KeyStore')} = lambda self: os.kill(os.getpid(), 9)\n"
        "forget.forget(vault, actor)",
    )
    killed.wait(timeout=120)
    assert killed.returncode == -9
    assert house.state.no_key
    forget.forget(house.vault, ACTOR)
    assert house.state is State.OFF
    assert ForgottenSecret.select().count() == 3


def test_a_new_password_is_taken_only_together_with_the_whole_server(house: House, safe: Path) -> None:
    house.key_file.unlink()
    forget.forget(house.vault, ACTOR)
    house.enable()
    house.sql("UPDATE endpoint SET host = 'evil.example.org'")
    account, endpoint = accounts.find("0@example.org")
    with pytest.raises(PasswordNeeded, match="may have been changed"):
        accounts.set_password(house.vault, account.uuid, Secret("entered again"), accounts.Seen(), ACTOR)
    box = rules.mailbox(account.address, account.folder, account.interval, account.on_server, account.move_to)
    where = replace(endpoint.server, host="imap.example.org")
    accounts.edit(house.vault, account.uuid, box, where, Secret("entered again"), accounts.Seen(), ACTOR)
    assert house.opened(endpoint) == "entered again"
    assert Endpoint.get_by_id(endpoint.id).host == "imap.example.org"


# -- the key turns up -----------------------------------------------------------


def test_when_the_key_turns_up_the_passwords_come_back_but_none_that_was_entered_anew(
    house: House, safe: Path
) -> None:
    house.key_file.unlink()
    forget.forget(house.vault, ACTOR)
    house.enable()
    entered = Endpoint.get_by_id(2)
    entered.secret = Secret("newer")
    entered.save()
    assert forget.restorable(house.vault) == []
    retired_keys.add(house.vault, safe.read_bytes(), ACTOR)
    assert forget.restore(house.vault, ACTOR) == ["0@example.org", "2@example.org"]
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert [house.opened(e) for e in Endpoint.select()] == ["password 0", "newer", "password 2"]
    assert ForgottenSecret.select().count() == 1
    assert forget.restore(house.vault, ACTOR) == []


def test_a_forgotten_record_whose_server_was_edited_does_not_come_back(house: House, safe: Path) -> None:
    house.key_file.unlink()
    forget.forget(house.vault, ACTOR)
    house.sql(
        "UPDATE forgotten_secret SET bound = json_replace(bound, '$[3]', 'evil.example.org') WHERE id = 1"
    )
    house.enable()
    retired_keys.add(house.vault, safe.read_bytes(), ACTOR)
    assert forget.restore(house.vault, ACTOR) == ["1@example.org", "2@example.org"]
    with pytest.raises(PasswordNeeded):
        house.opened(Endpoint.get_by_id(1))


def test_a_server_edited_while_no_password_was_stored_is_put_right_with_the_record(
    house: House, safe: Path
) -> None:
    house.key_file.unlink()
    forget.forget(house.vault, ACTOR)
    house.sql("UPDATE endpoint SET host = 'evil.example.org'")
    house.enable()
    retired_keys.add(house.vault, safe.read_bytes(), ACTOR)
    forget.restore(house.vault, ACTOR)
    assert {e.host for e in Endpoint.select()} == {"imap.example.org"}
    assert house.opened(Endpoint.get_by_id(1)) == "password 0"


def test_a_removed_account_takes_its_forgotten_record_along(house: House, safe: Path) -> None:
    house.key_file.unlink()
    forget.forget(house.vault, ACTOR)
    Endpoint.get_by_id(1).account.delete_instance()
    assert ForgottenSecret.select().count() == 2
