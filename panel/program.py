"""How the commands of this install are typed, in the folder of the code as the manual says."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"(?<![\w/.-])flask (?=[a-z])")  # in a sentence of ours


@cache
def flask() -> str:
    """`flask` where that is the one of this install, else its path: `.venv/bin/flask`."""
    program = Path(sys.prefix) / "bin/flask"
    if not program.exists():
        return f"{shlex.quote(sys.executable)} -m flask"
    found = shutil.which("flask")
    if found and Path(found).resolve() == program.resolve():
        return "flask"
    return shlex.quote(str(program.relative_to(ROOT) if program.is_relative_to(ROOT) else program))


def command_line(words: str) -> str:
    """`words` ("encryption status") as they can be typed."""
    return f"{flask()} {words}"


def as_typed(text: str) -> str:
    """A sentence of ours, with each command that it names ("run: flask doctor") as it can be typed."""
    return NAMED.sub(lambda _: f"{flask()} ", text) if "flask " in text else text
