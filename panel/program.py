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
PROGRAMS = {"chgrp", "chmod", "chown", "cp", "install", "ls", "mv", "sudoedit"}  # that remedies name
# What may run something else, or shows that the sentence goes on behind the command.
NO_COMMAND = re.compile(r"[;|&<>`]|\$\((?!readlink )|, |[.)]\Z")
LONG = 24  # characters that nobody wants to type


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


def split_command(text: str) -> tuple[str, str]:
    """A sentence of ours, and apart from it the command that it ends in, if that is long enough to be copied.

    Only what this server's commands look like counts, since some sentences were read from the database.
    """
    lead, _, command = text.rpartition(": ")
    is_command = len(command) >= LONG and command.isprintable() and all(map(_is_ours, command.split(" && ")))
    return (f"{lead}:", command) if is_command else (text, "")


def _is_ours(command: str) -> bool:
    words = command.removeprefix("sudo ")
    # An option of flask itself, such as --app, would have it load another program.
    ours = words.startswith(f"{flask()} ") and words.removeprefix(f"{flask()} ")[:1].isalpha()
    known = ours or words.partition(" ")[0] in PROGRAMS
    return known and not NO_COMMAND.search(command)


def as_typed(text: str) -> str:
    """A sentence of ours, with each command that it names ("run: flask doctor") as it can be typed."""
    return NAMED.sub(lambda _: f"{flask()} ", text) if "flask " in text else text


def owner_of(path: Path) -> str:
    """The Unix user that `path` belongs to, as `sudo -u` takes it: the name, or # and the number without."""
    try:
        return path.owner()
    except KeyError:
        return f"#{path.stat().st_uid}"
