"""A console block taken apart, played on a machine, and its output held against what the manual shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.docs.pages import Block

HERE = re.compile(r"<<'?(\w+)'?")


@dataclass(frozen=True)
class Command:
    """What stands behind one `$ `, with the lines that are shown below it."""

    where: str
    typed: str
    shown: str


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block. One goes on after a backslash, and up to the end of its here-document."""
    lines = block.text.splitlines()
    assert lines, f"{block} is empty"
    assert lines[0].startswith("$ "), f"{block} does not begin with a command"
    at = 0
    while at < len(lines):
        where = f"{block.page}:{block.line + 1 + at}"
        typed, at = _typed(lines, at)
        begin = at
        while at < len(lines) and not lines[at].startswith("$ "):
            at += 1
        yield Command(where, typed, "\n".join(lines[begin:at]))


def _typed(lines: list[str], at: int) -> tuple[str, int]:
    kept = [lines[at].removeprefix("$ ")]
    at += 1
    end = HERE.search(kept[0])
    while (end and kept[-1] != end[1]) or (not end and kept[-1].endswith("\\")):
        kept.append(lines[at])
        at += 1
    return "\n".join(kept), at


def fits(shown: str, printed: str) -> bool:
    """Whether a command printed what is shown. `…` stands for anything, alone on a line for any lines."""
    pattern = ""
    for line in shown.splitlines():
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += re.escape(line.rstrip()).replace("…", ".+?") + r"\s*\n"
    return re.fullmatch(pattern, re.sub(r"\n*\Z", "\n", printed)) is not None
