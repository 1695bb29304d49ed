"""Disks and names that refuse: a sentence instead of a traceback, and nothing is stuck or lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from panel.audit import Actor
from panel.crypto.keyfile import KeyFile
from panel.errors import PanelError, SettingsError
from panel.models import Endpoint
from panel.vault import forget, retired_keys, rotation, turn_off, unfinished
from panel.vault.state import State
from tests.encryption.conftest import House, settings_in

ACTOR = Actor("admin@example.org", "192.0.2.1")


def off(house: House) -> None:
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    unfinished.resume(house.vault)


def give_up(house: House) -> None:
    away = house.key_file.read_bytes()
    house.key_file.write_bytes(b"no key file")
    try:
        forget.forget(house.vault, ACTOR)
    except PanelError:
        house.key_file.write_bytes(away)
        raise


STEPS: dict[str, Callable[[House], Any]] = {
    "rotate": lambda h: (rotation.rotate(h.vault, ACTOR), unfinished.resume(h.vault)),
    "prune": lambda h: retired_keys.prune(h.vault, ACTOR),
    "turn off": off,
    "forget": give_up,
    "start": lambda h: unfinished.start(h.vault),
}
CALLS: dict[str, tuple[Any, str]] = {
    "unlink": (os, "unlink"),
    "rename": (os, "rename"),
    "link": (os, "link"),
    "fsync": (os, "fsync"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("step", STEPS)
def test_a_call_that_fails_is_told_in_a_sentence_and_the_passwords_stay(
    house: House, step: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = house.add("kept")
    house.enable()
    house.rotate()

    def fails(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        owner, name = CALLS[call]
        patch.setattr(owner, name, fails)
        try:
            STEPS[step](house)
        except PanelError as error:
            assert error.remedy
    unfinished.start(house.vault)
    unfinished.resume(house.vault)
    if step != "forget":
        assert house.opened(endpoint) == "kept"
    assert house.state in (State.ON, State.OFF)
    assert not list(house.data.glob(".*.tmp"))


def test_encryption_is_not_turned_on_under_a_name_too_long_for_its_retired_copy(tmp_path: Path) -> None:
    """Else turning off would write all in clear and never come to its end."""
    with pytest.raises(SettingsError, match="PANEL_KEY_FILE"):
        settings_in(tmp_path, PANEL_KEY_FILE=str(tmp_path / ("k" * 215 + ".bin")))


def test_the_lock_file_that_cannot_be_opened_is_told(house: House) -> None:
    house.add("kept")
    house.enable()
    lock = house.data / "encryption-key.lock"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(PanelError, match=r"encryption-key\.lock"):
        rotation.rotate(house.vault, ACTOR)
    assert KeyFile.from_bytes(house.key_file.read_bytes()).generation == 1
    assert house.opened(Endpoint.get_by_id(1)) == "kept"
