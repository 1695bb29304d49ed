"""What the system calls of a real collector say: nothing counts before it is on the disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from panel.collect import due
from panel.config import ROOT
from tests import running
from tests.collect.conftest import PostOffice, letter

CALLS = "fsync,fdatasync,rename,renameat,renameat2"


def calls_of(post: PostOffice, trace: Path) -> list[str]:
    """The lines of strace for one `flask collect --once`, with the paths of descriptors."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace: apt-get install strace")
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={CALLS}", "-e", "signal=none"]
    subprocess.run(
        [*command, sys.executable, "-m", "flask", "collect", "--once"],
        cwd=ROOT,
        env=running.process_environ(post.environ),
        check=True,
        capture_output=True,
        timeout=120,
    )
    return trace.read_text().splitlines()


def test_file_and_folder_are_synced_before_the_commit_and_the_commit_before_the_rename(
    post: PostOffice, tmp_path: Path
) -> None:
    account = post.add(letter(1))
    lines = calls_of(post, tmp_path / "trace")
    [row] = post.fetched(account)
    spool = post.spool(account)

    def at(*words: str, after: int = -1) -> int:
        for number, line in enumerate(lines):
            if number > after and all(word in line for word in words):
                return number
        raise AssertionError(f"no call with {words} after line {after}:\n" + "\n".join(lines))

    file = at("fsync", f"tmp/{row.name}>")
    tmp = at("fsync", f"{spool}/tmp>", after=file)
    commit = at("sync", "panel.db-wal>", after=tmp)
    rename = at("rename", f"{spool}/tmp/{row.name}", f"{spool}/new/{row.name}")
    assert commit < rename
    new = at("fsync", f"{spool}/new>", after=rename)
    assert at("sync", "panel.db-wal>", after=new)  # only then it is no longer noted as ready


def test_a_round_that_finds_nothing_costs_the_disk_two_commits(post: PostOffice, tmp_path: Path) -> None:
    account = post.add(letter(1))
    post.collect(account)
    due.make_due(account.uuid)
    lines = calls_of(post, tmp_path / "trace")
    assert len([line for line in lines if "panel.db-wal>" in line]) == 2
    assert not [line for line in lines if f"{post.spool(account)}/" in line]
