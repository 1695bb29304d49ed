"""script/npm-packages: what the tests' OAuth2 provider needs, installed once, or a word about what is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from panel.config import ROOT

NPM = (
    '#!/bin/sh\n[ "$*" = "ci --ignore-scripts --silent" ] || exit 2\nmkdir -p node_modules && echo x >>runs\n'
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the script and of what it reads, and programs of its own."""
    for name in ("script/npm-packages", "tests/servers/oidc/package-lock.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for name in ("cmp", "cp", "dirname", "mkdir"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    return tmp_path


def run(copy: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    for name, text in programs.items():
        (copy / "bin" / name).write_text(text)
        (copy / "bin" / name).chmod(0o755)
    return subprocess.run(
        ["/bin/sh", copy / "script/npm-packages"],
        env={"PATH": str(copy / "bin")},
        capture_output=True,
        text=True,
    )


def test_without_node_it_says_what_is_skipped(copy: Path) -> None:
    for programs in ({}, {"npm": NPM}, {"npm": NPM, "node": "#!/bin/sh\nexit 1\n"}):
        done = run(copy, **programs)
        assert (done.returncode, done.stdout) == (0, "")
        assert "Tests that need an OAuth2 provider are skipped." in done.stderr
    assert not (copy / "tests/servers/oidc/runs").exists()


def test_packages_are_installed_once_for_each_lock_file(copy: Path) -> None:
    folder = copy / "tests/servers/oidc"
    for _ in range(2):
        assert run(copy, npm=NPM, node="#!/bin/sh\n").returncode == 0
    assert (folder / "runs").read_text() == "x\n"
    (folder / "package-lock.json").write_text("{}")
    assert run(copy).returncode == 0
    assert (folder / "runs").read_text() == "x\nx\n"


def test_a_failure_is_one_and_is_tried_again(copy: Path) -> None:
    assert run(copy, npm="#!/bin/sh\nexit 1\n", node="#!/bin/sh\n").returncode == 1
    assert run(copy, npm=NPM).returncode == 0
