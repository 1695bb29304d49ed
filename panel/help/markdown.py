"""One file of the manual as HTML, with its headings and its paragraphs.

Raw HTML stays text. A link leads to another page, a paragraph, or a web site; any other becomes plain text.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from panel.anchors import anchor

WEB = ("http", "https")


@dataclass(frozen=True)
class Heading:
    level: int
    text: str
    anchor: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, item, row of a table or block of code, and the heading above it."""

    heading: Heading
    text: str


@dataclass(frozen=True)
class Rendered:
    """A page without its first heading, which is `title`."""

    title: str
    html: Markup
    headings: tuple[Heading, ...]
    paragraphs: tuple[Paragraph, ...]


@dataclass(frozen=True)
class Links:
    """Where a link of the file `source` may lead: each gets a path below the repository, None for nowhere."""

    source: str
    page: Callable[[str], str | None]
    image: Callable[[str], str | None]

    def resolve(self, target: str) -> str | None:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            return target if parts.scheme in WEB and parts.netloc else None
        if not parts.path:
            return f"#{parts.fragment}" if parts.fragment else None
        found = self.page(self._path(parts.path))
        return f"{found}#{parts.fragment}" if found and parts.fragment else found

    def resolve_image(self, target: str) -> str | None:
        parts = urlsplit(target)
        return None if parts.scheme or parts.netloc else self.image(self._path(parts.path))

    def _path(self, path: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.source), unquote(path)))


def render(text: str, links: Links) -> Rendered:
    """`text`, which begins with its title."""
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    tokens = parser.parse(text)
    headings = _name_headings(tokens)
    for number, token in enumerate(tokens):
        if token.children:
            token.children = _checked(token.children, links)
        if token.type == "th_open" and not tokens[number + 1].content:
            token.tag = tokens[number + 2].tag = "td"  # an empty heading names nothing
    has_title = bool(headings) and headings[0].level == 1 and tokens[0].type == "heading_open"
    body = tokens[3:] if has_title else tokens
    return Rendered(
        headings[0].text if has_title else posixpath.basename(links.source),
        Markup(parser.renderer.render(body, parser.options, {})),  # noqa: S704 - it holds no HTML but ours
        tuple(headings[1:] if has_title else headings),
        tuple(_paragraphs(tokens, headings)),
    )


def plain(text: str, name: str) -> Rendered:
    """A file that is no Markdown, as one block."""
    heading = Heading(1, name, "")
    html = Markup('<pre tabindex="0">{}</pre>\n').format(text)
    return Rendered(name, html, (), (Paragraph(heading, text),))


# -- what is in a page -------------------------------------------------------------------


def _text(token: Token) -> str:
    """What a person reads of an inline token."""
    if token.children is None:
        return token.content
    shown = (" " if each.type in ("softbreak", "hardbreak") else _text(each) for each in token.children)
    return "".join(shown)


def _name_headings(tokens: Sequence[Token]) -> list[Heading]:
    """All headings; gives each of their tokens its anchor as id."""
    found: list[Heading] = []
    seen: Counter[str] = Counter()
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            text = _text(tokens[number + 1])
            name = anchor(text)
            unique = f"{name}-{seen[name]}" if seen[name] else name
            seen[name] += 1
            token.attrSet("id", unique)
            found.append(Heading(int(token.tag[1:]), text, unique))
    return found


def _paragraphs(tokens: Sequence[Token], headings: Sequence[Heading]) -> list[Paragraph]:
    found: list[Paragraph] = []
    remaining = list(headings)
    here = Heading(1, "", "")
    row: list[str] | None = None
    previous = ""
    for token in tokens:
        if token.type == "heading_open":
            here = remaining.pop(0)
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close":
            found.append(Paragraph(here, " · ".join(filter(None, row or []))))
            row = None
        elif token.type == "inline" and row is not None:
            row.append(_text(token))
        elif token.type == "fence" or (token.type == "inline" and previous != "heading_open"):
            found.append(Paragraph(here, _text(token)))
        previous = token.type
    return found


# -- links -----------------------------------------------------------------------------


def _checked(children: Sequence[Token], links: Links) -> list[Token]:
    """Inline tokens with addresses of the panel; links that lead nowhere are left out, their text stays."""
    checked: list[Token] = []
    dropped: list[bool] = []  # of the links that are open
    for token in children:
        if token.type == "link_open":
            target = links.resolve(str(token.attrGet("href")))
            dropped.append(target is None)
            if target is None:
                continue
            token.attrs = {"href": target}
            if target.startswith(WEB):
                token.attrSet("rel", "noopener noreferrer")
        elif token.type == "link_close" and dropped.pop():
            continue
        elif token.type == "image":
            source = links.resolve_image(str(token.attrGet("src")))
            if source is None:
                token = Token("text", "", 0, content=token.content)
            else:
                token.attrs = {"src": source, "alt": "", "loading": "lazy"}
        checked.append(token)
    return checked


class _Renderer(RendererHTML):
    """Wide blocks can be scrolled by keyboard; a diagram, which needs a script, is folded away as text."""

    def fence(self, tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
        block = f'<pre tabindex="0">{escape(tokens[index].content)}</pre>\n'
        if tokens[index].info.split()[:1] != ["mermaid"]:
            return block
        return f"<details><summary>Diagram, as text (Mermaid)</summary>{block}</details>\n"

    def table_open(self, *_arguments: Any) -> str:
        """A table in a box of its own."""
        return '<div class="wide" role="group" aria-label="Table" tabindex="0"><table>\n'

    def table_close(self, *_arguments: Any) -> str:
        return "</table></div>\n"
