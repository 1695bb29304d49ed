"""What the tests of backups share."""

from __future__ import annotations

from pathlib import Path

from panel.audit import Actor
from panel.backup import check, create
from panel.backup.contents import CheckReport
from panel.backup.create import Snapshot
from tests.encryption.conftest import House, house

__all__ = ["House", "house", "judge", "make"]


def make(house: House, dest: Path) -> Snapshot:
    return create.create(house.settings, dest, Actor("admin@example.org"))


def judge(house: House, path: Path) -> CheckReport:
    return check.check(house.settings, house.vault, path)
