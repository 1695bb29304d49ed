"""Several processes that start at once on an empty directory make one install."""

from __future__ import annotations

import subprocess
import sys

from panel.config import ROOT
from tests import running
from tests.running import Environ

PREPARE = """
from panel import install
from panel.config import Settings
print(install.prepare(Settings.load()), install.read_secret_key(Settings.load()).reveal())
"""


def test_one_of_several_migrates_and_all_have_the_same_secret_key(environ: Environ) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PREPARE],
            cwd=ROOT,
            env=running.process_environ(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(5)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 5, outputs
    applied, secrets = zip(*(output.strip().rpartition(" ")[::2] for output in outputs), strict=True)
    assert applied.count("[]") == 4
    assert len(set(secrets)) == 1
