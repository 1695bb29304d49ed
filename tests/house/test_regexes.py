"""Regular expressions over what strangers send take linear time; the linter for it, and what it finds."""

from __future__ import annotations

import pytest

from panel.config import ROOT
from tests.house.regexes import patterns, problems


def test_no_pattern_of_the_panel_can_be_made_slow() -> None:
    found = list(patterns(ROOT / "panel"))
    assert len(found) > 20
    bad = [each for each in found if each.problems]
    told = "\n".join(f"{each.file}:{each.line}: {each.pattern!r}: {', '.join(each.problems)}" for each in bad)
    assert not bad, told


SLOW = [
    r"(a+)+$", r"(a*)*b", r"(?:a|a)*b", r"(?:a|ab)*c", r"(\w+\s?)*:", r"(?:[^\"\\]|.)*x", r"(a?)*b",
    r"\s*\s*x", r"[^:]*\s*:", r"\d+[0-9]*x", r"(\s*)(\s*)x", r"a*b?a*c", r".*.*=", r"(?:x+x+)+y",
    r"(?:a+|b)*c", r"<[^>]*>", r"\s+$", r"x*y", r"FLAGS \([^)]*\)", r"[\W\d_]+$", r"(a*)b", r"\b\w+:", r"\"(?:[^\"\\]|\\.)*\"",
]  # fmt: skip
QUICK = [
    r"\Aa*b", r"[^@\s]{1,64}@", r"\A[^@\s]+@[^@\s]+\Z", r"<[^<>]*>", r"\"(?:[^\"\\]|\\.){0,500}\"", r"[\s,;]+",
    r"\A(?:[^\"\\]|\\.)*\"", r"\[([a-z]+)\]", r"(?:ab)*", r"(?<!\s)\s+$", r"^\s*x", r"\A[a-z]+(?: [a-z]+)*\Z",
    r"(?i)x{1,9}y", r"a+",
]  # fmt: skip


@pytest.mark.parametrize("pattern", SLOW)
def test_the_linter_finds(pattern: str) -> None:
    assert problems(pattern)
    assert problems(pattern.encode())


@pytest.mark.parametrize("pattern", QUICK)
def test_the_linter_leaves_alone(pattern: str) -> None:
    assert problems(pattern) == []
    assert problems(pattern.encode()) == []
