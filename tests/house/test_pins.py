"""What is installed is pinned with hashes and names no registry."""

from __future__ import annotations

import json
import re

import pytest

from panel.config import ROOT

EXTRAS = ("requirements/export.txt", "requirements/metrics.txt")
FILES = ("requirements.txt", *EXTRAS, "requirements/dev.txt", "requirements/bench.txt")


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


def versions(name: str) -> set[str]:
    """Versions and hashes without conditions: tests need on every Python what the server needs on some."""
    return {" ".join(re.sub(r" ; .*?(?= --hash)", "", entry).split()) for entry in pins(name).values()}


def test_tests_and_benchmarks_run_with_the_very_versions_of_the_server_and_its_extras() -> None:
    for name in ("requirements.txt", *EXTRAS):
        assert versions(name) <= versions("requirements/dev.txt")
    assert versions("requirements/dev.txt") <= versions("requirements/bench.txt")


def test_the_npm_packages_of_the_tests_are_pinned_and_name_no_registry() -> None:
    folder = ROOT / "tests/servers/oidc"
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert not [name for name, package in locked.items() if "resolved" in package]
    assert [name for name, package in locked.items() if name and "integrity" not in package] == []
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted


def test_a_server_runs_without_the_extras() -> None:
    for name in EXTRAS:
        assert not pins("requirements.txt").keys() & pins(name).keys()
