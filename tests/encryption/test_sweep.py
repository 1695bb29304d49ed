"""Promises of the sweep: what was prepared without the lock is written only if all is still as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from panel.audit import Actor
from panel.crypto import record
from panel.errors import PanelError
from panel.models import Endpoint
from panel.secret import Secret
from panel.vault import rotation, rows, sweep, turn_off, turn_on, verification
from panel.vault.state import State
from tests.encryption.conftest import House
from tests.installs import BOTH

ACTOR = Actor("admin@example.org")


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have `act` happen once, after the first rows were prepared and before the lock is taken."""
    real: Any = sweep._prepared
    done: list[bool] = []

    def prepared(*given: Any) -> Any:
        page = real(*given)
        if page.rows and not done:
            done.append(True)
            act()
        return page

    monkeypatch.setattr(sweep, "_prepared", prepared)


def opened(house: House) -> list[str]:
    return [house.opened(endpoint) for endpoint in Endpoint.select().order_by(Endpoint.id)]


def test_what_was_prepared_in_clear_is_thrown_away_where_turning_off_was_cancelled(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        house.add(f"password {number}")
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    between(monkeypatch, lambda: turn_off.cancel(house.vault, ACTOR))
    sweep.run(house.vault)
    assert house.sql("SELECT count(*) FROM endpoint WHERE clear IS NOT NULL") == [(0,)]
    assert opened(house) == ["password 0", "password 1", "password 2"]


def test_planted_a_sweep_that_does_not_look_again_under_the_lock_is_caught(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("kept")
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    between(monkeypatch, lambda: turn_off.cancel(house.vault, ACTOR))
    monkeypatch.setattr(sweep._Target, "__eq__", lambda self, other: True)
    written: list[Any] = []
    real: Any = sweep._write
    monkeypatch.setattr(sweep, "_write", lambda page, k: written.extend(page.replacements) or real(page, k))
    sweep.run(house.vault)
    assert [row for row in written if row[0] is not None]  # clear text, although the file did not say so


def test_what_was_sealed_under_the_old_key_is_thrown_away_where_the_key_was_changed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("kept")
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    first = house.keystore.read()
    assert first is not None

    def change() -> None:
        monkeypatch.setattr(rotation, "READY", tuple(State))
        rotation.rotate(house.vault, ACTOR)

    between(monkeypatch, change)
    sweep.run(house.vault)
    (sealed,) = house.sql("SELECT sealed FROM endpoint")[0]
    assert record.key_id_of(sealed) != first.primary.id
    assert opened(house) == ["kept"]


def test_a_password_saved_while_rows_were_prepared_wins(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = house.add("old")

    def save() -> None:
        row = Endpoint.get_by_id(endpoint.id)
        row.secret = Secret("new")
        row.save()

    turn_on.turn_on(house.vault, BOTH, ACTOR)
    between(monkeypatch, save)
    sweep.run(house.vault)
    assert opened(house) == ["new"]


def test_a_record_that_another_sweep_wrote_meanwhile_is_not_replaced(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("kept")
    turn_on.turn_on(house.vault, BOTH, ACTOR)
    theirs: list[Any] = []

    def other() -> None:
        sweep.run(house.vault)
        theirs.extend(house.sql("SELECT sealed FROM endpoint"))

    between(monkeypatch, other)
    assert sweep.run(house.vault).changed == 0
    assert house.sql("SELECT sealed FROM endpoint") == theirs


def test_others_may_write_while_rows_are_opened_and_sealed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("kept")
    turn_on.turn_on(house.vault, BOTH, ACTOR)

    def write() -> None:
        other = sqlite3.connect(house.data / "panel.db", timeout=0)
        other.execute("UPDATE account SET folder = 'elsewhere'")
        other.commit()
        other.close()

    real: Any = sweep._moved
    monkeypatch.setattr(sweep, "_moved", lambda *given: (write(), real(*given))[1])
    assert sweep.run(house.vault).changed == 1


@pytest.mark.parametrize("phase", ["enable", "rotate"])
def test_a_record_that_does_not_open_again_replaces_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    house.add("kept")
    if phase == "rotate":
        house.enable()
        rotation.rotate(house.vault, ACTOR)
    else:
        turn_on.turn_on(house.vault, BOTH, ACTOR)
    before = house.sql("SELECT clear, sealed FROM endpoint")
    real = record.seal

    def faulty(*given: Any) -> bytes:
        sealed = bytearray(real(*given))
        sealed[-1] ^= 1
        return bytes(sealed)

    with monkeypatch.context() as patch:
        patch.setattr(record, "seal", faulty)
        with pytest.raises(PanelError, match="just encrypted could not be decrypted"):
            sweep.run(house.vault)
    assert house.sql("SELECT clear, sealed FROM endpoint") == before
    sweep.run(house.vault)
    assert opened(house) == ["kept"]


def test_rows_that_do_not_open_are_named_once_and_do_not_hold_up_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "BATCH", 2)
    endpoints = [house.add(f"password {number}") for number in range(5)]
    house.enable()
    file = house.keystore.read()
    assert file is not None
    rotation.rotate(house.vault, ACTOR)
    bad = endpoints[2]
    house.sql("UPDATE endpoint SET host = 'evil.example.org' WHERE id = ?", bad.id)
    report = sweep.run(house.vault)
    assert [failure.address for failure in report.failures] == [bad.account.address]
    assert report.changed == 4
    assert record.key_id_of(house.row(bad)[1]) == file.primary.id  # left as it was
    assert [failure.address for failure in house.vault.latest().failures] == [bad.account.address]


def test_what_sql_forced_in_reads_as_the_model_reads_it(house: House) -> None:
    house.add("kept")
    house.enable()
    house.sql("UPDATE endpoint SET host = CAST(host AS BLOB), port = CAST(port AS TEXT)")
    (row,) = rows.after(Endpoint, 0, rows.stored(Endpoint), 10)
    assert row.binding(b"i") == Endpoint.get().binding(b"i")
    assert verification.run(house.vault).opened == 1


def test_verify_reads_pages_names_what_fails_and_writes_only_what_is_news(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "BATCH", 2)
    endpoints = [house.add(f"password {number}") for number in range(5)]
    house.enable()
    house.sql("UPDATE endpoint SET username = 'mallory' WHERE id = ?", endpoints[3].id)
    seen: list[tuple[int, int]] = []
    verdict = verification.run(house.vault, lambda done, total: seen.append((done, total)))
    assert (verdict.opened, [f.address for f in verdict.failures]) == (4, [endpoints[3].account.address])
    assert seen == [(2, 5), (4, 5), (5, 5)]
    other = sqlite3.connect(house.data / "panel.db")
    before = other.execute("PRAGMA data_version").fetchone()
    assert verification.run(house.vault) == verdict
    assert other.execute("PRAGMA data_version").fetchone() == before
    house.sql("UPDATE endpoint SET username = ? WHERE id = ?", endpoints[3].username, endpoints[3].id)
    assert verification.run(house.vault).failures == ()
    assert house.state is State.ON
    other.close()
