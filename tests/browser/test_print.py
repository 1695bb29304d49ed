"""Promises of paper: who prints a page of the key on a bad day has fingerprints, commands and addresses in black on white."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page

from panel import db
from panel.crypto.keyfile import KeyFile, fingerprint
from panel.vault import verification
from tests.browser.conftest import Open
from tests.browser.served import Site

pytestmark = pytest.mark.browser
MARGIN = 40  # of 595 × 842 points; the style sheet leaves 18 mm, 51 points
BUTTONS = (
    "Generate Key File",
    "Check again",
    "Check now",
    "Verify backup",
    "Scan again",
    "Show list",
    "Sign out",
)


@pytest.fixture
def paper(site: Site, open_as: Open, tmp_path: Path, request: pytest.FixtureRequest) -> Page:
    if shutil.which("pdftotext") is None:
        pytest.skip("poppler-utils is not installed")
    return open_as("admin", "/server/encryption", color_scheme="dark")


def printed(page: Page, place: Path) -> str:
    """The words of the page on paper, in one line. Fails where something is cut, dark, or only for the screen."""
    page.reload()
    page.pdf(path=str(place), format="A4", print_background=True, prefer_css_page_size=True)
    boxes = _run("pdftotext", "-bbox", str(place), "-")
    for x0, y0, x1, y1 in re.findall(r'<word xMin="(.*?)" yMin="(.*?)" xMax="(.*?)" yMax="(.*?)"', boxes):
        assert float(x0) > MARGIN and float(y0) > MARGIN, "something is cut at an edge"
        assert float(x1) < 595 - MARGIN and float(y1) < 842 - MARGIN, "something is cut at an edge"
    colours = page.evaluate(COLOURS)
    assert colours == ["rgb(0, 0, 0)"], colours
    words = " ".join(_run("pdftotext", "-raw", str(place), "-").split())
    for button in (*BUTTONS, "Skip to content", "Activity"):
        assert button not in words, f"{button!r} is of no use on paper"
    assert page.url.partition("/server")[0] in words, "which server it was printed from"
    return words


COLOURS = """() => {
  const all = [...document.querySelectorAll("main *")].filter((each) => each.checkVisibility());
  return [...new Set(all.map((each) => getComputedStyle(each).color))];
}"""


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def squeezed(text: str) -> str:
    """Without spaces: a long command is broken into lines on paper."""
    return re.sub(r"\s", "", text)


def test_the_pages_of_the_key_on_paper(
    site: Site, paper: Page, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    house, places = site.house, _places(tmp_path, request)
    paper.emulate_media(media="print")
    words = printed(paper, places / "off.pdf")
    assert "If that file is lost or damaged, Mailkeep can no longer read those passwords" in words
    assert "I understand that losing the encryption key file" in words

    with db.database.connection_context():
        house.enable()
    good = house.key_file.read_bytes()
    expected = fingerprint(KeyFile.from_bytes(good).primary.id)
    words = printed(paper, places / "on.pdf")
    assert expected in words
    assert "| sha256sum" in words
    assert "can-disable-encryption.txt" not in words, "its code is made only when somebody asks"
    paper.goto(f"{site.url}/server/encryption/off")
    assert f">{house.data}/can-disable-encryption.txt" in squeezed(printed(paper, places / "turning-off.pdf"))
    paper.goto(f"{site.url}/server/encryption")

    house.key_file.unlink()
    words = printed(paper, places / "missing.pdf")
    assert expected in words
    assert f"BACKUP{house.key_file}" in squeezed(words)
    assert "flask encryption forget-lost-key" in words, "what is folded on the screen is open on paper"

    house.keystore.create(KeyFile.generate(b"x" * 16))
    words = printed(paper, places / "wrong.pdf")
    assert expected in words
    assert f"BACKUP{house.key_file}" in squeezed(words)

    house.key_file.unlink()
    house.keystore.create(KeyFile.from_bytes(good))
    house.key_file.chmod(0o644)
    words = printed(paper, places / "unreadable.pdf")
    assert expected in words
    assert f"chmod600{house.key_file}" in squeezed(words)

    house.key_file.chmod(0o600)
    with db.database.connection_context():
        house.sql("UPDATE endpoint SET host = 'evil.example.org' WHERE id = 1")
        verification.run_and_note(house.vault)
    words = printed(paper, places / "inconsistent.pdf")
    assert "0@example.org" in words
    assert expected in words


def _places(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where the PDFs go: beside the screenshots, where those are taken."""
    wanted = request.config.getoption("--screenshots")
    place = Path(wanted) if wanted else tmp_path
    place.mkdir(parents=True, exist_ok=True)
    return place
