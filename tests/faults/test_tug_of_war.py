"""Everybody at once, each on another end of the key: what was saved is there, and the state is a true one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from panel.models import Endpoint
from panel.vault import unfinished
from panel.vault.state import State
from tests.encryption.conftest import House, in_process
from tests.faults.promises import on_disk

ACCOUNTS = 6

ATTEMPT = """
import json
from panel.vault import retired_keys
from panel.errors import PanelError
done = refused = 0
def attempt(step):
    global done, refused
    try:
        step()
        done += 1
        return True
    except PanelError:
        refused += 1
        return False
"""
TELL = "\nprint(json.dumps({'done': done, 'refused': refused, **globals().get('told', {})}))\n"

ROTATE = "for _ in range(int(sys.argv[2])): attempt(lambda: (rotation.rotate(vault, actor), unfinished.resume(vault)))"
PRUNE = "for _ in range(int(sys.argv[2])): attempt(lambda: retired_keys.prune(vault, actor))"
TURN = """
for _ in range(int(sys.argv[2])):
    attempt(lambda: (turn_on.turn_on(vault, BOTH, actor), unfinished.resume(vault)))
    attempt(lambda: (turn_off.turn_off(vault, actor, in_shell=True), unfinished.resume(vault)))
"""
SAVE = """
last = {}
def save(row, text):
    endpoint = Endpoint.get_by_id(row)
    endpoint.secret = Secret(text)
    endpoint.save()
for n in range(int(sys.argv[2])):
    row = int(sys.argv[3]) + 2 * (n % 3)
    if attempt(lambda: save(row, f"password {row} {n}")):
        last[row] = f"password {row} {n}"
told = {'last': last}
"""

CONNECT = """
def connect(n):
    row = Consent(uid=f"{n:032x}", app="a" * 32, account=Account.get(), signs_in_as="", subject="s",
                  kind="refresh-token", created_at=1)
    row.secret = Secret(f"refresh token {n}")
    row.save()
for n in range(int(sys.argv[2])):
    if attempt(lambda: connect(n)):
        Consent.delete().where(Consent.uid == f"{n:032x}").execute()
"""


@pytest.mark.reliability
@pytest.mark.timeout(600)
def test_who_rotates_prunes_turns_and_saves_at_once_loses_nothing(
    house: House, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    stored = {house.add(f"first {number}").id: f"first {number}" for number in range(ACCOUNTS)}
    often = 10 if pytestconfig.getoption("--long") else 1
    everybody = [
        in_process(house, ATTEMPT + script + TELL, str(often * times), *more)
        for script, times, more in (
            (ROTATE, 12, ()), (PRUNE, 40, ()), (TURN, 6, ()), (SAVE, 90, ("1",)), (SAVE, 90, ("2",)), (CONNECT, 90, ()),
        )
    ]  # fmt: skip
    tried = 0
    for process in everybody:
        output, _ = process.communicate(timeout=500)
        assert process.returncode == 0, output
        told = json.loads(output.splitlines()[-1])
        tried += told["done"] + told["refused"]
        stored |= {int(row): text for row, text in told.get("last", {}).items()}
    assert on_disk(house) == set(stored.values())
    unfinished.start(house.vault)
    unfinished.resume(house.vault)
    assert house.state in (State.ON, State.OFF)
    assert {e.id: house.opened(e) for e in Endpoint.select()} == stored
    wrong = "clear" if house.state is State.ON else "sealed"
    assert house.sql(f"SELECT count(*) FROM endpoint WHERE {wrong} IS NOT NULL") == [(0,)]
    assert not house.files_with("refresh token")
    what = "rotations, prunings, turnings and saves of six processes at once"
    record_property("reliability", {"table": "races", "row": what, "column": "tried", "tried": tried})
