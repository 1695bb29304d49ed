"""A linter for regular expressions: which of them take more than linear time over what a stranger sends.

Python's engine goes back and tries again. That is harmless while there is one way to match; it is not
- where a repeat holds something that a repeat in it may match too: `(a+)+`, `(a|ab?)*`, `(a*b?)*`;
- where two repeats that follow each other can share characters: `\\s*\\s*x`, `[^:]*\\s*:`;
- where a search begins anew at each character of a run that it then fails behind: `<[^>]*>`, `a+$`.

Repeats of at most `SHORT` count as bounded. The pattern is read by Python's own parser, and the
source by its `ast`; a pattern that is put together at run time is evaluated in its module.
"""

from __future__ import annotations

import ast
import importlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from panel.config import ROOT

SHORT = 1000
REPEATS = (c.MAX_REPEAT, c.MIN_REPEAT)
SEARCHING = {"search", "sub", "subn", "split", "findall", "finditer"}
FUNCTIONS = {*SEARCHING, "compile", "match", "fullmatch", "Regexp"}
# One of each kind that a pattern may tell apart, besides all of Latin-1.
ALPHABET = frozenset(map(chr, range(256))) | set("ŁłЖж中あ٣٤ıſ\u0301\u2028\u2010\ufeff\U0001f600＠")
CATEGORIES = {
    c.CATEGORY_DIGIT: r"\d", c.CATEGORY_NOT_DIGIT: r"\D", c.CATEGORY_SPACE: r"\s",
    c.CATEGORY_NOT_SPACE: r"\S", c.CATEGORY_WORD: r"\w", c.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A pattern in the source; `searched`: it may begin anywhere."""

    file: str
    line: int
    pattern: str | bytes
    flags: int
    searched: bool

    @property
    def problems(self) -> list[str]:
        """What is wrong with it, in words."""
        return problems(self.pattern, self.flags, self.searched)


def problems(pattern: str | bytes, flags: int = 0, searched: bool = True) -> list[str]:
    """Why `pattern` may take more than linear time; empty where it does not."""
    tree = parser.parse(pattern, flags)
    look = _Look(tree.state.flags | flags)
    found = list(look.nested(tree)) + list(look.adjacent(list(tree), set()))
    if searched and look.is_retried(list(tree)):
        found.append("a search begins anew inside of a run that it fails behind")
    return list(dict.fromkeys(found))


class _Look:
    """Walks over what the parser made of one pattern."""

    def __init__(self, flags: int) -> None:
        self._flags = flags

    # -- which characters ------------------------------------------------------------

    def first(self, items: list[Any]) -> set[str]:
        """Characters that `items` may begin with."""
        found: set[str] = set()
        for item in items:
            found |= self._of(item)
            if not self._may_be_empty(item):
                break
        return found

    def _of(self, item: Any) -> set[str]:
        op, value = item
        if op in (c.LITERAL, c.NOT_LITERAL):
            same = self._folded({chr(value)})
            return same if op is c.LITERAL else set(ALPHABET - same)
        if op is c.ANY:
            return set(ALPHABET if self._flags & re.DOTALL else ALPHABET - {"\n"})
        if op is c.IN:
            return self._class(value)
        if op in REPEATS or op is c.POSSESSIVE_REPEAT:
            return self.first(list(value[2]))
        if op is c.SUBPATTERN:
            return self.first(list(value[3]))
        if op is c.ATOMIC_GROUP:
            return self.first(list(value))
        if op is c.BRANCH:
            return set().union(*(self.first(list(branch)) for branch in value[1]))
        return set(ALPHABET) if op is c.GROUPREF else set()

    def _class(self, parts: Any) -> set[str]:
        found: set[str] = set()
        for op, value in parts:
            if op is c.LITERAL:
                found.add(chr(value))
            elif op is c.RANGE:
                found |= {x for x in ALPHABET if value[0] <= ord(x) <= value[1]}
            elif op is c.CATEGORY:
                flags = self._flags & re.ASCII
                found |= {x for x in ALPHABET if re.fullmatch(CATEGORIES[value], x, flags)}
        found = self._folded(found)
        return set(ALPHABET) - found if parts[0][0] is c.NEGATE else found

    def _folded(self, characters: set[str]) -> set[str]:
        if not self._flags & re.IGNORECASE:
            return characters
        return characters | {y for x in characters for y in (x.lower(), x.upper()) if len(y) == 1}

    def _every(self, items: list[Any]) -> set[str]:
        """Characters that may stand anywhere in what `items` match."""
        found: set[str] = set()
        for op, value in items:
            inner = _inside(op, value)
            found |= (
                set().union(*(self._every(list(each)) for each in inner)) if inner else self._of((op, value))
            )
        return found

    def _may_be_empty(self, item: Any) -> bool:
        op, value = item
        if op in REPEATS or op is c.POSSESSIVE_REPEAT:
            return value[0] == 0 or all(map(self._may_be_empty, value[2]))
        if op is c.SUBPATTERN:
            return all(map(self._may_be_empty, value[3]))
        if op is c.ATOMIC_GROUP:
            return all(map(self._may_be_empty, value))
        if op is c.BRANCH:
            return any(all(map(self._may_be_empty, branch)) for branch in value[1])
        return op in (c.AT, c.ASSERT, c.ASSERT_NOT, c.GROUPREF)

    # -- what is wrong ----------------------------------------------------------------

    def nested(self, items: Any) -> Iterator[str]:
        """Repeats whose body can be read in several ways."""
        for op, value in items:
            if op in REPEATS and value[1] > SHORT:
                yield from self._body(list(value[2]))
            for inner in _inside(op, value):
                yield from self.nested(inner)

    def _body(self, body: list[Any]) -> Iterator[str]:
        for branch in _unwrapped(body):
            # One round of the body may stop early, and the next may take over what is left.
            ends = self._loose_end(branch)
            if ends & self.first(body):
                yield "a repeat inside of a repeat can match the same characters"
            if all(map(self._may_be_empty, branch)):
                yield "what is repeated can be empty"
        for op, value in _flat(body):
            if op is c.BRANCH:
                firsts = [self.first(list(branch)) for branch in value[1]]
                if any(a & b for n, a in enumerate(firsts) for b in firsts[n + 1 :]):
                    yield "alternatives under a repeat begin alike"

    def _loose_end(self, items: list[Any]) -> set[str]:
        """Characters that the end of `items` may match, or leave to what follows."""
        found: set[str] = set()
        for item in reversed(items):
            op, value = item
            if op in REPEATS and value[0] != value[1]:
                found |= self._of(item)
            for inner in _inside(op, value) if op in (c.SUBPATTERN, c.BRANCH) else ():
                found |= self._loose_end(list(inner))
            if not self._may_be_empty(item):
                break
        return found

    def adjacent(self, items: list[Any], before: set[str]) -> Iterator[str]:
        """Repeats without limit of which one can take over what another has left."""
        open_ = set(before)
        for op, value in items:
            characters = self._of((op, value))
            if op in REPEATS and value[1] > SHORT:
                if open_ & characters:
                    yield "two repeats that follow each other can match the same characters"
                open_ = open_ | characters if value[0] == 0 else characters | (open_ & characters)
            elif op is c.SUBPATTERN:
                yield from self.adjacent(list(value[3]), open_)
                ends = self._open_end(list(value[3]))
                open_ = ends | (open_ if self._may_be_empty((op, value)) else set())
            elif op is c.BRANCH:
                for branch in value[1]:
                    yield from self.adjacent(list(branch), open_)
                ends = set().union(*(self._open_end(list(branch)) for branch in value[1]))
                open_ = ends | (open_ if self._may_be_empty((op, value)) else set())
            elif not self._may_be_empty((op, value)):
                open_ &= characters

    def _open_end(self, items: list[Any]) -> set[str]:
        found: set[str] = set()
        for item in reversed(items):
            op, value = item
            if op in REPEATS and value[1] > SHORT:
                found |= self._of(item)
            for inner in _inside(op, value) if op in (c.SUBPATTERN, c.BRANCH) else ():
                found |= self._open_end(list(inner))
            if not self._may_be_empty(item):
                break
        return found

    def is_retried(self, items: list[Any]) -> bool:
        """Whether a search can begin at many places of a run, read it to its end, and fail there."""
        items = list(_spread(items))
        before: list[set[str]] = []
        for place, (op, value) in enumerate(items):
            if op is c.AT and value in (c.AT_BEGINNING, c.AT_BEGINNING_STRING) and place == 0:
                return False
            if op is c.BRANCH:
                return any(self.is_retried([*branch, *items[place + 1 :]]) for branch in value[1])
            if op in REPEATS and value[1] > SHORT:
                run = self._every([(op, value)])
                begins = all(one & run for one in before if one)
                fails = any(
                    not self._may_be_empty(item) or item[0] in (c.AT, c.ASSERT, c.ASSERT_NOT)
                    for item in items[place + 1 :]
                )
                if begins and fails and not self._looks_behind(items[:place], run):
                    return True
            before.append(self._of((op, value)))
        return False

    def _looks_behind(self, items: list[Any], run: set[str]) -> bool:
        """Whether an assertion at the begin keeps the search from beginning inside of the run."""
        for op, value in items[:1]:
            if op is c.ASSERT_NOT and value[0] < 0:
                return run <= self.first(list(value[1]))
        return False


def _inside(op: Any, value: Any) -> list[Any]:
    if op in REPEATS or op is c.POSSESSIVE_REPEAT:
        return [value[2]]
    if op is c.SUBPATTERN:
        return [value[3]]
    if op is c.ATOMIC_GROUP:
        return [value]
    if op is c.BRANCH:
        return list(value[1])
    if op in (c.ASSERT, c.ASSERT_NOT):
        return [value[1]]
    return []


def _flat(items: list[Any]) -> Iterator[Any]:
    """All items, those of groups included, but not what stands in repeats of their own."""
    for op, value in items:
        yield op, value
        if op is c.SUBPATTERN:
            yield from _flat(list(value[3]))


def _spread(items: list[Any]) -> Iterator[Any]:
    """The items in a row, groups that are not repeated opened."""
    for op, value in items:
        if op is c.SUBPATTERN:
            yield from _spread(list(value[3]))
        else:
            yield op, value


def _unwrapped(body: list[Any]) -> Iterator[list[Any]]:
    """The alternatives of a repeat's body."""
    if len(body) == 1 and body[0][0] is c.SUBPATTERN:
        yield from _unwrapped(list(body[0][1][3]))
    elif len(body) == 1 and body[0][0] is c.BRANCH:
        for branch in body[0][1][1]:
            yield list(branch)
    else:
        yield body


# -- the source -----------------------------------------------------------------------


def patterns(directory: Path) -> Iterator[Found]:
    """Every pattern below `directory`. One that cannot be told from the source fails with NameError."""
    for path in sorted(directory.rglob("*.py")):
        text = path.read_text("utf-8")
        if "re." in text or "Regexp(" in text:
            yield from _patterns(path, ast.parse(text))


def _patterns(path: Path, tree: ast.Module) -> Iterator[Found]:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    uses = _uses(tree)
    names = {id(node.value): node.targets[0] for node in ast.walk(tree) if isinstance(node, ast.Assign)}
    for node in ast.walk(tree):
        name = _called(node)
        if name is None or not isinstance(node, ast.Call):
            continue
        pattern = _value(node.args[0], module)
        flags = _flags(node, name, module)
        searched = name in SEARCHING
        if name == "compile":
            target = names.get(id(node))
            searched = (
                not isinstance(target, ast.Name) or uses.get(target.id, {"search"}) & SEARCHING != set()
            )
        yield Found(str(path.relative_to(ROOT)), node.lineno, pattern, flags, searched)


def _called(node: ast.AST) -> str | None:
    """The name of the function of `re` that is called, or Regexp."""
    if not isinstance(node, ast.Call) or not node.args:
        return None
    if isinstance(node.func, ast.Name):
        return node.func.id if node.func.id == "Regexp" else None
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in FUNCTIONS:
        return None
    owner = node.func.value
    return node.func.attr if isinstance(owner, ast.Name) and owner.id == "re" else None


def _uses(tree: ast.Module) -> dict[str, set[str]]:
    """For each name, the methods that are called on it; 'search' where it is handed on."""
    methods: dict[str, set[str]] = {}
    owners = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            methods.setdefault(node.value.id, set()).add(node.attr)
            owners.add(id(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in owners:
            methods.setdefault(node.id, set()).add("search")
    return methods


def _flags(node: ast.Call, name: str, module: str) -> int:
    at = {"compile": 1, "match": 2, "search": 2, "fullmatch": 2, "findall": 2, "finditer": 2}.get(name)
    given = [keyword.value for keyword in node.keywords if keyword.arg == "flags"]
    given += node.args[at : at + 1] if at else []
    return int(_value(given[0], module)) if given else 0


def _value(node: ast.expr, module: str) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    with warnings.catch_warnings():
        return eval(compile(ast.Expression(node), module, "eval"), vars(importlib.import_module(module)))  # noqa: S307
