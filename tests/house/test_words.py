"""The panel speaks plain technical English: terms of its own that must not come back.

`\\b` does not divide at an underscore, so names of the contract such as `backup_proved_at` are no words.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask

from panel.config import ROOT

# All in lower case. In every text: code, comments, docstrings, pages, commands, manual.
TEXT = {
    r"mend(s|ed|ing)?": "remedy, fix",
    r"somebody('s)?|someone else's": "who it is",
    r"(is|are|was|were|be|been|being|nobody) told": "receives, is notified; or make the teller the subject",
    r"(?<!as )well(?!-)": "OK",
    r"(?<!mail found )in clear(?! text)": "in clear text",
    r"is owed|are owed|stays owed|owed": "pending",
    r"vouch(es|ed|ing)?": "is authentic",
    r"old[ _]copies": "leftovers in clear text",
    r"look(s|ed)? again": "scan again",
    r"(?<!backup-)prove[ds]?|unproved|proving": "verify",
    r"written anew": "encrypted",
    r"keep(s|ing)? out|kept out": "disable access",
    r"password until now": "current password",
    r"end the others": "sign out other sessions",
    r"safe way": "secure channel",
    r"the own": "their own",
    r"between two looks|each look|this look": "check",
    r"becomes of": "a plain verb",
    r"nobody but itself": "self-signed certificate",
    r"(this|the|your|that) very (machine|server)": "on this server",
    r"go on now|goes on now": "resume",
    r"being looked for": "scanning",
    r"collecting goes on": "collecting resumed",
    r"is paused since": "has been paused since",
    r"read out:": "Reference:",
    r"mail accounts?": "mailbox",
    r"whom to tell": "recipients",
    r"what (needs you|was checked|was lately)": "needs attention, system checks, history",
    r"notices?(?= (by|of|to|is|was|are|goes|went|that)\b)|(a|no|the|each|this|open) notices?": "alert",
    r"waylaid|the way in": "a standard term",
    r"(?<!mit )(?<!mailkeep/)licen[cs]e[sd]?(?!\)|\.md)": "attestation",
    r"witness(es)?": "expected key",
    r"goal key": "primary key",
    r"releas(ing|e id)": "decrypting",
    r"upkeep": "maintenance",
    r"vitals": "heartbeat",
    r"hasty": "interactive",
    r"fresh password": "re-authentication",
}

# In what people read besides: templates, panel.js, manual, help, strings. Comments may speak of opening a record.
PEOPLE = {
    r"(do|does|did) not open|opened, \d+ did not": "cannot be decrypted",
    r"begin with(?= (all|new|unread|now)|:)": "start with",
    r"i have created the file": "turn off encryption",
    r"what sha256sum printed": "output of the command",
    r"all \d+ passwords": "Zero has a sentence of its own",
    r"looked for(?=:)": "last scan",
    r"e-mails?": "email",
}

# In templates and the manual. A password is encrypted or it is not; `docs/encryption.md` describes the record.
SEALED = {
    r"(?<![\"'.])seal(s|ed|ing)?(?![\"'])": "encrypted",
    r"passwords? (is|are|stay|stays) protected": "encrypted",
}
DESCRIBES_THE_RECORD = {"encryption.md", "architecture.md", "security.md", "performance.md", "reliability.md"}

# Names in panel/, in whole parts: `is_told` and `Told` hold `told`.
NAMES = {
    "anyway": "force",
    "ask_again|require_again": "require_reauth",
    "calm": "quiet_period",
    "doors?": "sign-in pages",
    "echo(es)?": "reflected_secret",
    "goal": "primary",
    "hasty": "interactive",
    "hint": "remedy",
    "judged": "foreign",
    "keep_up|upkeep": "maintenance",
    "kept": "what it is",
    "ledger": "alert_log",
    "lies|nonsense": "protocol_violation",
    "mend(s|ed)?": "remedy",
    "needles?": "pattern",
    "notices?": "alert",
    "old_copies": "leftovers",
    "owed": "pending",
    "passing": "transient",
    "patience": "idle_timeout",
    "releasing": "decrypting",
    "says": "message",
    "settled": "retire_others",
    "talk|speak": "protocol_client",
    "told": "notified",
    "trial": "probe",
    "vitals": "heartbeat",
    "vouch(es|ed)?": "is_authentic",
    "way_back": "safe_redirect",
    "way_in": "login_sequence",
    "witness": "expected_key",
}

# What stays, with the reason.
STAYS = {
    ("panel/printing.py", "echo"),  # click's own function
}
STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # of 3.11, of 3.12
WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
FROZEN = ROOT / "panel/models/migrations"  # what ran once is not rewritten


def compiled(terms: dict[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(rf"\b(?:{term})\b"), better) for term, better in terms.items()]


NAMED = [(re.compile(rf"(?:^|_)(?:{term})(?:_|$)"), better) for term, better in NAMES.items()]
EVERYWHERE, FOR_PEOPLE, ENCRYPTED = compiled(TEXT), compiled(TEXT | PEOPLE), compiled(SEALED)


# About tells of licences in the word's own sense.
OF_SOFTWARE = ("panel/help/about.py", "templates/help/about.html", "panel/help/routes.py", "docs/urls.md")


def found_in(text: str, terms: list[tuple[re.Pattern[str], str]], where: str, line: int = 1) -> Iterator[str]:
    """A line for each term in `text`, which begins in line `line` of `where`."""
    if where.partition(":")[0] in OF_SOFTWARE:
        terms = [(pattern, better) for pattern, better in terms if better != "attestation"]
    on_one_line = re.sub(r"\s", " ", text).lower()
    for pattern, better in terms:
        for hit in pattern.finditer(on_one_line):
            yield f"{where}:{line + text.count(chr(10), 0, hit.start())}: {hit[0]!r}: {better}"


def sources() -> list[Path]:
    return [path for path in sorted((ROOT / "panel").rglob("*.py")) if not path.is_relative_to(FROZEN)]


def found_in_code(path: Path) -> Iterator[str]:
    where = named(path)
    source = path.read_text("utf-8")
    documented = docstrings(ast.parse(source))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.NAME:
            if (where, token.string) not in STAYS:
                yield from found_in_name(token.string, f"{where}:{line}")
        elif token.type == tokenize.COMMENT or line in documented:
            yield from found_in(token.string, EVERYWHERE, where, line)
        elif token.type in STRINGS:
            yield from found_in(token.string, FOR_PEOPLE, where, line)


def found_in_name(name: str, where: str) -> Iterator[str]:
    yield from (f"{where}: {name}: {better}" for better in better_names(name))


@functools.cache
def better_names(name: str) -> tuple[str, ...]:
    """What stands for the parts of `name` that must not come back."""
    parts = WORD_START.sub("_", name).lower()
    return tuple(better for pattern, better in NAMED if pattern.search(parts))


def docstrings(tree: ast.Module) -> set[int]:
    """The lines that docstrings begin in."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body[0] for node in ast.walk(tree) if isinstance(node, owners) and node.body]
    return {body.lineno for body in bodies if isinstance(body, ast.Expr)}


