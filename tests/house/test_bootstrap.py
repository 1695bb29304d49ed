"""script/bootstrap: everything on an empty machine, nothing the second time.

The repository of these tests has empty requirement files, so that no registry is
asked; that the real ones install is shown by every run of script/test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from panel.config import ROOT

NEEDED = ("sh", "dirname", "basename", "cmp", "cat", "rm", "cp")


def fresh_clone(directory: Path) -> Path:
    """A fresh clone, as far as bootstrap can tell, with a space in its path."""
    repository = directory / "a fresh clone"
    (repository / "requirements").mkdir(parents=True)
    shutil.copytree(ROOT / "script", repository / "script")
    need_nothing(repository)
    return repository


def need_nothing(repository: Path) -> None:
    for name in ("requirements.txt", "requirements/dev.txt", "requirements/bench.txt"):
        (repository / name).write_text(f"# nothing for {name}\n")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """One in which nothing was done yet."""
    return fresh_clone(tmp_path)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A clone after its first start, and what that said. Making an environment takes five seconds."""
    repository = fresh_clone(tmp_path_factory.mktemp("first"))
    done = bootstrap(repository)
    assert done.returncode == 0, done.stderr
    return repository, done.stderr


@pytest.fixture
def made(first: tuple[Path, str]) -> Path:
    """A clone that needs nothing any more, whatever the tests before have done with it."""
    repository = first[0]
    need_nothing(repository)
    assert bootstrap(repository).returncode == 0
    return repository


def bootstrap(clone: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [clone / "script/bootstrap", *arguments],
        cwd="/",
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=280,
    )


def path_with(directory: Path, python3: str | None) -> str:
    """A PATH with the tools that every machine has, and `python3` as given."""
    directory.mkdir()
    for name in NEEDED:
        program = shutil.which(name)
        assert program is not None
        (directory / name).symlink_to(program)
    if python3 is not None:
        (directory / "python3").write_text(f"#!/bin/sh\n{python3}\n")
        (directory / "python3").chmod(0o755)
    return str(directory)


def test_the_second_start_installs_nothing_and_says_nothing(first: tuple[Path, str]) -> None:
    repository, said = first
    assert "making .venv" in said
    assert "installing" in said
    second = bootstrap(repository)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert (repository / ".venv/bin/python").exists()


def test_changed_pins_and_an_interrupted_install_are_installed_again(made: Path) -> None:
    (made / "requirements.txt").write_text("./no-such-folder\n")
    failed = bootstrap(made)
    assert failed.returncode == 1
    assert "could not be installed" in failed.stderr
    assert "Traceback" not in failed.stderr
    need_nothing(made)
    again = bootstrap(made)
    assert again.returncode == 0
    assert "installing" in again.stderr
    assert "making" not in again.stderr


def test_a_half_made_environment_is_made_again(clone: Path) -> None:
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").symlink_to("/bin/true")
    assert "making .venv" in bootstrap(clone).stderr
    assert bootstrap(clone).stderr == ""


def test_a_moved_repository_gets_a_new_environment(made: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(made, tmp_path / "elsewhere", symlinks=True)
    assert "making .venv" in bootstrap(moved).stderr


def test_the_environment_of_another_folder_is_not_emptied_through_a_link(made: Path, clone: Path) -> None:
    (clone / ".venv").symlink_to(made / ".venv")
    done = bootstrap(clone)
    assert (done.returncode, "Remove the link" in done.stderr) == (3, True)
    assert bootstrap(made).stderr == ""


def test_what_the_tests_need_holds_what_the_server_needs(made: Path) -> None:
    assert bootstrap(made, "--dev").returncode == 0
    assert bootstrap(made).stderr == ""
    (made / "requirements.txt").write_text("# changed\n")
    assert "installing" in bootstrap(made).stderr
    assert "installing" in bootstrap(made, "--dev").stderr


def test_what_the_benchmarks_need_holds_what_the_tests_need(made: Path) -> None:
    assert bootstrap(made, "--bench").returncode == 0
    assert [bootstrap(made, *wanted).stderr for wanted in (["--bench"], ["--dev"], [])] == [""] * 3


def test_two_at_once_make_one_environment(clone: Path) -> None:
    both = [
        subprocess.Popen([clone / "script/bootstrap"], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = [process.communicate(timeout=280)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("making .venv" in text for text in told) == 1


@pytest.mark.parametrize(
    ("python3", "named"),
    [
        (None, "apt-get install python3 python3-venv"),
        ('case "$2" in *platform*) echo 3.9.2;; *) exit 1;; esac', "3.9.2, but 3.11 or newer is needed"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv"),
    ],
    ids=["no python3", "an old one", "no venv module"],
)
def test_what_is_missing_is_named_with_the_package_to_install(
    clone: Path, tmp_path: Path, python3: str | None, named: str
) -> None:
    refused = bootstrap(clone, PATH=path_with(tmp_path / "bin", python3))
    assert refused.returncode == 3
    assert named in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (clone / ".venv").exists()
