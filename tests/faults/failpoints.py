"""Dying at the Nth step that reaches the disk, inside this process: quick enough to try every N each time.

The strace runs of `test_every_write` kill for real, in the middle of anything. Here a
step is a sync, link, rename or removal of a file, or a commit, and dying is an
exception that nothing catches and that every later step raises again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from panel import create_app, db, install
from panel.config import Settings
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.encryption.conftest import House, settings_in
from tests.faults.promises import check

STEPS = ((os, "fsync"), (os, "link"), (os, "rename"), (os, "unlink"), (db.GuardedSqlite, "commit"))


class Died(BaseException):
    """The process is dead."""


@dataclass
class Failpoints:
    """Counts the steps, and dies at the `dies_at`-th of them: before it is done, or just after."""

    dies_at: int | None = None
    after: bool = False
    count: int = 0
    log: list[str] = field(default_factory=list)

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            self.log.append(name)
            last = self.dies_at is not None and self.count >= self.dies_at
            if last and not (self.after and self.count == self.dies_at):
                raise Died(f"before {name} {self.count}")
            result = real(*args, **kwargs)
            if last:
                raise Died(f"after {name} {self.count}")
            return result

        return step


@contextmanager
def dying(points: Failpoints) -> Iterator[None]:
    """Have every step of this process counted by `points`."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in STEPS:
            patch.setattr(owner, name, points.wrap(name, getattr(owner, name)))
        with suppress(Died):
            yield


@dataclass(frozen=True)
class Play:
    """One operation on a prepared install: what is done and how it may end."""

    prepare: Callable[[House], None]
    act: Callable[[House], None]
    ends: frozenset[State]
    adds: frozenset[str] = frozenset()


def play_with_death_at_every_step(
    play: Play, directory: Path, accounts: int = 3, *, twice: bool = False
) -> int:
    """Run `play`, dying before each of its steps in turn and after the last; the number of deaths.

    `twice`: dying after each one too, which leaves what dying before the next one leaves but for what is not synced.
    Raises AssertionError where an install is not what it promises to be afterwards.
    """
    passwords = frozenset(f"password {number}" for number in range(accounts))
    house = _house(directory / "prepared")
    with db.database.connection_context():
        for password in sorted(passwords):
            house.add(password)
        play.prepare(house)
    points = Failpoints()
    _act(play, _copy(house.settings, directory / "counted"), points)
    deaths = [(number, False) for number in range(1, points.count + 1)]
    deaths += [(number, True) for number in range(1 if twice else points.count, points.count + 1)]
    for number, after in deaths:
        where = _copy(house.settings, directory / f"{number}-{after}")
        _act(play, where, Failpoints(number, after))
        why = f"died {'after' if after else 'before'} {points.log[number - 1]}, step {number}"
        check(where, accounts, passwords | play.adds, set(play.ends), why)
        shutil.rmtree(where.data_dir.parent)
    return len(deaths)


def _house(directory: Path) -> House:
    settings = settings_in(directory)
    install.prepare(settings)
    create_app(settings)
    return House(settings, Vault.of(settings, db.database))


def _copy(settings: Settings, directory: Path) -> Settings:
    shutil.copytree(settings.data_dir, directory / "data")
    return settings_in(directory)


def _act(play: Play, settings: Settings, points: Failpoints) -> None:
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    db.database.connect()
    try:
        with dying(points):
            play.act(house)
    finally:
        drop_connection()


def drop_connection() -> None:
    """As a dead process leaves it: whatever was not committed is rolled back by the next one."""
    connection = db.database.connection()
    connection.rollback()
    while db.database.transaction_depth():
        db.database.pop_transaction()
    db.database.close()
