"""docs/security.md names tests that exist: a rule without a test is no rule."""

from __future__ import annotations

import ast
import re

import pytest

from panel.config import ROOT

NAMED = re.findall(r"`(tests/[^`]+)`", (ROOT / "docs/security.md").read_text("utf-8"))


@pytest.mark.parametrize("named", sorted(set(NAMED) - {"tests/docs/test_security.py"}))
def test_each_test_that_the_page_names_exists(named: str) -> None:
    path, _, name = named.partition("::")
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    tests = {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
    assert name in tests if name else any(each.startswith("test_") for each in tests)


def test_each_row_names_a_test() -> None:
    rows = [
        line for line in (ROOT / "docs/security.md").read_text("utf-8").splitlines() if line.startswith("| ")
    ]
    rows = [row for row in rows if not row.startswith(("| threat", "| ---"))]
    assert len(rows) > 40
    assert all("`tests/" in row.rsplit("|", 2)[1] for row in rows)
