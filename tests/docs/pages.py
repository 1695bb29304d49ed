"""The pages of the manual as the tests read them: headings, links, and fenced blocks with their kind.

docs/README.md tells readers what the kinds mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from panel.config import ROOT

DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(?P<kind>\S*)(?: (?P<note>.*))?$")


@dataclass(frozen=True)
class Block:
    """One fenced block: `kind` and `note` are the words behind its fence, `line` is that of the fence."""

    page: str
    line: int
    kind: str
    note: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that a reader saves it as, where the fence says `file=…`."""
        return self.note.removeprefix("file=") if self.note.startswith("file=") else None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path below the repository."""
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text("utf-8")

    @property
    def prose(self) -> str:
        """All of it but its fenced blocks; their lines are left empty."""
        lines = self.text.split("\n")
        for block in self.blocks():
            for number in range(block.line - 1, block.line + block.text.count("\n") + 1):
                lines[number] = ""
        return "\n".join(lines)

    @property
    def anchors(self) -> set[str]:
        """What a link to a heading of this page may end with, made as GitHub makes it."""
        headings = re.findall(r"^#+ +(.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def links(self) -> Iterator[str]:
        """The targets of its links and pictures."""
        yield from re.findall(r"\]\(([^)\s]+)\)", self.prose)

    def blocks(self) -> list[Block]:
        """Its fenced blocks, in order."""
        found: list[Block] = []
        kept: list[str] = []
        open_: tuple[int, str, str] | None = None
        for number, line in enumerate(self.text.split("\n"), 1):
            fence = FENCE.match(line)
            if open_ is None and fence:
                open_, kept = (number, fence["kind"], fence["note"] or ""), []
            elif open_ is not None and line == "```":
                number, kind, note = open_
                found.append(Block(self.name, number, kind, note, "".join(f"{one}\n" for one in kept)))
                open_ = None
            elif open_ is not None:
                kept.append(line)
        assert open_ is None, f"{self.name}: a fence is not closed"
        return found


def manual() -> list[Page]:
    """README, CONTRIBUTING and everything below docs/."""
    return [
        Page(ROOT / "README.md"),
        Page(ROOT / "CONTRIBUTING.md"),
        *(Page(path) for path in sorted(DOCS.rglob("*.md"))),
    ]


def page(name: str) -> Page:
    """One page of docs/."""
    return Page(DOCS / name)
