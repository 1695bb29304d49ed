"""Guides and decisions name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from panel.config import ROOT

GUIDES = [ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
NOT_IN_GIT = {"bench/results/"}
PATH = re.compile(r"`((?:panel|tests|templates|static|script|docs|bench|requirements)/[\w./-]*)`")


def test_the_list_of_rooms_is_what_lies_below_panel() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    rooms = text.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([\w/]+)` \|", rooms, re.MULTILINE)
    packages = {f"{path.parent.name}/" for path in (ROOT / "panel").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "panel").glob("*.py")} - {"__init__"}
    assert sorted(listed) == sorted(packages | modules)


def test_each_module_of_the_vault_is_on_one_of_its_paths() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    modules = {f"panel/vault/{path.name}" for path in (ROOT / "panel/vault").glob("*.py")}
    assert modules - set(PATH.findall(text)) == {"panel/vault/__init__.py"}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_each_path_that_a_guide_names_is_there(guide: Path) -> None:
    named = set(PATH.findall(guide.read_text("utf-8"))) - NOT_IN_GIT
    assert [path for path in sorted(named) if "FEATURE" not in path and not (ROOT / path).exists()] == []
