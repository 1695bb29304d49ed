"""The pages of the manual: docs/, its decisions and deployment files, the changelog. Read and rendered once.

A file that changes on the disk is read again. What is not in the list of files is not there: no name leads
out of it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from panel.help.markdown import Links, Paragraph, Rendered, plain, render

INDEX = "index"
PATTERNS = ("docs/*.md", "docs/decisions/*.md", "docs/deploy/*", "CHANGELOG.md", "CONTRIBUTING.md")
IMAGES = "docs/images/"
LONGEST_QUERY = 200  # characters
MOST_WORDS = 8
MOST_RESULTS = 30
EXCERPT = 220  # characters


@dataclass(frozen=True)
class ManualPage:
    """One page: `name` is its place below /help."""

    name: str
    content: Rendered


@dataclass(frozen=True)
class Result:
    """A paragraph that was found; `excerpt`: its text in parts, each with whether it was searched for."""

    page: str
    title: str
    paragraph: Paragraph
    excerpt: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Results:
    """The best ones first. `partial`: no paragraph holds all words, these hold some."""

    rows: tuple[Result, ...]
    total: int
    partial: bool = False


class Manual:
    """The manual below `root`, with addresses below `base` ('/help')."""

    def __init__(self, root: Path, base: str) -> None:
        self._root, self._base = root, base
        self._rendered: dict[str, tuple[int, ManualPage]] = {}

    def page(self, name: str) -> ManualPage | None:
        files = self._files()
        return self._read(name, files) if name in files else None

    def titles(self) -> list[tuple[str, str]]:
        """Name and title of the pages of docs/, in the order of their titles."""
        found = [(name, _title(path)) for name, path in self._files().items() if _is_main(name)]
        return sorted(found, key=lambda pair: pair[1].lower())

    def search(self, query: str) -> Results:
        """The paragraphs that hold every word of `query`, or some where none holds all."""
        words = list(dict.fromkeys(query[:LONGEST_QUERY].casefold().split()))[:MOST_WORDS]
        ranked: list[tuple[int, int, str, ManualPage, Paragraph]] = []
        files = self._files()
        for name in files:
            page = self._read(name, files)
            for paragraph in page.content.paragraphs:
                hits, score = _score(page, paragraph, words)
                if hits:
                    ranked.append((hits, score + _is_main(name), name, page, paragraph))
        most = max((each[0] for each in ranked), default=0)
        best: list[tuple[int, int, str, ManualPage, Paragraph]] = []
        seen: set[tuple[str, str]] = set()  # the best of each heading stands for it
        for each in sorted((each for each in ranked if each[0] == most), key=lambda each: -each[1]):
            place = (each[2], each[4].heading.anchor)
            if place not in seen:
                seen.add(place)
                best.append(each)
        rows = (
            Result(name, page.content.title, paragraph, _excerpt(paragraph.text, words))
            for _, _, name, page, paragraph in best[:MOST_RESULTS]
        )
        return Results(tuple(rows), len(best), partial=0 < most < len(words))

    def _files(self) -> dict[str, Path]:
        """The files by name. Links out of the folder are left out."""
        paths = (path for pattern in PATTERNS for path in sorted(self._root.glob(pattern)))
        return {
            _name(path.relative_to(self._root).as_posix()): path
            for path in paths
            if path.is_file() and not path.is_symlink()
        }

    def _read(self, name: str, files: Mapping[str, Path]) -> ManualPage:
        path = files[name]
        changed = path.stat().st_mtime_ns
        known = self._rendered.get(name)
        if known is None or known[0] != changed:
            known = self._rendered[name] = (changed, ManualPage(name, self._render(path, files)))
        return known[1]

    def _render(self, path: Path, files: Mapping[str, Path]) -> Rendered:
        text = path.read_text("utf-8")
        if path.suffix != ".md":
            return plain(text, path.name)

        def page(source: str) -> str | None:
            name = _name(source)
            if name not in files:
                return None
            return self._base if name == INDEX else f"{self._base}/{name}"

        def image(source: str) -> str | None:
            there = source.startswith(IMAGES) and (self._root / source).is_file()
            return f"{self._base}/images/{source.removeprefix(IMAGES)}" if there else None

        return render(text, Links(path.relative_to(self._root).as_posix(), page, image))


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


def _name(source: str) -> str:
    """The name of a file: 'docs/backup.md' is 'backup', 'docs/README.md' the index."""
    name = source.removeprefix("docs/").removesuffix(".md")
    if posixpath.basename(name) == "README":
        name = posixpath.dirname(name) or INDEX
    return name.lower() if "/" not in source else name


def _is_main(name: str) -> bool:
    return "/" not in name and name not in ("decisions", "changelog", "contributing", INDEX)


# -- searching ---------------------------------------------------------------------------


def _score(page: ManualPage, paragraph: Paragraph, words: list[str]) -> tuple[int, int]:
    """How many of `words` the paragraph or its headings hold, and how good a find it is."""
    text, heading = paragraph.text.casefold(), paragraph.heading.text.casefold()
    title = page.content.title.casefold()
    hits = sum(word in text or word in heading or word in title for word in words)
    in_text = sum(min(text.count(word), 3) for word in words)
    in_heading = sum(word in heading for word in words) * 4
    in_title = sum(word in title for word in words) * 3
    phrase = " ".join(words) if len(words) > 1 else "\n"
    as_typed = (8 if phrase in text else 0) + (16 if phrase in heading else 0)
    return hits if in_text or in_heading else 0, in_text + in_heading + in_title + as_typed


def _excerpt(text: str, words: list[str]) -> tuple[tuple[str, bool], ...]:
    """The part of `text` around the first of `words`, cut into what was searched for and what was not."""
    folded = text.lower()  # of the same length in all texts of ours; else nothing is marked
    if len(folded) != len(text):
        return ((text[:EXCERPT], False),)
    first = min((folded.find(word) for word in words if word in folded), default=0)
    start = 0 if first < EXCERPT // 2 else text.rfind(" ", 0, first - EXCERPT // 4) + 1
    end = min(len(text), start + EXCERPT)
    marked = [False] * (end - start)
    for word in words:
        at = folded.find(word, start, end)
        while at >= 0:
            marked[at - start : at - start + len(word)] = [True] * len(word)
            at = folded.find(word, at + len(word), end)
    parts = [("… ", False)] if start else []
    begin = start
    for at in range(start + 1, end + 1):
        if at == end or marked[at - start] != marked[begin - start]:
            parts.append((text[begin:at], marked[begin - start]))
            begin = at
    return tuple(parts + ([(" …", False)] if end < len(text) else []))
