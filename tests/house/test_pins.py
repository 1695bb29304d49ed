"""What is installed is pinned with hashes and names no registry."""

from __future__ import annotations

import re

import pytest

from panel.config import ROOT

EXTRAS = ("requirements/metrics.txt",)
FILES = ("requirements.txt", *EXTRAS, "requirements/dev.txt")


def pins(name: str) -> dict[str, str]:
    """Every requirement of a pinned file, as 'name==version' and its whole text."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / name).read_text())
    entries = text.replace("\\\n", " ").splitlines()
    return {entry.split()[0]: entry for entry in entries if entry.strip()}


@pytest.mark.parametrize("name", FILES)
def test_every_package_has_one_version_and_a_hash(name: str) -> None:
    found = pins(name)
    assert found
    for package, entry in found.items():
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.]+", package), entry
        assert "--hash=sha256:" in entry, package


@pytest.mark.parametrize("name", FILES)
def test_no_registry_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"--(extra-)?index|--find-links|--trusted-host|-i ", text)


def test_the_tests_run_with_the_very_versions_of_the_server() -> None:
    tests = pins("requirements/dev.txt")
    for name in ("requirements.txt", *EXTRAS):
        assert pins(name).items() <= tests.items(), name
