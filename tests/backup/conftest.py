"""What the tests of backups share."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from panel.audit import Actor
from panel.backup import check, create
from panel.backup.contents import CheckReport
from panel.backup.create import Backup
from tests import warm
from tests.encryption.conftest import House, house

__all__ = ["House", "house", "judge", "make"]


@pytest.fixture(autouse=True)
def _the_process_that_looks_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports the panel, which takes most of a second; test_check.py starts one from cold too."""
    forked = SimpleNamespace(run=warm.run, PIPE=subprocess.PIPE)
    monkeypatch.setattr(check, "subprocess", forked)


def make(house: House, dest: Path) -> Backup:
    return create.create(house.settings, dest, Actor("admin@example.org"))


def judge(house: House, path: Path) -> CheckReport:
    return check.check(house.settings, house.vault, path)