def pages() -> list[Path]:
    """Templates and the manual; decisions and the changelog tell history."""
    manual = [path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "decisions"]
    return sorted(
        [*(ROOT / "templates").rglob("*.html"), *manual, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    )


def scripts() -> list[Path]:
    return [ROOT / "static/panel.js", *sorted(path for path in (ROOT / "script").iterdir() if path.is_file())]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def found_in_page(path: Path) -> Iterator[str]:
    text, where = path.read_text("utf-8"), named(path)
    terms = FOR_PEOPLE if path.name in DESCRIBES_THE_RECORD else FOR_PEOPLE + ENCRYPTED
    yield from found_in(text, terms, where)


def found_in_help(app: Flask) -> Iterator[str]:
    def below(command: click.Command, words: str) -> Iterator[tuple[str, click.Command]]:
        yield words, command
        if isinstance(command, click.Group):
            for name, child in command.commands.items():
                yield from below(child, f"{words} {name}")

    for words, command in below(app.cli, "flask"):
        text = command.get_help(click.Context(command, info_name=words))
        yield from found_in(text, FOR_PEOPLE, f"{words} --help")


def test_the_code_speaks_standard_terms() -> None:
    found = [line for path in sources() for line in found_in_code(path)]
    assert not found, "\n".join(found)


def test_what_people_read_is_plain_english() -> None:
    found = [line for path in pages() for line in found_in_page(path)]
    assert not found, "\n".join(found)


def test_scripts_are_plain_english() -> None:
    found = [
        line for path in scripts() for line in found_in(path.read_text("utf-8"), FOR_PEOPLE, named(path))
    ]
    assert not found, "\n".join(found)


def test_the_help_of_every_command_is_plain_english(app: Flask) -> None:
    found = list(found_in_help(app))
    assert not found, "\n".join(found)


def test_a_class_has_a_name_of_its_own() -> None:
    names = Counter(
        node.name
        for path in sources()
        if path.name != "forms.py"  # of one page each
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name: count for name, count in names.items() if count > 1} == {}


@pytest.mark.parametrize(
    "text",
    [
        "All is well",
        "Type both again to mend it",
        "3 passwords in clear",
        "It was told of it",
        "Mail accounts",
    ],
)
def test_a_term_that_comes_back_is_found(text: str) -> None:
    assert list(found_in(text, FOR_PEOPLE, "a page"))


@pytest.mark.parametrize(
    "text",
    ["as well as others", "3 passwords in clear text", "recommend", "`backup_proved_at`", "well-known"],
)
def test_ordinary_words_are_not(text: str) -> None:
    assert not list(found_in(text, FOR_PEOPLE, "a page"))


@pytest.mark.parametrize("name", ["told", "_is_told", "WayIn", "TRIAL_SECONDS", "vouches"])
def test_a_name_that_comes_back_is_found(name: str) -> None:
    assert list(found_in_name(name, "a module"))


@pytest.mark.parametrize("name", ["try_again", "EAI_AGAIN", "recommended", "is_way_inside", "message"])
def test_ordinary_names_are_not(name: str) -> None:
    assert not list(found_in_name(name, "a module"))
