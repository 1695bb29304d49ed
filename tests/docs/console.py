"""A console block taken apart, played on a machine, and its output held against the facts that the manual shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.docs.pages import Block

HERE = re.compile(r"<<'?(\w+)'?")
FACT = re.compile(
    r"""
    "[^"…]+"                                                # quoted: names and values of JSON
    | [^\s"…(]* [\d@/=_] (?: [^\s"…]* [^\s"….,;:)] )?        # numbers, addresses, paths, settings
    | (?<=:\ ) \w+ | ^ \w+ $                                # what is said of a thing; a word as the answer
    """,
    re.VERBOSE | re.MULTILINE,
)


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


def missing(shown: str, printed: str) -> str | None:
    """The first fact of what is shown that was not printed at its place; None where all were.

    Facts are what a reader acts on: numbers, addresses, paths, settings, states and what stands in
    quotes. The words around them may change, and `…` is left out.
    """
    at = 0
    for fact in FACT.finditer(shown):
        end = "" if shown.startswith("…", fact.end()) else r"(?!\w)"
        found = re.compile(rf"(?<!\w){re.escape(fact[0])}{end}").search(printed, at)
        if found is None:
            return fact[0]
        at = found.end()
    return None
