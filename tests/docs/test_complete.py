"""Promise of the manual: all that there is stands in it, and nothing that is not there.

In the manner of simonw/datasette, tests/test_docs.py.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import click
import pytest
from flask import Flask

from panel.config import FROM_FILE, NAMES, NOT_OURS, ROOT, Settings
from panel.deliver import targets_file
from tests.docs.pages import Block, Page, manual, page

PAGES = manual()
KINDS = {"console", "sh", "cron", "python", "jsonl", "ini", "toml", "nginx", "caddy", "text", "mermaid"}
FLASKS_OWN = {"routes", "run", "shell"}
SECTIONS = ("docs/decisions/",)  # written for who changes the code


def every(kind: str) -> Iterator[Block]:
    return (block for one in PAGES for block in one.blocks() if block.kind == kind)


# -- settings --------------------------------------------------------------------


def test_every_setting_has_its_row_and_its_default() -> None:
    rows = dict(re.findall(r"^\| `(PANEL_\w+)` \| ([^|]+) \|", page("settings.md").text, re.MULTILINE))
    assert set(rows) == NAMES - {"PANEL_ENV_FILE"}
    assert "PANEL_ENV_FILE" in page("settings.md").text
    settings = Settings.load({"PANEL_ENV_FILE": "/dev/null"})
    assert rows["PANEL_MAIL_PORTS"] == f"`{','.join(map(str, sorted(settings.mail_ports)))}`"
    assert rows["PANEL_BIND"] == f"`{settings.bind_host}:{settings.bind_port}`"
    assert rows["PANEL_ACTIVITY_DAYS"] == f"`{settings.activity_days}`"
    assert rows["PANEL_TRUSTED_PROXIES"] == f"`{settings.trusted_proxies}`"
    assert rows["PANEL_LOG_FORMAT"] == f"`{settings.log_format}`"
    assert rows["PANEL_TIMEZONE"] == f"`{settings.timezone}`"


def test_no_page_names_a_setting_that_there_is_not() -> None:
    known = NAMES | {f"{name}_FILE" for name in FROM_FILE} | {"PANEL_NAME"}  # PANEL_NAME=value: any
    for one in PAGES:
        for name in re.findall(r"PANEL_\w*[A-Z]", one.text):
            assert name in known or NOT_OURS.match(name) or NOT_OURS.match(f"{name}_"), f"{one.name}: {name}"


def test_settings_that_are_shown_are_taken(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("settings") / "mailkeep.env"
    for block in every("ini"):
        path.write_text(block.text, "utf-8")
        Settings.load({"PANEL_ENV_FILE": str(path)})


def test_targets_files_that_are_shown_are_taken(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("targets") / "targets.toml"
    for block in every("toml"):
        path.write_text(block.text, "utf-8")
        assert targets_file.read(path).by_name


# -- commands --------------------------------------------------------------------


def commands(app: Flask) -> dict[str, click.Command]:
    """Every command by its words: 'accounts add'."""

    def below(group: click.Group, words: str) -> Iterator[tuple[str, click.Command]]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from below(command, f"{words}{name} ")
            else:
                yield f"{words}{name}", command

    return {words: found for words, found in below(app.cli, "") if words not in FLASKS_OWN}


def signature(words: str, command: click.Command) -> str:
    arguments = [str(p.name).upper() for p in command.params if isinstance(p, click.Argument)]
    return " ".join(["flask", words, *arguments])


def options(command: click.Command) -> set[str]:
    return {p.opts[-1] for p in command.params if isinstance(p, click.Option)}


def test_every_command_has_its_row_with_all_its_options(app: Flask) -> None:
    rows = re.findall(r"^\| `(flask [^`]+)` \|([^|]*)\|", page("commands.md").text, re.MULTILINE)
    manual_says = {words: set(re.findall(r"`(--[\w-]+)`", taken)) for words, taken in rows}
    assert manual_says == {signature(*each): options(each[1]) for each in commands(app).items()}


def test_no_page_names_a_command_or_an_option_that_there_is_not(app: Flask) -> None:
    known = commands(app)
    groups = {words.split()[0] for words in known}
    for one in PAGES:
        if one.name.startswith(SECTIONS):
            continue
        for found in re.finditer(r"\bflask ((?:[a-z][\w|-]*[ `,]?)+)([^`\n]*(?:\\\n[^`\n]*)*)", one.text):
            words, rest = found[1].rstrip(" `,").split(), found[2]
            if words[0] not in groups:
                continue  # 'flask' in a sentence
            named = _named(words, known)
            assert named, f"{one.name}: flask {' '.join(words)}"
            taken = {"--help"}.union(*(options(known[each]) for each in named))
            given = set(re.findall(r"(?<!\S)\[?(--[a-z][\w-]*)", rest.partition("<")[0].partition("|")[0]))
            assert given <= taken, f"{one.name}: flask {' '.join(words)}: {given - taken}"


def _named(words: list[str], known: dict[str, click.Command]) -> list[str]:
    """The commands that these words mean: one, several with bars between, or all of a group."""
    for end in range(len(words), 0, -1):
        meant = [" ".join([*words[: end - 1], each]) for each in words[end - 1].split("|")]
        if all(each in known for each in meant):
            return meant
    return [each for each in known if each.startswith(f"{' '.join(words)} ")]


# -- URLs ------------------------------------------------------------------------


def test_every_url_has_its_row_with_its_methods(app: Flask) -> None:
    there: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        there.setdefault(rule.rule, set()).update((rule.methods or set()) & {"GET", "POST"})
    rows = re.findall(r"^\| `(/[^`]*)` \| ([A-Z, ]+) \|", page("urls.md").text, re.MULTILINE)
    assert {url: set(methods.split(", ")) for url, methods in rows} == there
    assert len(rows) == len(there)


# -- links and blocks --------------------------------------------------------------


@pytest.mark.parametrize("one", PAGES, ids=lambda one: one.name)
def test_every_link_of_the_page_leads_somewhere(one: Page) -> None:
    for link in one.links():
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            continue
        target = (one.path.parent / unquote(parts.path)).resolve() if parts.path else one.path
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if parts.fragment:
            assert parts.fragment in Page(target).anchors, link


def test_every_page_can_be_reached_from_the_index() -> None:
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in page("README.md").links()}
    for one in PAGES:
        if one.path.parent == ROOT / "docs" and one.path.name != "README.md":
            assert one.path in linked, one.name


def test_every_paragraph_that_the_panel_names_is_there() -> None:
    """Pages name it as: docs/encryption.md, “Key missing”."""
    for path in [*(ROOT / "templates").rglob("*.html"), *(ROOT / "panel").rglob("*.py")]:
        text = re.sub(r"</?(?:code|em)>", "", path.read_text("utf-8"))
        for name, heading in re.findall(r"(docs/[\w/-]+\.md)(?:,\s+[“']([^”']+)[”'])?", text):
            assert (ROOT / name).is_file(), f"{path}: {name}"
            if heading:
                assert re.search(rf"^#+ {re.escape(heading)}$", Page(ROOT / name).prose, re.MULTILINE), (
                    f"{path}: {heading}"
                )


@pytest.mark.parametrize(
    "one", [one for one in PAGES if "decisions" not in one.name], ids=lambda one: one.name
)
def test_what_the_manual_calls_by_its_label_stands_on_a_page(one: Page) -> None:
    """Labels are in *italics* and begin with a capital; … stands for what differs."""
    for label in re.findall(r"(?<![\w*])\*([A-Z][^*\n]{2,60})\*(?![\w*])", one.prose):
        words = r".{0,40}".join(map(re.escape, label.rstrip(".:").lower().split("…")))
        assert re.search(words, labels()), f"{one.name}: {label}"


@functools.cache
def labels() -> str:
    """All that templates and code say, in lower case and without tags."""
    texts = [path.read_text("utf-8") for path in (ROOT / "templates").rglob("*.html")]
    texts += [path.read_text("utf-8") for path in (ROOT / "panel").rglob("*.py")]
    return re.sub(r"<[^<>]+>|\s+", " ", " ".join(texts)).lower()


def test_headings_of_a_page_differ_so_that_each_can_be_linked_to() -> None:
    for one in PAGES:
        headings = re.findall(r"^#+ +(.+)$", one.prose, re.MULTILINE)
        assert len(headings) == len(one.anchors), one.name


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    told = set(
        re.findall(
            r"`(\w+)`", "".join(re.findall(r"^\| (`.+?) \|.+\|.+\|$", page("README.md").text, re.MULTILINE))
        )
    )
    for one in PAGES:
        for block in one.blocks():
            assert block.kind in KINDS, block
            assert block.kind in told or f"{block.kind} {block.note}" == "sh as-root", block
            if block.kind == "sh":
                assert block.file or block.note == "as-root", block
            if block.kind in ("cron", "python", "jsonl"):
                assert block.file, block


def test_no_command_hides_in_an_indented_block_where_no_test_sees_it() -> None:
    for one in PAGES:
        if one.path.parent == ROOT / "docs":
            assert not re.search(r"(?:^|\n)\n {4,}\S", one.prose), one.name
