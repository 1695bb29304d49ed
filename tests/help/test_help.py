"""Promises of Help: the manual in the panel, found by its words, leading nowhere else."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from flask import Flask

from panel import db
from panel.config import ROOT, VERSION
from panel.errors import KeyAbsent, PanelError
from panel.help import about
from panel.help.manual import MOST_RESULTS, Manual
from panel.help.markdown import Links, render
from panel.models import Collection
from panel.web.help_topics import TOPICS
from tests.docs.pages import Page, page
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser, add_person

MANUAL = Manual(ROOT, "/help")
NAMES = sorted(MANUAL._files())
DOCS = sorted(path.stem for path in (ROOT / "docs").glob("*.md") if path.stem != "README")


@pytest.fixture(params=["admin", "agent", "user"])
def anyone(app: Flask, request: pytest.FixtureRequest) -> Browser:
    add_person(f"{request.param}@example.org", request.param)
    browser = Browser(app)
    browser.sign_in(f"{request.param}@example.org")
    return browser


def markdown(text: str, source: str = "docs/a.md") -> str:
    pages = {"docs/b.md": "/help/b", "docs/deploy/x.service": "/help/deploy/x.service"}
    images = {"docs/images/p.png": "/help/images/p.png"}
    return str(render(text, Links(source, pages.get, images.get)).html)


# -- reading -------------------------------------------------------------------------------


def test_everybody_who_is_signed_in_reads_every_page(anyone: Browser) -> None:
    assert set(DOCS) <= set(NAMES)
    for name in NAMES:
        answer = anyone.get("/help" if name == "index" else f"/help/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["Cache-Control"] == "no-store"
    assert anyone.get("/help/about").status_code == 200


def test_who_is_not_signed_in_is_led_to_the_sign_in_page(app: Flask) -> None:
    for path in ("/help", "/help/encryption", "/help/about", "/help/images/overview.png", "/help/none"):
        assert Browser(app).get(path).status_code == 303, path


def test_every_link_within_the_manual_leads_to_a_page_and_a_heading(admin: Browser) -> None:
    pages = {name: MANUAL.page(name) for name in NAMES}
    anchors = {name: {h.anchor for h in one.content.headings} for name, one in pages.items() if one}
    for name, one in pages.items():
        assert one is not None
        for href in re.findall(r'href="([^"]*)"', str(one.content.html)):
            target, _, anchor = unescape(href).partition("#")
            if target.startswith("http"):
                continue
            there = name if not target else "index" if target == "/help" else target.removeprefix("/help/")
            assert there in pages, (name, href)
            if anchor:
                assert anchor in anchors[there], (name, href)


@pytest.mark.parametrize("name", DOCS)
def test_anchors_are_githubs_and_no_text_is_lost(name: str) -> None:
    found = MANUAL.page(name)
    assert found is not None
    title = re.sub(r"[^\w\- ]", "", found.content.title.lower()).replace(" ", "-")
    assert {heading.anchor for heading in found.content.headings} | {title} == page(f"{name}.md").anchors
    html = unescape(re.sub(r"<[^>]+>", "", str(found.content.html)))
    for block in page(f"{name}.md").blocks():
        assert block.text in html


def test_headings_of_the_same_text_get_the_anchors_that_github_gives() -> None:
    assert re.findall(r'id="([^"]+)"', markdown("# T\n## A `b` c!\n## A b c\n## Ünï & 2_x\n")) == [
        "a-b-c", "a-b-c-1", "ünï--2_x",
    ]  # fmt: skip


def test_below_a_path_every_address_of_the_manual_begins_with_it(environ: dict[str, str]) -> None:
    found = Manual(ROOT, "/mail/help").page("backup")
    assert found is not None
    inner = re.findall(r'href="(/[^"]*)"', str(found.content.html))
    assert inner and all(href.startswith("/mail/help") for href in inner)


def test_a_diagram_is_folded_away_as_text(admin: Browser) -> None:
    text = admin.get("/help/architecture").text
    assert "<summary>Diagram, as text (Mermaid)</summary><pre" in text
    assert "flowchart LR" in text


def test_a_page_that_changes_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    file = tmp_path / "docs/a.md"
    file.write_text("# One\nfirst\n")
    manual = Manual(tmp_path, "/help")
    before = manual.page("a")
    file.write_text("# Two\nsecond, longer\n")
    import os

    os.utime(file, (1, 1))
    after = manual.page("a")
    assert before and after
    assert (before.content.title, after.content.title) == ("One", "Two")
    assert manual.titles() == [("a", "Two")]


# -- what is not there ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [
    "nothing", "../README", "%2e%2e/LICENSE", "..%2f..%2fetc%2fpasswd", "docs/encryption", "encryption.md", "ENCRYPTION",
    "/etc/passwd", "//evil.example", "decisions/../encryption", "deploy/../../panel/config.py", "images/../encryption",
    "encryption%00", "x" * 1024, "%ff", "🐑", "<script>", "encryption/", "images/none.png", "images/..%2f..%2fREADME.md",
    "images/%00", "index.html",
])  # fmt: skip
def test_no_name_leads_out_of_the_manual(admin: Browser, name: str) -> None:
    answer = admin.get(f"/help/{name}")
    assert answer.status_code in (404, 308), name
    assert "<script>" not in answer.text.partition("<main")[2]


def test_a_link_of_the_file_system_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").symlink_to("/etc/passwd")
    assert Manual(tmp_path, "/help").page("a") is None


@pytest.mark.parametrize("text", [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "[x](JAVASCRIPT:alert(1))",
    "[x](data:text/html,x)", "[x](vbscript:x)", "[x](//evil.example/)", "![x](https://evil.example/p.png)",
    "![x](../../etc/passwd)", "<javascript:alert(1)>", "[x](file:///etc/passwd)", "[x](../panel/config.py)", "[x](mailto:a@b.c)",
    "[x](https:evil.example)", '[x](b.md "onclick=alert(1)")', "[x](&#106;avascript:alert(1))", "`<script>`", "```\n</pre><script>\n```",
    "```mermaid\n<script>\n```", "| <b> |\n| --- |\n| <i onclick=x> |", "# <u>t</u>", "[![x](javascript:x)](javascript:y)",
])  # fmt: skip
def test_no_page_can_hold_raw_html_or_lead_to_a_script(text: str) -> None:
    html = markdown(f"# T\n\n{text}\n")
    assert not re.search(r"<(script|img|b|i|u)\b", html), html
    assert not re.search(r"<[^>]*\bon\w+=", html), html
    for target in re.findall(r'(?:href|src)="([^"]*)"', html):
        assert target == "/help/b", html


def test_links_lead_to_pages_paragraphs_files_and_web_sites() -> None:
    html = markdown(
        "# T\n[a](b.md#x) [b](#y) [c](https://example.org/?a=1&b=2) [d](deploy/x.service) ![e](images/p.png)"
    )
    assert re.findall(r'(?:href|src)="([^"]*)"', html) == [
        "/help/b#x", "#y", "https://example.org/?a=1&amp;b=2", "/help/deploy/x.service", "/help/images/p.png",
    ]  # fmt: skip
    assert 'rel="noopener noreferrer"' in html
    assert 'alt="e"' in html


def test_pictures_of_the_manual_are_served(admin: Browser) -> None:
    answer = admin.get("/help/images/overview.png")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")


# -- searching -------------------------------------------------------------------------------


def searched(browser: Browser, query: str) -> str:
    answer = browser.client.get("/help", query_string={"q": query})
    assert answer.status_code == 200
    return answer.text.partition("<main")[2]


@pytest.mark.parametrize(("query", "first"), [
    ("lost key", "/help/encryption#a-lost-key"),
    ("forgotten password", "/help/forgotten-password"),
    ("caddy", "/help/proxy#caddy"),
    ("PANEL_MAIL_CA_FILE", "/help/settings"),
    ("key file is missing", "/help/encryption#key-missing"),
    ("webhook signature", "/help/alerts#the-webhook"),
])  # fmt: skip
def test_a_search_leads_to_the_paragraph(admin: Browser, query: str, first: str) -> None:
    found = re.findall(r'<li><a href="([^"]+)"', searched(admin, query))
    assert any(href.startswith(first) for href in found[:5]), found[:5]


def test_a_search_finds_whatever_the_case_and_marks_it(admin: Browser) -> None:
    text = searched(admin, "CADDY obtains")
    assert "<mark>Caddy</mark>" in text and "<mark>obtains</mark>" in text


def test_a_search_that_no_paragraph_answers_whole_shows_what_comes_near(admin: Browser) -> None:
    assert "No paragraph has all of these words" in searched(admin, "caddy zebra")
    assert "Nothing found" in searched(admin, "zebra")


@pytest.mark.parametrize("query", [
    "<script>alert(1)</script>", "x" * 1024, "\0", "🐑", "ß", "İ", "(", "*", "\\", "'\"", "a\r\nb", "--help", " ", "e " * 400, "%",
])  # fmt: skip
def test_a_search_takes_whatever_is_typed(admin: Browser, query: str) -> None:
    text = searched(admin, query)
    assert "<script>alert" not in text
    assert len(re.findall(r'<li><a href="/help/', text)) <= max(MOST_RESULTS, 60)


def test_a_search_costs_little_once_the_manual_was_read() -> None:
    import time

    MANUAL.search("password")
    began = time.process_time()
    MANUAL.search("the password of a mailbox is encrypted again and again")
    assert time.process_time() - began < 0.5


# -- from pages and errors ----------------------------------------------------------------------


def paragraphs() -> set[str]:
    found = set(DOCS)
    for name in DOCS:
        found |= {f"{name}#{anchor}" for anchor in Page(ROOT / "docs" / f"{name}.md").anchors}
    return found


def every_error(of: type[PanelError] = PanelError) -> list[type[PanelError]]:
    return [of, *(found for child in of.__subclasses__() for found in every_error(child))]


def test_every_page_and_every_error_name_a_paragraph_that_is_there() -> None:
    there = paragraphs()
    assert {topic for topic in TOPICS.values() if topic not in there} == set()
    assert {error.help for error in every_error() if error.help and error.help not in there} == set()


def test_every_page_of_the_navigation_leads_to_its_paragraph(admin: Browser) -> None:
    home = admin.get("/").text
    navigation = "".join(re.findall(r"<nav[^>]*>(.*?)</nav>", home, re.DOTALL))
    paths = set(re.findall(r'<a href="(/[^"]*)"', navigation)) - {"/help"}
    assert len(paths) > 5
    for path in paths:
        text = admin.get(path).text
        linked = re.search(r'<a class="help-link" href="/help/[\w-]+(#[\w-]+)?"', text)
        assert linked or 'class="page-head"' not in text, path


def test_every_blueprint_with_pages_has_its_topic(app: Flask) -> None:
    without = {"help", "health", "setup", "static", "sign_in", "invitation"}
    named = {topic.partition(".")[0] for topic in TOPICS}
    assert set(app.blueprints) - without - named == set()
    assert {topic for topic in TOPICS if topic not in {*app.blueprints, *app.view_functions}} == set()


def test_an_error_leads_to_its_paragraph(app: Flask, admin: Browser) -> None:
    def refuse() -> str:
        raise KeyAbsent("The key file is missing.", "Put it back.")

    app.view_functions["home.show"] = refuse
    text = admin.get("/").text
    assert '<a href="/help/encryption#key-missing">More about this in Help</a>' in text


# -- what it is made of -----------------------------------------------------------------------


def test_about_names_version_and_everything_that_is_bundled_or_installed(admin: Browser) -> None:
    text = admin.get("/help/about").text
    for shown in (
        VERSION,
        "MIT License",
        "htmx.org",
        "0BSD",
        "Flask",
        "BSD-3-Clause",
        "cryptography",
        "markdown-it-py",
    ):
        assert shown in text, shown


def test_every_bundled_file_has_its_terms_and_their_text() -> None:
    found = about.read(ROOT)
    assert [part for part in found.bundled if part.licence == "not stated"] == []
    assert len(found.bundled_texts) == len(found.bundled)


def test_every_package_that_a_server_needs_has_its_terms() -> None:
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    terms = {part.name.lower().replace("_", "-"): part.licence for part in about.read(ROOT).packages}
    installed = {name: terms[name] for name in pinned if name in terms}
    assert len(installed) > 15
    assert {name for name, licence in installed.items() if licence == "not stated"} == set()


def test_there_is_one_version() -> None:
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text()
    assert f"\n## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()


def test_a_mailbox_that_fails_leads_to_the_paragraph_on_failing(app: Flask, admin: Browser) -> None:
    house = House(app.extensions["mailkeep"].settings, app.extensions["mailkeep"].vault)
    with db.database.connection_context():
        row = house.add().account
        Collection.insert(account=row, problem="Refused.", remedy="Enter it.").on_conflict_replace().execute()
    assert 'href="/help/accounts#when-the-test-fails"' in admin.get(f"/accounts/{row.uuid}").text


def test_a_page_of_the_manual_that_a_sentence_names_is_a_link(app: Flask, admin: Browser) -> None:
    def refuse() -> str:
        raise KeyAbsent(
            "<b>Lost.</b>", "<i>See</i> docs/encryption.md, 'A changed schema', or docs/proxy.md."
        )

    app.view_functions["home.show"] = refuse
    text = admin.get("/").text
    assert (
        '&lt;i&gt;See&lt;/i&gt; <a href="/help/encryption#a-changed-schema">Help, “A changed schema”</a>,'
        ' or <a href="/help/proxy">Help</a>.'
    ) in text
